"""Nightly: a snapshot of every tenant, and what killed runs and restores have left is cleaned up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tenants.core import schedule as schedules
from tenants.core.errors import Locked, TenantsError
from tenants.core.events import Event, Tell
from tenants.core.names import aside_moment
from tenants.edges import catalog, postgres
from tenants.edges.catalog import Entry
from tenants.edges.store import require_store
from tenants.usecases import adopt, audit, locks, logins, roles, snapshots
from tenants.usecases.access import Access

KEEP_ASIDE = timedelta(days=7)
"""How long a schema that a restore has set aside is kept."""


@dataclass(frozen=True)
class Report:
    """What a nightly run did. `already` is when the work of this period was done, if it had been."""

    snapshots: dict[str, str]
    failures: dict[str, TenantsError]
    already: datetime | None = None


def nightly(access: Access, schedule: str, tell: Tell, *, again: bool = False) -> Report:
    """Do the work of the period that `schedule` says we are in, once: a second call in it does nothing, unless `again`.

    A tenant that fails does not stop the others; then the work does not count as done. Raises Locked if another nightly
    run is at work.
    """
    access.require_admin("tenants nightly")
    catalog.ensure(access.connection)
    require_store(access.settings)
    connection = access.connection
    period = schedules.last_before(schedules.check(schedule), datetime.now().astimezone())
    key = postgres.lock_key("nightly")
    try:
        postgres.poll(lambda: postgres.take_lock(connection, key, None), seconds=2, what="nightly")
    except TenantsError:
        who = locks.holder(connection, key)
        raise Locked(f"the nightly run is locked by {who}", next="wait for it to end") from None
    if not again and (done := catalog.nightly_done(connection, period)):
        return Report({}, {}, already=done)
    taken, failures = {}, {}
    for entry in access.entries().values():
        try:
            with locks.tenant_lock(access, entry.name, "nightly", tell) as lock:
                if found := _one(access, entry, lock, tell):
                    taken[entry.name] = found
        except (TenantsError, postgres.DatabaseError) as error:
            failures[entry.name] = error if isinstance(error, TenantsError) else postgres.failed(error)
            tell(Event(entry.name, "nightly", f"FAILED: {failures[entry.name].message}", failed=True))
    if not failures:
        catalog.note_nightly(connection, period)
    return Report(taken, failures)


def _one(access: Access, entry: Entry, lock: locks.Lock, tell: Tell) -> str | None:
    roles.clean_up(access.connection, access.me, entry.name, access.settings.database)
    roles.clear_visitors(access.connection, access.me, entry.name, access.settings.database)
    found = postgres.rows(access.connection, "schemas", names=[entry.name])[0]
    if not found["exists"]:
        raise TenantsError(
            f"schema {entry.name} is gone, though the catalog knows the tenant", next=f"tenants restore {entry.name}"
        )
    snapshot = None
    if not found["empty"]:
        with access.acting_as(entry.name) as url:
            snapshot = snapshots.take(access, url, entry, "nightly", tell).id
    lock.check()
    _drop_asides(access, entry, tell)
    adopt.finish_if_moved(access, entry.name, tell)
    for finding in audit.mend(access, entry.name):
        tell(Event(entry.name, "clean", f"{finding.rule.id} mended: {finding.object}"))
    logins.retire(access, entry.name, tell, unused_for=logins.GRACE)
    return snapshot


def _drop_asides(access: Access, entry: Entry, tell: Tell) -> None:
    for row in postgres.rows(access.connection, "asides"):
        moment = aside_moment(row["name"])
        if row["tenant"] == entry.name and moment and datetime.now(UTC) - moment > KEEP_ASIDE:
            postgres.run(access.connection, "DROP SCHEMA {schema} CASCADE", schema=row["name"])
            tell(Event(entry.name, "clean", f"schema {row['name']}, set aside by a restore, is dropped"))
