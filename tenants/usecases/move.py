"""Move: a tenant goes to another server, with a short stop of its writes; the former one stays, shut out, as it was."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace

from tenants.core.contents import rows_of
from tenants.core.errors import Refused, TenantsError
from tenants.core.events import Event, Tell
from tenants.core.settings import DatabaseUrl
from tenants.core.units import counted, seconds
from tenants.edges import catalog, postgres, programs
from tenants.usecases import archives, drill, locks, logins, provision, restore, sharing, suspend
from tenants.usecases.access import Access, open_access
from tenants.usecases.restore import Source


@dataclass(frozen=True)
class Moved:
    tenant: str
    login: str | None
    url: DatabaseUrl | None
    """What the app is to be given; shown this once."""
    tables: int
    rows: int
    seconds: float
    """How long it was shut out before it was there."""


def move(access: Access, name: str, to: DatabaseUrl, tell: Tell, *, wait: float) -> Moved:
    """Copy the tenant to the server of the admin's URL `to`, and prove that all rows are there.

    From the announcement on its logins are shut out here, so that nothing is written that does not come along. If
    anything fails, they are let in again; else they stay out, and `tenants resume` is the way back. Its snapshots stay
    where they are; on the new server it begins a history of its own. Raises Refused, Locked, TenantsError.
    """
    access.require_admin(f"tenants move {name} --to URL")
    entry = access.entry(name)
    if catalog.bridges(access.connection, name):
        raise Refused(f"views of {name} still stand where it was adopted", next=f"tenants adopt {name} --finish")
    with open_access(replace(access.settings, database=to), "move") as there:
        there.require_admin(f"tenants move {name} --to URL, with the URL of an admin of that server")
        catalog.ensure(there.connection)
        if catalog.server(there.connection) == catalog.server(access.connection):
            raise Refused("that is the very database that it is in", next="--to is to name another one")
        here = postgres.schemas(there.connection, [name])[0]
        if here["exists"] and not here["empty"]:
            raise Refused(f"{to.where} has a schema {name} that holds something", next="drop it there first")
        provision.create(
            there, name, entry.project, tell, limits=entry.limits, app_role=entry.app_role, with_login=False
        )
        for row in postgres.rows(access.connection, "extensions"):
            sharing.extension(there, name, row["name"])
        with (
            locks.tenant_lock(access, name, "move", tell, wait),
            locks.tenant_lock(there, name, "move", tell, wait) as lock,
        ):
            return _move(access, there, name, lock, tell)


def _move(access: Access, there: Access, name: str, lock: locks.Lock, tell: Tell) -> Moved:
    was_out = access.entry(name).suspended_at is not None
    tell(Event(name, "move", f"from now on nobody writes to {name} here"))
    began = time.monotonic()
    suspend.suspend(access, name, tell)
    try:
        tables, rows = _copy(access, there, name, lock, tell)
        made = logins.add(there, name)
    except BaseException:
        if not was_out:
            suspend.resume(access, name)
            tell(Event(name, "move", "it did not get there, and is served here as before", failed=True))
        raise
    took = time.monotonic() - began
    words = f"{counted(tables, 'table')}, {rows} rows, the same on both sides, in {seconds(took)}"
    tell(Event(name, "move", f"{words}; here it stays, shut out. Undo: tenants resume {name}"))
    return Moved(name, made.login, made.url, tables, rows, round(took, 3))


def _copy(access: Access, there: Access, name: str, lock: locks.Lock, tell: Tell) -> tuple[int, int]:
    """Returns how many tables there are, and rows in them."""
    client = programs.find(os.environ.get("PATH", ""), max(access.me.version, there.me.version) // 10000)
    seen = access.observe([access.entry(name)])[0]
    if seen.trouble:
        raise seen.trouble
    with access.acting_as(name) as acting, access.dumping(name, acting) as url:
        before = archives.contents(client, name, archives.dumping(client, url, name)).done()
        source = Source(
            f"{name} of the former server",
            lambda: archives.dumping(client, url, name),
            seen.current,
            grantees=tuple(row["role"] for row in postgres.rows(access.connection, "grantees", schema=name)),
        )
        restore.put_back(there, there.entry(name), lock, source, tell)
    with there.acting_as(name) as acting, there.dumping(name, acting) as url:
        after = archives.contents(client, name, archives.dumping(client, url, name)).done()
    if differing := drill.differences(before, after):
        raise TenantsError(
            f"{name} is not the same on both sides: {'; '.join(differing[:5])}",
            data="here it is as it was",
            next="drop it there, and try again",
        )
    return len([table for table in after if "." in table]), rows_of(after)
