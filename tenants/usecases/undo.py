"""Undo: back to before the last deploy, run or restore, by the way that loses least.

- After a restore, the schema that it has set aside takes its place again.
- After a deploy, its revisions are taken back by their own downgrades, where a copy shows that this loses nothing.
- Else, and after the command of another tool, the snapshot that was taken before is put back; what was written since is
  not in it.

What is there now is kept in each case, as a snapshot.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tenants.core.contents import SEQUENCES, Contents
from tenants.core.errors import NoSnapshot, Refused, TenantsError
from tenants.core.events import Event, Tell
from tenants.core.history import Revision
from tenants.core.names import printable
from tenants.core.plan import Action, Plan
from tenants.core.settings import DatabaseUrl
from tenants.core.units import counted, seconds
from tenants.edges import catalog, folder, postgres, programs, records
from tenants.edges.records import Change, Record
from tenants.edges.store import require_store
from tenants.usecases import archives, audit, inventory, locks, planning, rehearse, restore, revisions, snapshots
from tenants.usecases.access import Access

How = Literal["aside", "downgrade", "snapshot"]


@dataclass(frozen=True)
class Way:
    """How the last change of a tenant would be undone, and what that costs."""

    tenant: str
    change: Change
    how: How
    to: tuple[str, ...]
    """The revision that it leads to."""
    source: str | None
    """The schema set aside, or the snapshot; None for a downgrade."""
    why: str
    """Why it is not a downgrade, in words; empty if there is nothing to say."""
    lost: tuple[str, ...]
    """What is there now and would not be any more, table by table."""
    told: tuple[str, ...] = ()
    """What else to know: who goes on with the tables that are there now, whose sessions must connect anew, and
    what might be meant instead."""

    def __str__(self) -> str:
        by = {
            "aside": f"schema {self.source}, which it has set aside, takes its place again",
            "downgrade": f"{' and '.join(reversed(self.change.applied))} taken back by downgrade",
            "snapshot": f"snapshot {self.source} is put back",
        }[self.how]
        return f"the last {self.change.kind}, of {self.change.recorded_at:%Y-%m-%d %H:%M}: {by}, at {_heads(self.to)}"


@dataclass(frozen=True)
class Undone:
    tenant: str
    how: How
    revision: str | None
    before: str | None
    """The snapshot of what was there until then."""
    seconds: float


def look(
    access: Access, name: str, tell: Tell, *, by: How | None = None, timeout: float, wait: float = locks.WAIT
) -> Way:
    """Find the way. `by` insists on the snapshot, or on a downgrade. Changes nothing. Raises Refused if there is
    nothing to undo, or not that way."""
    access.require_admin(f"tenants undo {name}")
    access.entry(name)
    catalog.ensure(access.connection)
    with locks.tenant_lock(access, name, "undo", tell, wait), access.acting_as(name) as url:
        change = _change(access, name, certain=by == "downgrade")
        heads = access.observe([access.entry(name)])[0].current
        if heads != tuple(sorted(change.to_heads)) and by != "snapshot":
            raise Refused(
                f"{name} is at {_heads(heads)}, and its last change on record, a {change.kind}, has led to"
                f" {_heads(change.to_heads)}: something was done since that is not on record",
                next=f"choose what to go back to: tenants snapshots {name}",
            )
        if change.kind == "restore":
            if by == "downgrade":
                raise Refused("the last change was a restore, which has no downgrade", next=f"tenants undo {name}")
            there = {row["name"] for row in postgres.rows(access.connection, "asides") if row["tenant"] == name}
            if change.aside in there and by is None:
                lost = _lost(access, name, url, change.snapshot)
                told = tuple(restore.foretold(access, name))
                return Way(name, change, "aside", change.from_heads, change.aside, "", lost, told)
            return _by_snapshot(access, name, url, change, change.before, "")
        if change.kind == "run":
            if by == "downgrade":
                raise Refused("what a command did has no downgrade", next=f"tenants undo {name}")
            return _by_snapshot(access, name, url, change, change.snapshot, "")
        why = "it was asked for" if by == "snapshot" else _why_not_back(access, name, url, change, tell, timeout)
        if not why:
            return Way(name, change, "downgrade", change.from_heads, None, "", ())
        if by == "downgrade":
            raise Refused(f"no downgrade: {why}", next=f"tenants undo {name}, which takes the snapshot")
        return _by_snapshot(access, name, url, change, change.snapshot, why)


def undo(access: Access, way: Way, tell: Tell, *, timeout: float, wait: float = locks.WAIT) -> Undone:
    """Go it. All or nothing. Raises Refused if something has changed since it was looked for, SnapshotError, Locked."""
    name, began = way.tenant, time.monotonic()
    entry = access.entry(name)
    with locks.tenant_lock(access, name, "undo", tell, wait) as lock:
        if _change(access, name, certain=way.how == "downgrade").id != way.change.id:
            raise Refused(f"{name} was changed meanwhile", data="not touched by this", next=f"tenants undo {name}")
        if way.how == "snapshot":
            store = require_store(access.settings)
            manifest = inventory.find(access, store, name, way.source)
            restore.require_own(manifest, name)
            done = restore.put_back(access, entry, lock, restore.of_snapshot(access, store, manifest), tell, "undo")
            return Undone(name, way.how, done.revision, done.undo, done.seconds)
        aside = None
        with access.acting_as(name) as url:
            before = snapshots.take(access, url, entry, "undo", tell).id
            lock.check()
            if way.how == "aside":
                aside = _swap(access, way)
            elif why := _why_not_back(access, name, url, way.change, tell, timeout):
                raise Refused(
                    f"{name} was written to meanwhile, and now the downgrade will not do: {why}",
                    data="untouched",
                    next=f"see what it means now: tenants undo {name}",
                )
            else:
                _downgrade(access, way, url, timeout)
        heads = access.observe([entry])[0].current
        if heads != tuple(sorted(way.to)):
            raise TenantsError(
                f"{name} is at {_heads(heads)} after the undo, and not at {_heads(way.to)}",
                next=f"put back what was there: tenants restore {name} {before}",
            )
        audit.mend(access, name)
        took = time.monotonic() - began
        record = Record(
            name,
            entry.project,
            "undo",
            way.change.to_heads,
            heads,
            [],
            "undone",
            {"undo": took},
            before=before,
            aside=aside,
        )
        records.add(access.connection, record)
    tell(Event(name, "undo", f"at {_heads(heads)} again, in {seconds(took)}"))
    return Undone(name, way.how, "+".join(heads) or None, before, round(took, 3))


def _change(access: Access, name: str, *, certain: bool) -> Change:
    """The last change, or the last that is `certain`. Raises Refused if it is none that can be undone."""
    change = records.last_change(access.connection, name, certain=certain)
    if change is None or change.outcome == "dropped":
        raise Refused(f"nothing has been done to {name} that could be undone", next=f"tenants snapshots {name}")
    if change.kind == "undo":
        raise Refused(
            f"the last change of {name} was an undo, of {change.recorded_at:%Y-%m-%d %H:%M}",
            next=f"to take that back: tenants restore {name} {change.before or ''}"
            f"   (or further back: tenants snapshots {name})",
        )
    if change.kind == "adopt":
        raise Refused(f"the last change of {name} was its adoption", next=f"tenants adopt {name} --undo")
    return change


def _by_snapshot(access: Access, name: str, url: DatabaseUrl, change: Change, snapshot: str | None, why: str) -> Way:
    before_it = f"tenants undo {name} --by downgrade"
    if snapshot is None:
        because = f", and there is no downgrade: {why}" if why else ""
        raise Refused(
            f"there is no snapshot from before the last {change.kind} of {name}{because}",
            next=f"tenants snapshots {name} shows those that there are"
            + ("" if change.certain else f"   (to undo the deploy before it: {before_it})"),
        )
    try:
        inventory.find(access, require_store(access.settings), name, snapshot)
    except NoSnapshot as error:  # an app that deploys itself may have a store of its own
        error.message += f": it was stored elsewhere before the last {change.kind}, or is gone"
        error.data = "untouched"
        error.next = f"with the TENANTS_STORE, and its keys, of the app that deployed {name}: tenants undo {name}"
        raise
    told = (
        ()
        if change.certain
        else (f"that deploy failed, and rows might have changed. The deploy before it: {before_it}",)
    )
    return Way(name, change, "snapshot", change.from_heads, snapshot, why, _lost(access, name, url, snapshot), told)


def _lost(access: Access, name: str, url: DatabaseUrl, snapshot: str | None) -> tuple[str, ...]:
    """What is there now and not in the snapshot, table by table."""
    client = programs.find(os.environ.get("PATH", ""), access.me.version // 10000)
    unknown = ("what was written since: it cannot be told how much",)
    if snapshot is None:
        return unknown
    try:
        manifest = inventory.find(access, require_store(access.settings), name, snapshot)
    except NoSnapshot:
        return unknown
    with access.dumping(name, url) as reading:
        dumped = archives.dumping(client, reading, name, settled=manifest.settled)
        now = archives.contents(client, name, dumped).done()
    return tuple(_differences(manifest.tables, now, digests=not manifest.recipients))


def _differences(then: Mapping[str, Contents], now: Mapping[str, Contents], *, digests: bool) -> list[str]:
    found = []
    for table in sorted({*then, *now} - {SEQUENCES}):
        was, is_ = then.get(table), now.get(table)
        if is_ is None:
            found.append(f"{printable(table)} comes back")
        elif was is None:
            found.append(f"{printable(table)} goes, with {counted(is_.rows, 'row')}")
        elif was.rows != is_.rows:
            found.append(f"{printable(table)} has {counted(is_.rows, 'row')} now, and {was.rows} in the snapshot")
        elif (was.bytes, was.sha256 if digests else "") != (is_.bytes, is_.sha256 if digests else ""):
            found.append(f"{printable(table)} has other values in its {is_.rows} rows")
    return found


def _why_not_back(access: Access, name: str, url: DatabaseUrl, change: Change, tell: Tell, timeout: float) -> str:
    """Why the revisions of the deploy cannot be taken back without a loss, in words; empty if they can."""
    place = access.settings.migrations
    try:
        path = folder.look(place).projects.get(access.entry(name).project) if place.is_dir() else None
        if path is None:
            return "its revisions are not here"
        plan = _plan(access, name, change)
        if isinstance(plan, str):
            return plan
        tell(Event(name, "undo", "taking the revisions back on a copy, to see whether that loses anything"))
        lost = rehearse.loses(access, plan, path, url, timeout=timeout)
    except (TenantsError, postgres.DatabaseError) as error:
        return postgres.failed(error).message.partition("\n")[0]
    return f"it would lose something: {lost[0]}" if lost else ""


def _plan(access: Access, name: str, change: Change) -> Plan | str:
    """From before the deploy to where it has led; or why there is no such plan."""
    survey = planning.survey(access, [name])
    history = folder.history(survey.folders[access.entry(name).project])
    pending: list[Revision] = []
    for id_ in change.applied:
        revision = history.revisions.get(id_)
        if revision is None:
            return f"revision {printable(id_)} is not in the folder"
        if not revision.reversible:
            return f"{revision.file} has no downgrade"
        pending.append(revision)
    if not pending or change.outcome != "migrated":
        return "the deploy did not get to its end"
    if len(change.from_heads) > 1 or survey.plans[0].current != change.to_heads:
        return "the schema has several heads, or was changed since"
    return Plan(
        name,
        access.entry(name).project,
        Action.MIGRATE,
        current=change.from_heads,
        target="+".join(change.to_heads),
        pending=tuple(pending),
        empty=False,
    )


def _swap(access: Access, way: Way) -> str:
    """The schema that was set aside takes the place of what is there, which is set aside. Nobody's code runs."""
    aside = restore.free_aside(access, way.tenant)
    assert way.source
    with postgres.roles_locked(access.connection):
        postgres.run(access.connection, "ALTER SCHEMA {name} RENAME TO {aside}", name=way.tenant, aside=aside)
        postgres.run(access.connection, "ALTER SCHEMA {former} RENAME TO {name}", former=way.source, name=way.tenant)
    return aside


def _downgrade(access: Access, way: Way, url: DatabaseUrl, timeout: float) -> None:
    plan = _plan(access, way.tenant, way.change)
    if isinstance(plan, str):
        raise Refused(f"no downgrade: {plan}", next=f"tenants undo {way.tenant} --by snapshot")
    path = folder.look(access.settings.migrations).projects[plan.project]
    ran = revisions.downgrade(access, plan, path, url, plan.start, seconds=timeout)
    postgres.end_sessions(access.connection, [url.user])
    if ran.code != 0:
        error = revisions.failure(ran, seconds=timeout)
        heads = access.observe([access.entry(way.tenant)])[0].current
        error.data = f"at {_heads(heads)}"
        error.next = f"take the snapshot: tenants undo {way.tenant} --by snapshot"
        raise error


def _heads(heads: tuple[str, ...]) -> str:
    return printable("+".join(heads)) or "nothing yet"
