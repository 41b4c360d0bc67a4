"""Adopt: tables that are there already become a tenant's, with the app running.

They move into the tenant's schema and to its role in one transaction; nothing is copied. Views of their names stay in
their place, so that the app that still has the old URL goes on; they are taken down when it has its own. No function of
theirs is set off on the way, and the snapshot that goes first is taken by a login that may read them and nothing else.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tenants.core import adoption as adoptions
from tenants.core.adoption import Adoption, Edge, Thing
from tenants.core.errors import Locked, Refused, SnapshotError, TenantsError, UsageError
from tenants.core.events import Event, Tell
from tenants.core.names import CATALOG_SCHEMA, app_role_name, check_name, quoted
from tenants.core.units import counted, seconds
from tenants.edges import catalog, postgres, records, sql
from tenants.edges.catalog import Entry
from tenants.edges.records import Record
from tenants.edges.store import open_store, require_store
from tenants.usecases import audit, locks, provision, roles, snapshots, stamp
from tenants.usecases.access import Access
from tenants.usecases.logins import Created

LOCK_SECONDS = 60.0
"""How long the locks of the tables are tried for, half a second each time: the running app goes on between."""

RETIRED = timedelta(minutes=10)
"""After which nothing runs any more of a release that another one has taken the place of: Dokku lets it run on for a
minute (DOKKU_WAIT_TO_RETIRE) when it says that the new one serves."""


@dataclass(frozen=True)
class Wanted:
    """What a person asked for."""

    tenant: str
    source: str
    tables: tuple[str, ...] = ()
    project: str | None = None
    at: str | None = None
    """The revision that the tables are at, where no alembic_version says so; `base` for none."""
    no_snapshot: bool = False


@dataclass(frozen=True)
class Adopted:
    plan: Adoption
    snapshot: str | None
    """The one that was taken before; None if there is none."""
    created: Created


def survey(access: Access, wanted: Wanted) -> Adoption:
    """What would be done, and what is in the way. Writes nothing. Raises Refused or UsageError where no plan can be
    made: another tenant's schema, a name that is taken."""
    access.require_admin(f"tenants adopt {wanted.tenant} --from {wanted.source}")
    name, source = check_name(wanted.tenant), wanted.source
    entries = access.entries()
    if source in (*adoptions.VISIBLE, CATALOG_SCHEMA) or source.startswith("pg_") or "~" in source:
        raise Refused(f"nothing is adopted from schema {source}", next=f"tenants adopt {name} --from public")
    if source in entries:
        raise Refused(f"schema {source} is that of tenant {source} already", next=f"tenants show {source}")
    if not postgres.schemas(access.connection, [source])[0]["exists"]:
        raise UsageError(f"there is no schema {source!r}", next="psql's \\dn lists them")
    besides = ["schema"] if source == name else []
    if name not in entries and (refusal := access.taken(name, besides=besides)):
        raise refusal
    found = adoptions.plan(source, name, *_graph(access), owner=name, tables=wanted.tables)
    steps, problems, notes = list(found.steps), list(found.problems), list(found.notes)
    if not found.moves and not problems:
        done = name in entries and catalog.adopted(access.connection, name)[0] == source
        more = f" any more: {name} has adopted it, and gets another login by: tenants login {name}" if done else ""
        problems.append(f"there is nothing in schema {source} to be adopted{more}")
    stamped = stamp.stamp(access, found, wanted.project, wanted.at)
    steps, problems, notes = [*steps, *stamped.steps], [*problems, *stamped.problems], [*notes, *stamped.notes]
    for table in () if wanted.no_snapshot else found.tables:
        if table.secured:
            problems.append(
                f"{table} has row level security, so that nobody but its owner can take the snapshot that goes first:"
                " with --no-snapshot there is only the one that is taken right after"
            )
    parts = tuple(steps), found.bridges, tuple(problems), tuple(notes)
    return Adoption(source, name, found.moves, *parts, stamped=bool(stamped.steps))


def adopt(access: Access, wanted: Wanted, tell: Tell, *, wait: float = locks.WAIT) -> Adopted:
    """Do it. All or nothing: whatever fails, the tables are where they were, and there is no tenant that was not there.

    Where a run was killed when the tables had moved, what was left to do is done. Raises Refused with everything that
    is in the way, SnapshotError if no snapshot could be taken first, Locked.
    """
    name, connection = wanted.tenant, access.connection
    found = survey(access, wanted)
    if _half_told(access, wanted, found):
        with locks.tenant_lock(access, name, "adopt", tell, wait):
            return Adopted(found, None, _let_in(access, name, tell))
    _clear(found)
    catalog.ensure(connection)
    with locks.tenant_lock(access, name, "adopt", tell, wait) as lock:
        roles.clear_readers(connection, access.me, name, access.settings.database)
        found = _clear(survey(access, wanted))  # without what a killed run has granted
        snapshot = None if wanted.no_snapshot else _snapshot_first(access, wanted, found, tell)
        lock.check()
        began = time.monotonic()
        told: list[Event] = []

        def move() -> None:
            told.clear()
            if _clear(survey(access, wanted)) != found:
                raise Refused(f"what is in schema {wanted.source} has changed since", next="try again")
            provision.create(access, name, wanted.project, told.append, with_login=False, adopting=True)
            _run(access, found.steps)
            _settle(access, name)
            catalog.add_adopted(connection, name, found, _fingerprint(access, name))
            seen = access.observe([access.entry(name)])[0]
            if seen.trouble:
                raise seen.trouble
            records.add(connection, _record(access, name, seen.current, snapshot, time.monotonic() - began))

        _locked(access, name, found, move, tell)
        for event in told:
            tell(event)
        words = f"{counted(len(found.tables), 'table')}, {counted(len(found.moves) - len(found.tables), 'other thing')}"
        tell(Event(name, "adopt", f"{words} of schema {wanted.source} in {seconds(time.monotonic() - began)}"))
        return Adopted(found, snapshot, _let_in(access, name, tell))


