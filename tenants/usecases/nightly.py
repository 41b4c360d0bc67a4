"""Nightly: a snapshot of every tenant, and what killed runs and restores have left is cleaned up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tenants.core import schedule as schedules
from tenants.core.errors import Locked, Refused, StateError, TenantsError
from tenants.core.events import Event, Tell
from tenants.core.names import aside_moment
from tenants.core.units import counted
from tenants.edges import catalog, notify, postgres
from tenants.edges import heartbeat as beats
from tenants.edges.catalog import Entry
from tenants.edges.store import require_store
from tenants.usecases import adopt, audit, drill, emptying, locks, logins, prune, roles, scratch, snapshots
from tenants.usecases.access import Access

HEARTBEAT = "TENANTS_HEARTBEAT_URL"
KEEP_ASIDE = timedelta(days=7)
"""How long a schema that a restore has set aside is kept."""


@dataclass(frozen=True)
class Report:
    """What a nightly run did. `already` is when the work of this period was done, if it had been."""

    snapshots: dict[str, str]
    failures: dict[str, TenantsError]
    already: datetime | None = None
    proven: list[str] = field(default_factory=list)
    """Tenants whose newest snapshot a drill has restored, now or before."""
    pruned: dict[str, int] = field(default_factory=dict)
    """How many snapshots of each tenant went."""


def nightly(access: Access, schedule: str, tell: Tell, *, again: bool = False, drills: bool = True) -> Report:
    """Do the work of the period that `schedule` says we are in, once: a second call in it does nothing, unless `again`.

    A tenant that fails does not stop the others; then the work does not count as done. Raises Locked if another nightly
    run is at work.
    """
    access.require_admin("tenants nightly")
    catalog.ensure(access.connection)
    require_store(access.settings)
    prune.policies(access)
    heartbeat = access.settings.environment.get(HEARTBEAT, "").strip()
    if heartbeat:
        beats.check(heartbeat, HEARTBEAT)
    notifier = notify.Notifier(access.settings.environment.get(notify.VARIABLE, ""))
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
    report = Report({}, {})
    failures = report.failures

    def failed(name: str, error: TenantsError) -> None:
        failures[name] = error
        tell(Event(name, "nightly", f"FAILED: {error.message}", failed=True))

    def each(names: Iterable[str], work: Callable[[Entry, locks.Lock], None]) -> None:
        locks.each(access, names, "nightly", tell, lambda name, lock: work(access.entry(name), lock), failed)

    def prove(entry: Entry, lock: locks.Lock) -> None:
        if drills:
            _drill(access, entry, tell, report)
        lock.check()
        _prune(access, entry, tell, report)

    each(access.entries(), lambda entry, lock: _one(access, entry, lock, tell, report))
    each(report.snapshots, prove)
    if not failures:
        catalog.note_nightly(connection, period)
        if heartbeat and (why := beats.beat(heartbeat)):
            tell(Event("nightly", "nightly", f"the heartbeat could not be sent: {why}", failed=True))
    elif not notifier.tell(*_bad_night(access, report)):
        tell(Event("nightly", "nightly", "the notification could not be sent", failed=True))
    return report


def _bad_night(access: Access, report: Report) -> tuple[str, str]:
    """Title and text of what people are told."""
    lines = [f"{name}: {error.message}" for name, error in report.failures.items()]
    lines.append(f"Snapshots: {len(report.snapshots)}, proven: {len(report.proven)}. Look closer: tenants status")
    return f"tenants nightly: {counted(len(report.failures), 'tenant')} failed on {access.me.database}", "\n".join(
        lines
    )


def _one(access: Access, entry: Entry, lock: locks.Lock, tell: Tell, report: Report) -> None:
    roles.clean_up(access.connection, access.me, entry.name, access.settings.database)
    roles.clear_visitors(access.connection, access.me, entry.name, access.settings.database)
    found = postgres.schemas(access.connection, [entry.name])[0]
    if not found["exists"]:
        raise TenantsError(
            f"schema {entry.name} is gone, though the catalog knows the tenant", next=f"tenants restore {entry.name}"
        )
    if not found["empty"]:
        with access.acting_as(entry.name) as url:
            report.snapshots[entry.name] = snapshots.take(access, url, entry, "nightly", tell).id
    lock.check()
    _drop_asides(access, entry, tell)
    adopt.finish_if_moved(access, entry.name, tell)
    for finding in audit.mend(access, entry.name):
        tell(Event(entry.name, "clean", f"{finding.rule.id} mended: {finding.object}"))
    logins.retire(access, entry.name, tell, unused_for=logins.GRACE)
    scratch.clear(access, entry.name)


def _drill(access: Access, entry: Entry, tell: Tell, report: Report) -> None:
    try:
        drill.drill(access, entry.name, report.snapshots[entry.name], tell)
        report.proven.append(entry.name)
    except Refused as error:  # no right to make a database, no room for one
        tell(Event(entry.name, "drill", f"not drilled: {error.message}"))


def _prune(access: Access, entry: Entry, tell: Tell, report: Report) -> None:
    try:
        if gone := prune.prune(access, entry.name, tell).removed:
            report.pruned[entry.name] = len(gone)
    except StateError as error:  # it is not known what may go: that is no reason to call the night a bad one
        tell(Event(entry.name, "clean", error.message))


def _drop_asides(access: Access, entry: Entry, tell: Tell) -> None:
    for row in postgres.rows(access.connection, "asides"):
        moment = aside_moment(row["name"])
        if row["tenant"] == entry.name and moment and datetime.now(UTC) - moment > KEEP_ASIDE:
            emptying.empty(access.connection, entry.name, row["name"], tell)
            postgres.run(access.connection, "DROP SCHEMA {schema} CASCADE", schema=row["name"])
            tell(Event(entry.name, "clean", f"schema {row['name']}, set aside by a restore, is dropped"))
