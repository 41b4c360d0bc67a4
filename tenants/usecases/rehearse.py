"""Rehearse: the pending revisions run on a copy of today's data first, where nothing can be harmed.

The copy is made of what is stored, so the same step proves that the snapshot restores. It lies in a scratch database,
and the revisions run there as a role that is no member of the tenant: not even its password can be changed there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tenants.core.contents import Contents
from tenants.core.effects import Effects
from tenants.core.errors import ProgramError, Refused, SnapshotError, TenantsError, WrongIdentity
from tenants.core.events import Event, Tell, unheard, watched
from tenants.core.manifest import Manifest
from tenants.core.names import EXTENSIONS_SCHEMA, quoted
from tenants.core.plan import Plan
from tenants.core.settings import DatabaseUrl
from tenants.core.units import counted, seconds
from tenants.edges import postgres, programs
from tenants.edges.projectcode import Ran
from tenants.edges.store import require_store
from tenants.usecases import archives, drill, locks, revisions, room, scratch
from tenants.usecases.access import Access

WITHOUT = "--no-rehearsal"


def rehearse(
    access: Access, plan: Plan, folder: Path, url: DatabaseUrl, manifest: Manifest | None, tell: Tell, *, timeout: float
) -> list[Effects]:
    """Run the pending revisions on a copy of the snapshot; where there is none, or it cannot be opened here, on a copy
    of what `url` reads now. To be called under the tenant's lock. Nothing of the tenant is touched. Returns what they
    did to tables that were there before, in the order in which they ran.

    Raises RevisionFailed if a revision does, SnapshotError if the copy cannot be made, and Refused if none may be.
    """
    name, began = plan.tenant, time.monotonic()
    with copied(access, plan, url, manifest, timeout, tell) as copy:
        made = time.monotonic() - began
        tell(Event(name, "rehearse", "the revisions run on the copy …", live=True))
        ran = _run_on(
            access,
            plan,
            copy,
            timeout,
            lambda: revisions.upgrade(access, plan, folder, copy, owner=copy.user, seconds=timeout),
        )
        if failure := _unproven(plan, copy):
            raise _on_the_copy(plan, failure)
    for line in _told(plan, ran.effects):
        tell(Event(name, "rehearse", line))
    words = f"{counted(len(plan.pending), 'revision')} passed on a copy"
    took = seconds(time.monotonic() - began - made)
    tell(Event(name, "rehearse", f"{words} in {took}, made in {seconds(made)}"))
    return ran.effects


def _told(plan: Plan, found: Sequence[Effects]) -> list[str]:
    """What a running app may notice of each revision, in a line."""
    files = {revision.id: revision.file for revision in plan.pending}
    return [
        f"{files.get(one.revision, one.revision)}: {'; '.join(str(effect) for effect in one.telling)}"
        for one in found
        if one.telling
    ]


@dataclass(frozen=True)
class Rehearsed:
    """What came of a rehearsal that no deploy followed."""

    effects: Sequence[Effects] = ()
    error: TenantsError | None = None


def alone(access: Access, plan: Plan, folder: Path, tell: Tell, *, timeout: float, wait: float) -> Rehearsed:
    """Rehearse without a deploy: on a copy of what is there now, which is not stored. What goes wrong is answered."""
    try:
        with locks.tenant_lock(access, plan.tenant, "rehearse", tell, wait), access.acting_as(plan.tenant) as url:
            return Rehearsed(rehearse(access, plan, folder, url, None, tell, timeout=timeout))
    except (TenantsError, postgres.DatabaseError) as error:
        return Rehearsed(error=postgres.failed(error))


def loses(access: Access, plan: Plan, folder: Path, url: DatabaseUrl, *, timeout: float) -> list[str]:
    """What the way back of the plan's revisions would lose, in words: they are taken back on a copy of what is there
    now, and run again, and whatever is not the same then has been lost. Nothing of the tenant is touched. Raises what
    `rehearse` does."""
    client = programs.find(os.environ.get("PATH", ""), access.me.version // 10000)
    with copied(access, plan, url, None, timeout) as copy:

        def inside() -> Mapping[str, Contents]:
            with scratch.past_policies(access, copy):
                return archives.contents(client, plan.tenant, archives.dumping(client, copy, plan.tenant)).done()

        def back() -> Ran:
            return revisions.downgrade(access, plan, folder, copy, plan.start, owner=copy.user, seconds=timeout)

        def again() -> Ran:
            return revisions.upgrade(access, plan, folder, copy, owner=copy.user, seconds=timeout)

        before = inside()
        _run_on(access, plan, copy, timeout, back)
        _run_on(access, plan, copy, timeout, again)
        return drill.differences(before, inside())


@contextmanager
def copied(
    access: Access,
    plan: Plan,
    url: DatabaseUrl,
    manifest: Manifest | None,
    timeout: float,
    tell: Tell = unheard,
    *,
    without: str | None = None,
) -> Iterator[DatabaseUrl]:
    """A copy of the snapshot, or of what `url` reads now, in a scratch database; its role may do what a tenant may.
    `without` is how to go without it."""
    name = plan.tenant
    without = without or f"tenants deploy {name} {WITHOUT}"
    client = programs.find(os.environ.get("PATH", ""), access.me.version // 10000)
    identity = access.settings.identity
    extensions = {row["name"]: EXTENSIONS_SCHEMA for row in postgres.rows(access.connection, "extensions")}
    held = manifest.raw_size if manifest else int(postgres.scalar(access.connection, "size", schema=quoted(name)))
    if access.own and access.settings.rehearsal is None:
        raise Refused(f"there is no place for it: tenants create {name} --rehearsal, with the admin's URL, makes one")
    with (
        access.dumping(name, url) as reading,
        room.emptied(access, access.settings.rehearsal)
        if access.settings.rehearsal and access.own
        else scratch.database(access, name, extensions, needs=held * scratch.ROOM) as copy,
    ):
        if manifest is not None and (not manifest.recipients or identity is not None):
            source = archives.archive(require_store(access.settings), manifest, identity)
        else:
            source = archives.dumping(client, reading, name)
        pieces = watched(source, tell, name, "rehearse", "copied", manifest.raw_size if manifest else None)
        options = ["--no-owner", "--no-acl"]
        try:
            try:
                archives.replay(client, pieces, copy, access.me.version, options=options, seconds=timeout)
            except WrongIdentity:  # as where there is none at all: what is there now does as well
                source = archives.dumping(client, reading, name)
                archives.replay(client, source, copy, access.me.version, options=options, seconds=timeout)
        except ProgramError as error:
            raise SnapshotError(
                f"no copy of {name} could be made to rehearse on: {error.message}",
                data=_untouched(plan),
                next=f"prove its snapshots: tenants drill {name}   (or go without: {without})"
                if not access.own
                else f"tenants create {name} --rehearsal, with the admin's URL, if an extension is missed there; or go"
                f" without: {without}",
            ) from None
        if not access.own:
            scratch.as_a_tenant(access, copy)
        yield copy


def _run_on(access: Access, plan: Plan, copy: DatabaseUrl, timeout: float, run: Callable[[], Ran]) -> Ran:
    """Run project code on the copy, to its end and that of all its sessions. Raises what went wrong."""
    ran = run()
    end_sessions(access, copy)
    if ran.code != 0:
        raise _on_the_copy(plan, revisions.failure(ran, seconds=timeout))
    return ran


def end_sessions(access: Access, copy: DatabaseUrl) -> None:
    """End all sessions in the copy, and return when they are gone."""
    if access.own:
        room.end_sessions(copy)
    else:
        postgres.end_sessions(access.connection, [copy.user])


def _on_the_copy(plan: Plan, failure: TenantsError) -> TenantsError:
    failure.message = f"on a copy of today's data: {failure.message}"
    failure.data = _untouched(plan)
    return failure


def _untouched(plan: Plan) -> str:
    return f"untouched, at {plan.start or 'nothing yet'}"


def _unproven(plan: Plan, copy: DatabaseUrl) -> TenantsError | None:
    """What is wrong with a run that says it went well."""
    with postgres.connect(copy, "tenants rehearse") as connection:
        heads = postgres.read_heads(connection, plan.tenant)
    if heads == (plan.target,):
        return None
    return TenantsError(f"the schema is at {'+'.join(heads) or 'nothing'} after it, and not at {plan.target}")