def _half_told(access: Access, wanted: Wanted, found: Adoption) -> bool:
    """Whether everything has moved, and nobody was given a login."""
    if found.moves or wanted.tenant not in access.entries():
        return False
    logins = catalog.entries_with_logins(access.connection)[wanted.tenant].logins
    return not logins and catalog.adopted(access.connection, wanted.tenant)[0] == wanted.source


def _let_in(access: Access, name: str, tell: Tell) -> Created:
    """What comes after the move: a snapshot, a look at what is there now, and a login."""
    if open_store(access.settings):
        _snapshot_after(access, name, tell)
    for finding in audit.audit(access, [name]):
        tell(Event(name, "adopt", f"look at {finding.rule.id}: {finding.object}"))
    return provision.create(access, name, None, tell)


def finish(access: Access, name: str, tell: Tell) -> list[str]:
    """Take the views down that stand in the place of what was adopted. Returns their names; idempotent."""
    access.require_admin(f"tenants adopt {name} --finish")
    access.entry(name)
    catalog.ensure(access.connection)
    bridges = catalog.bridges(access.connection, name)

    def take_down() -> None:
        _run(access, [f"DROP VIEW IF EXISTS {bridge}" for bridge in bridges])
        catalog.forget_bridges(access.connection, name)

    if bridges:
        _locked(access, name, None, take_down, tell)
        tell(Event(name, "adopt", f"{counted(len(bridges), 'view')} taken down: {', '.join(bridges)}"))
    return bridges


def finish_if_served(access: Access, name: str, tell: Tell) -> None:
    """The same, if the app has served with its own URL for so long that what ran before it has ended. What is in the
    way of that is told, and keeps nobody from going on."""
    if not records.adoption_served(access.connection, name, RETIRED):
        return
    try:
        if not access.own:
            finish(access, name, tell)
        elif count := catalog.take_bridges_down(access.connection):
            tell(Event(name, "adopt", f"{counted(count, 'view')} taken down"))
    except (TenantsError, postgres.DatabaseError) as error:
        tell(
            Event(
                name, "adopt", f"views in the place of its tables stay: {postgres.failed(error).message}", failed=True
            )
        )


def finish_if_moved(access: Access, name: str, tell: Tell) -> None:
    """The same, if the app has come in with a login of its own."""
    logins = catalog.entries_with_logins(access.connection)[name].logins
    if catalog.bridges(access.connection, name) and postgres.scalar(access.connection, "sessions", roles=list(logins)):
        finish(access, name, tell)


def undo(access: Access, name: str, tell: Tell, *, wait: float = locks.WAIT) -> Adoption:
    """Give what was adopted last back to where it came from, and to whom it belonged. The tenant stays. Raises Refused
    if there is no way back, or something has changed in its schema since: a function that the tenant has made must not
    become a superuser's."""
    access.require_admin(f"tenants adopt {name} --undo")
    access.entry(name)
    catalog.ensure(access.connection)
    with locks.tenant_lock(access, name, "adopt", tell, wait):
        source, adopted_as, owners = catalog.adopted(access.connection, name)
        if source is None or source == name:
            raise Refused(f"nothing was moved into schema {name} that could go back", next=f"tenants show {name}")
        logins = catalog.entries_with_logins(access.connection)[name].logins
        roles.shut_out(access.connection, access.me, [name, app_role_name(name), *logins])  # nothing changes meanwhile
        try:
            found = _back(access, name, source, adopted_as, owners, tell)
        finally:
            audit.mend(access, name)  # its logins may come in again
    tell(Event(name, "adopt", f"{counted(len(found.tables), 'table')} back in schema {source}"))
    return found


def _back(
    access: Access, name: str, source: str, adopted_as: str | None, owners: Mapping[str, str], tell: Tell
) -> Adoption:
    if adopted_as != _fingerprint(access, name):
        raise Refused(
            f"definitions or grants in schema {name} have changed since the adoption: what its tenant made is not"
            f" given to {access.me.role}",
            next=f"take the adopted tables back by hand, or go on: tenants adopt {name} --finish",
        )
    bridges = catalog.bridges(access.connection, name)
    found = _clear(adoptions.plan(name, source, *_graph(access), owner=access.me.role, owners=owners, bridge=False))

    def move() -> None:
        _run(access, [f"DROP VIEW IF EXISTS {bridge}" for bridge in bridges])
        _run(access, found.steps)
        if catalog.stamped(access.connection, name, source):  # else the next push would take it for migrated
            _run(access, [f"DROP TABLE IF EXISTS {quoted(name)}.{postgres.ALEMBIC.name}"])
        catalog.forget_adopted(access.connection, name, source)
        records.add(access.connection, _record(access, name, (), None, 0))

    _locked(access, name, found, move, tell)
    return found


