"""Tenants come and go: create, apply, list, show, drop."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from tenants.core.errors import Refused, SnapshotError, TenantsError, UsageError
from tenants.core.events import Event, Tell
from tenants.core.limits import Limits
from tenants.core.names import app_role_name, check_name
from tenants.edges import catalog, postgres, records
from tenants.edges.catalog import Entry
from tenants.edges.postgres import run
from tenants.edges.records import Record
from tenants.edges.store import open_store
from tenants.usecases import audit, emptying, locks, roles, room, snapshots
from tenants.usecases.access import Access
from tenants.usecases.logins import Created, url_of


def create(
    access: Access,
    name: str,
    project: str | None,
    tell: Tell,
    *,
    limits: Limits | None = None,
    app_role: bool | None = None,
    with_login: bool = True,
    adopting: bool = False,
) -> Created:
    """Bring the tenant to what is wanted, making it if need be: schema, owner, a login, limits, grants, an entry in
    the catalog; all in one transaction.

    Idempotent: a second call changes nothing, drift is mended. Raises Refused if a role, schema or database of that
    name is there that is not this catalog's; while `adopting`, a schema of that name may be.
    """
    check_name(name)
    project = check_name(project, "project") if project is not None else None
    access.require_admin(f"tenants create {name}")
    connection, me = access.connection, access.me
    known = access.entries().get(name)
    if known and project and project != known.project:
        raise Refused(f"tenant {name} exists, and its project is {known.project}", next=f"tenants show {name}")
    if not known and (refusal := access.taken(name, besides=["schema"] if adopting else [])):
        raise refusal
    catalog.ensure(connection)
    changed = []
    login = None
    with postgres.roles_locked(connection):
        found = catalog.entries_with_logins(connection).get(name)
        if found is None:
            roles.make_owner(connection, me, name)
            catalog.add_tenant(connection, name, project or name)
            changed += [f"schema {name}", f"role {name}"]
        elif not postgres.schemas(connection, [name])[0]["exists"]:
            roles.make_schema(connection, name)
            changed.append(f"schema {name}")
        changed += _want(access, name, limits, app_role)
        entry = catalog.entries_with_logins(connection)[name]
        if with_login and not entry.logins:
            login = roles.make_login(connection, me, name, "app" if entry.app_role else "owner")
            changed.append(f"login {login.role}")
        audit.tell_ways_in(access, "create", tell)
        repaired = audit.repair(connection, me, {name, None})
        changed += _words([finding for finding in repaired.mended if found or finding.tenant is None])
    for what in changed:
        tell(Event(name, "create", what))
    for left in repaired.left[:TOLD]:
        text = f"left as it is, {left.rule.id}: {left.object}. It takes {left.needs}: {left.fix}"
        tell(Event(left.tenant or "database", "create", text, failed=True))
    if len(repaired.left) > TOLD:
        text = f"and {len(repaired.left) - TOLD:,} more are left as they are: tenants audit {name}"
        tell(Event(name, "create", text, failed=True))
    last = login.role if login else entry.logins[-1] if entry.logins else None
    return Created(name, entry.project, last, url_of(access, login), tuple(changed))


def apply(access: Access, names: Sequence[str], tell: Tell) -> dict[str, tuple[str, ...]]:
    """Bring the tenants named, or all, to what the catalog wants of them. Returns what was changed of each; a second
    call changes nothing. One that fails does not stop the others; its error is raised after them."""
    access.require_admin("tenants apply")
    told: set[Event] = set()

    def once(event: Event) -> None:  # what is so of the database is found again with each tenant
        if event not in told:
            told.add(event)
            tell(event)

    changed: dict[str, tuple[str, ...]] = {}
    failures: dict[str, TenantsError] = {}
    for name in names or list(access.entries()):
        try:
            changed[name] = create(access, name, None, once, with_login=False).changed
        except (TenantsError, postgres.DatabaseError) as cause:
            failures[name] = postgres.failed(cause)
            tell(Event(name, "create", f"FAILED: {failures[name].message}", failed=True))
    if failures:
        first = next(iter(failures.values()))
        if len(failures) + len(changed) > 1:
            first.message = f"could not apply {', '.join(failures)}: {first.message}"
        raise first
    return changed


def _want(access: Access, name: str, limits: Limits | None, app_role: bool | None) -> list[str]:
    """Write down new wishes, and make the role that the app is to run as."""
    entry = catalog.entries(access.connection)[name]
    wanted = (limits or entry.limits, entry.app_role if app_role is None else app_role)
    changed = []
    if wanted != (entry.limits, entry.app_role):
        catalog.want(access.connection, name, *wanted)
        changed.append("limits and app role as wanted now")
    app = app_role_name(name)
    if wanted[1] and not postgres.rows(access.connection, "names_taken", name=app):
        roles.make_app_role(access.connection, access.me, name)
        changed.append(f"role {app}")
    return changed


TOLD = 20
"""Findings of one kind that are listed one by one."""


def _words(findings: Sequence[audit.Finding]) -> list[str]:
    by_rule: dict[str, list[audit.Finding]] = {}
    for finding in findings:
        by_rule.setdefault(finding.rule.id, []).append(finding)
    words = []
    for rule, found in by_rule.items():
        words += [f"mended {rule}: {finding.object}" for finding in found[:TOLD]]
        if len(found) > TOLD:
            words.append(f"mended {rule}: {len(found) - TOLD:,} more")
    return words


def show(access: Access, name: str) -> dict[str, Any]:
    """All that is known of a tenant, for people and for scripts."""
    entry = access.entry(name)
    seen = access.observe([entry])[0]
    logins = []
    if not access.own:
        logins = list(catalog.entries_with_logins(access.connection)[name].logins)
    return {
        "tenant": name,
        "project": entry.project,
        "schema": name,
        "role": name,
        "logins": logins,
        "created_at": entry.created_at,
        "suspended_at": entry.suspended_at,
        "revision": "+".join(seen.current) or None,
        "trouble": seen.trouble.message if seen.trouble else None,
        "aside": [r["name"] for r in postgres.rows(access.connection, "asides") if r["tenant"] == name],
        "deploys": records.last(access.connection, name),
    }


def list_tenants(access: Access) -> list[dict[str, Any]]:
    entries = list(access.entries().values())
    seen = {o.tenant: o for o in access.observe(entries)} if entries else {}
    return [
        {
            "tenant": e.name,
            "project": e.project,
            "revision": "+".join(seen[e.name].current) or None,
            "trouble": t.message if (t := seen[e.name].trouble) else None,
            "created_at": e.created_at,
        }
        for e in entries
    ]


def drop(access: Access, name: str, tell: Tell, *, no_snapshot: bool = False, wait: float = locks.WAIT) -> str | None:
    """Drop the tenant: its logins, its schema, its owner. A last snapshot is taken first, and its id returned.

    Raises SnapshotError, with nothing dropped, if there is something to keep and it could not be kept.
    """
    access.require_admin(f"tenants drop {name}")
    entry = access.entry(name)
    catalog.ensure(access.connection)
    with locks.tenant_lock(access, name, "drop", tell, wait) as lock:
        logins = [*catalog.entries_with_logins(access.connection)[name].logins]
        logins += catalog.readers_of(access.connection, name)
        # what is written from now on would be in no snapshot
        roles.shut_out(access.connection, access.me, [name, app_role_name(name), *logins])
        try:
            snapshot = _drop(access, entry, lock, tell, no_snapshot=no_snapshot)
        except BaseException as cause:
            with suppress(postgres.DatabaseError):
                if name in access.entries():
                    audit.mend(access, name)  # its logins may come in again
            if not isinstance(cause, SnapshotError | UsageError | postgres.DatabaseError):
                raise
            error = postgres.failed(cause)
            error.data = f"{name} was not dropped"
            raise error from None
    store = open_store(access.settings)
    tell(Event(name, "drop", "schema, logins and role are gone" + ("; its snapshots stay" if store else "")))
    return snapshot


def _drop(access: Access, entry: Entry, lock: locks.Lock, tell: Tell, *, no_snapshot: bool) -> str | None:
    name, connection = entry.name, access.connection
    found = postgres.schemas(connection, [name])[0]
    snapshot = None
    if not found["empty"] and found["exists"] and not no_snapshot:
        with access.acting_as(name) as url:
            snapshot = snapshots.take(access, url, entry, "drop", tell).id
    else:
        roles.clean_up(connection, access.me, name, access.settings.database)
    lock.check()
    roles.clear_visitors(connection, access.me, name, access.settings.database, everybody=True)
    room.remove(access, name)
    readers = [role for role, tenants in catalog.readers(connection).items() if name in tenants]
    postgres.end_sessions(connection, readers)  # a table that a session holds cannot be dropped
    _empty(access, entry, tell, snapshot)
    _remove(access, entry, Record(name, entry.project, "drop", [], [], [], "dropped", {}, snapshot=snapshot))
    return snapshot


def _empty(access: Access, entry: Entry, tell: Tell, snapshot: str | None) -> None:
    """Schemas with many objects lose them before, in many transactions: see `emptying`."""
    try:
        for schema in [entry.name, *_asides(access, entry)]:
            emptying.empty(access.connection, entry.name, schema, tell)
    except postgres.DatabaseError as cause:
        error = postgres.failed(cause)
        kept = f"; snapshot {snapshot} has all of it" if snapshot else ""
        error.data = f"{entry.name} may have lost a part of its objects{kept}"
        error.next = f"tenants drop {entry.name} --yes --no-snapshot"
        raise error from None


def _asides(access: Access, entry: Entry) -> list[str]:
    return [row["name"] for row in postgres.rows(access.connection, "asides") if row["tenant"] == entry.name]


def _remove(access: Access, entry: Entry, record: Record) -> None:
    """Schemas, roles and what the catalog knows, in one transaction: as long as anything is left, the tenant is known,
    and can be dropped."""
    connection, me = access.connection, access.me
    logins = list(catalog.entries_with_logins(connection)[entry.name].logins)
    app = app_role_name(entry.name)
    readers = catalog.readers_of(connection, entry.name)
    own = [*logins, *readers, entry.name, *([app] if postgres.rows(connection, "names_taken", name=app) else [])]
    asides = _asides(access, entry)

    def go() -> None:
        for schema in [entry.name, *asides]:
            run(connection, "DROP SCHEMA IF EXISTS {schema} CASCADE", schema=schema)
        catalog.remove_tenant(connection, entry.name)
        records.add(connection, record)

    roles.remove_roles(connection, me, access.settings.database, own, None, besides=go)