def _fingerprint(access: Access, name: str) -> str:
    return str(postgres.scalar(access.connection, "fingerprint", schema=quoted(name)))


def _graph(access: Access) -> tuple[list[Thing], list[Edge]]:
    """What there is and what needs what, less the views that stand in the place of what was adopted before."""
    standing = catalog.bridges(access.connection)
    begin = sql.statement("adoption_begin")
    things = postgres.dict_rows(access.connection, f"{begin}\n{sql.statement('adoption_things')}")
    edges = postgres.dict_rows(access.connection, f"{begin}\n{sql.statement('adoption_edges')}")
    bridges = {row["key"] for row in things if row["kind"] == "VIEW" and row["identity"] in standing}
    return (
        [Thing(**{**row, "grants": tuple(row["grants"] or ())}) for row in things if row["key"] not in bridges],
        [
            Edge(e["key"], e["used_key"], e["inherits"], e["words"] or "", e["used_words"] or "", e["used_schema"])
            for e in edges
            if e["key"] not in bridges
        ],
    )


def _clear(found: Adoption) -> Adoption:
    if found.problems:
        raise Refused(
            f"what is in schema {found.source} cannot move as it is:\n" + "\n".join(found.problems),
            next="mend that; --table NAME takes some of the tables only; --dry-run shows every step",
            data="untouched",
        )
    return found


def _snapshot_first(access: Access, wanted: Wanted, found: Adoption, tell: Tell) -> str:
    """Of the schema that it comes from, less what stays there."""
    require_store(access.settings)
    moving = {thing.key for thing in found.moves}
    things, _ = _graph(access)
    stays = [t for t in things if t.schema == wanted.source and t.key not in moving and t.kind != "ROUTINE"]
    project = wanted.project or wanted.tenant
    entry = access.entries().get(wanted.tenant) or Entry(wanted.tenant, project, datetime.now(UTC))
    relations = [thing.identity for thing in found.tables]
    url = access.settings.database
    with roles.reading(access.connection, access.me, wanted.tenant, url, wanted.source, relations) as reader:
        without = [(thing.schema, thing.name) for thing in stays]
        return snapshots.take(access, reader, entry, "adopt", tell, schema=wanted.source, without=without).id


def _snapshot_after(access: Access, name: str, tell: Tell) -> None:
    try:
        with access.acting_as(name) as url:
            snapshots.take(access, url, access.entry(name), "adopt", tell)
    except SnapshotError as error:
        error.data = f"adopted all the same; {name} has no snapshot of its own yet, and no login"
        error.next = f"tenants snapshot {name}, then: tenants login {name}"
        raise


def _locked(access: Access, name: str, found: Adoption | None, work: Callable[[], None], tell: Tell) -> None:
    """Do the work in a transaction that has all tables to itself. Each lock is tried for half a second, and then all of
    it anew after a pause, so that nobody queues behind us for longer. Raises Locked when it is not to be had."""
    give_up, told = time.monotonic() + LOCK_SECONDS, False
    tables = ", ".join(thing.identity for thing in found.tables) if found else ""
    while True:
        try:
            with postgres.roles_locked(access.connection):
                _run(access, [f"SET LOCAL lock_timeout = {postgres.LOCK_MS}"])
                if tables:
                    _run(access, [f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE"])
                work()
            return
        except postgres.LockNotToBeHad as error:
            if time.monotonic() > give_up:
                raise Locked(
                    f"the tables are not to be had: {postgres.error_text(error)}",
                    data="untouched",
                    next="see who holds them: SELECT pid, usename, query FROM pg_stat_activity",
                ) from None
            if not told:
                tell(Event(name, "adopt", "waiting for tables that somebody holds"))
                told = True
            time.sleep(random.uniform(0.2, 1))  # noqa: S311


def _run(access: Access, statements: Sequence[str]) -> None:
    for statement in statements:  # identifiers in them were quoted by the server
        access.connection.execute(statement)


def _settle(access: Access, name: str) -> None:
    """Owners, grants and limits as the catalog wants them. Raises Refused if something cannot be brought about."""
    done = audit.repair(access.connection, access.me, {name}, ("repair", "safe"))
    for finding in done.left:
        if finding.rule.id in ("schema-owner", "object-owner"):
            raise Refused(
                f"{finding.object}: {finding.rule.meaning}", data="untouched", next=f"that takes {finding.needs}"
            )


def _record(access: Access, name: str, heads: Sequence[str], snapshot: str | None, took: float) -> Record:
    project = access.entry(name).project
    return Record(name, project, "adopt", [], heads, [], "adopted", {"adopt": took}, snapshot=snapshot)
