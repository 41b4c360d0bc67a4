"""Restore: a snapshot back into its tenant's schema, with the app running.

In one transaction the live schema is set aside, an empty one takes its place, and the archive is replayed into it: the
app sees the old rows until the commit, and the restored ones after it. The replay runs in a session that acts as the
tenant and has no other right; the one step that takes more, setting the schema aside, is a function of the catalog that
can do this once, to this tenant (`tenants.set_aside`). The former schema is kept under another name, as the way back.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Literal

from tenants.core.errors import NoSnapshot, ProgramError, Refused, SnapshotError, TenantsError
from tenants.core.events import Event, Tell, watched
from tenants.core.manifest import Manifest
from tenants.core.names import aside_name, check_name, printable, quoted
from tenants.core.near import likest
from tenants.core.settings import DatabaseUrl
from tenants.core.units import seconds, size
from tenants.edges import catalog, postgres, programs, records
from tenants.edges.catalog import Entry
from tenants.edges.postgres import compose, literal
from tenants.edges.programs import Programs
from tenants.edges.records import Record
from tenants.edges.store import Store, require_store
from tenants.usecases import archives, audit, inventory, locks, provision, snapshots
from tenants.usecases.access import Access

_LONGEST_LIST = 128 << 20
"""Bytes at the beginning of an archive that say what it holds: as much as some hundred thousand objects take."""
REPLACED = ("restore", "undo")
"""Snapshots of what one of these has replaced are not what is meant by the newest."""


@dataclass(frozen=True)
class Restored:
    tenant: str
    snapshot: str | None
    """None for what was not one."""
    revision: str | None
    aside: str | None
    """The schema that holds what was there before; None if there was nothing."""
    undo: str | None
    """The snapshot that was taken of it."""
    without_login: bool
    """Whether the tenant has no login, as one that had to be made anew."""
    seconds: float


@dataclass(frozen=True)
class Source:
    """What a schema is made anew from."""

    what: str
    """In words, for those who watch: `snapshot 20261124T030000Z-k3f9ab`."""
    pieces: Callable[[], Generator[bytes, None, None]]
    """An archive that holds the schema under the tenant's name: a reading of it, which raises where it is not sound,
    before its last piece."""
    heads: tuple[str, ...]
    snapshot: str | None = None
    grantees: tuple[str, ...] = ()
    """Roles that it grants something to."""
    size: int | None = None
    """Bytes of the archive, where that is known."""

    @property
    def revision(self) -> str:
        return "+".join(self.heads) or "no revision"


def restore(
    access: Access, name: str, id_: str | None, tell: Tell, *, at: datetime | None = None, wait: float = locks.WAIT
) -> Restored:
    """Put the snapshot `id_` back, or the newest one, or the newest that was there `at` a time. The newest is not what
    a restore or an undo has replaced: who types the same command again means the same. Needs the admin's URL.

    All or nothing: an archive that is damaged, or does not fit, leaves the live schema as it was. A snapshot of what is
    there now is taken first. Raises Refused, SnapshotError, Locked.
    """
    access.require_admin(f"tenants restore {name} {id_ or ''}".strip())
    check_name(name)
    store = require_store(access.settings)
    entry = _entry(access, store, name, id_, tell)
    with locks.tenant_lock(access, name, "restore", tell, wait) as lock:
        manifest = inventory.find(access, store, name, id_, at=at, besides=REPLACED)
        require_own(manifest, name)
        return put_back(access, entry, lock, of_snapshot(access, store, manifest), tell)


def look(access: Access, name: str, id_: str | None, at: datetime | None) -> tuple[str | None, str]:
    """The snapshot that `restore` would put back, and in words what becomes of the revision by it: empty if that stays,
    or there is nothing. Writes nothing. Raises Refused, SnapshotError."""
    entries = access.entries([check_name(name)])
    if name not in entries:
        return id_, ""
    store = require_store(access.settings)
    manifest = inventory.find(access, store, name, id_, at=at, besides=REPLACED)
    require_own(manifest, name)
    return manifest.id, _revision_goes(access.observe([entries[name]])[0].current, manifest.heads)


def _revision_goes(now: tuple[str, ...], then: tuple[str, ...]) -> str:
    if not now or now == then:
        return ""
    there = "+".join(now)
    back = "+".join(then) or "no revision"
    return f"takes the schema from {there} back to {back}: the release that serves may need {there}"


def require_own(manifest: Manifest, name: str) -> None:
    """Raises Refused if the snapshot is of what was there before the tenant was."""
    if manifest.schema not in (None, name):
        raise Refused(
            f"snapshot {manifest.id} is of schema {manifest.schema}, as it was before {name} was adopted from it",
            next=f"tenants adopt {name} --undo gives the tables back; or replay it by hand, as README.md shows",
        )


def of_snapshot(access: Access, store: Store, manifest: Manifest) -> Source:
    """The snapshot, checked against its manifest while it is read."""
    return Source(
        what=f"snapshot {manifest.id}",
        pieces=lambda: archives.archive(store, manifest, access.settings.identity),
        heads=manifest.heads,
        snapshot=manifest.id,
        grantees=manifest.grantees,
        size=manifest.raw_size,
    )


def put_back(
    access: Access,
    entry: Entry,
    lock: locks.Lock,
    source: Source,
    tell: Tell,
    kind: Literal["restore", "undo"] = "restore",
) -> Restored:
    """Put the source in the place of what is in the tenant's schema, under its lock. All or nothing. `kind` is what
    goes on record."""
    name, began = entry.name, time.monotonic()
    client = programs.find(os.environ.get("PATH", ""), access.me.version // 10000)
    if catalog.bridges(access.connection, name):
        raise Refused(
            f"the app of {name} may still write through what its adoption has left in the place of its tables, and"
            " that would go on into what a restore sets aside",
            next=f"when the app has its own URL: tenants adopt {name} --finish   (or: tenants adopt {name} --undo)",
        )
    tell(Event(name, "restore", f"from {source.what}: {source.revision}"))
    _try(source, name)
    before = postgres.schemas(access.connection, [name])[0]
    held = bool(before["exists"] and not before["empty"])
    heads_before = access.observe([entry])[0].current
    if held:
        for told in foretold(access, name):
            tell(Event(name, "restore", told, warning=True))
        if kind == "restore" and (goes := _revision_goes(heads_before, source.heads)):
            tell(Event(name, "restore", goes, warning=True))
    with access.acting_as(name) as url:
        undo = snapshots.take(access, url, entry, kind, tell) if held else None
        lock.check()
        aside = free_aside(access, name)
        catalog.allow_swap(access.connection, url.user, name, aside)
        try:
            _replay(client, name, source, url, access, tell)
        except TenantsError as error:  # of the programs, the archive, the storage
            postgres.end_sessions(access.connection, [url.user])  # one that is left may be committing yet
            if catalog.swap_allowed(access.connection, url.user):
                error.data = error.data or f"{name} is as it was before the restore"
            else:
                error.data = f"{name} is not as it was: what is in the archive committed; it was set aside as {aside}"
                error.next = f"put back what was there: tenants restore {name} {undo.id}" if undo else None
            raise
        if catalog.swap_allowed(access.connection, url.user):
            raise ProgramError(f"nothing of {source.what} was replayed", data=f"{name} is as it was before the restore")
        heads = access.observe([entry])[0].current
        if heads != source.heads:
            raise TenantsError(f"{name} is at {heads} after the restore, and {source.what} at {source.heads}")
        if not held:
            snapshots.say_alive(access, url, entry, tell)
    took = time.monotonic() - began
    record = Record(
        name,
        entry.project,
        kind,
        heads_before,
        heads,
        [],
        "restored" if kind == "restore" else "undone",
        {"restore": took},
        snapshot=source.snapshot,
        before=undo.id if undo else None,
        aside=aside if held else None,
    )
    records.add(access.connection, record)
    audit.mend(access, name)
    if before["exists"] and not held:
        postgres.run(access.connection, "DROP SCHEMA {aside}", aside=aside)
    tell(Event(name, "restore", f"{source.what} is back, at {source.revision}, in {seconds(took)}"))
    return Restored(
        tenant=name,
        snapshot=source.snapshot,
        revision="+".join(source.heads) or None,
        aside=aside if held else None,
        undo=undo.id if undo else None,
        without_login=not catalog.entries_with_logins(access.connection)[name].logins,
        seconds=round(took, 3),
    )


def foretold(access: Access, name: str) -> list[str]:
    """What the swap means for those outside: who goes on following the tables that are set aside, and whose sessions
    have to connect anew."""
    found = postgres.rows(access.connection, "followers", schema=quoted(name), name=name)
    told = [
        f"{printable(row['who'])} goes on with the former {printable(row['what'])}, which is set aside: make it anew"
        for row in found
    ]
    types = [printable(row["name"]) for row in postgres.rows(access.connection, "own_types", schema=quoted(name))]
    if types:
        these = ", ".join(types[:8]) + (", …" if len(types) > 8 else "")
        told.append(f"sessions that have used columns of {these} must connect anew: restart the app after it")
    return told


def _entry(access: Access, store: Store, name: str, id_: str | None, tell: Tell) -> Entry:
    """The tenant; it is made anew where the catalog was lost, and storage still knows it."""
    entries = access.entries()
    if name not in entries:
        try:
            manifest = inventory.find(access, store, name, id_)
        except NoSnapshot:
            if likest(name, entries):
                access.entry(name)  # raises: it is a slip of the fingers
            raise
        provision.create(access, name, manifest.project, tell, with_login=False)
    catalog.ensure(access.connection)
    return access.entry(name)


def free_aside(access: Access, name: str) -> str:
    """A name for the schema that is set aside: it tells when, to the second."""
    taken = {row["name"] for row in postgres.rows(access.connection, "asides")}
    while (aside := aside_name(name, datetime.now(UTC))) in taken:
        time.sleep(0.2)
    return aside


def _try(source: Source, name: str) -> None:
    """What cannot be read at all is told before anything is done."""
    try:
        with closing(source.pieces()) as pieces:
            next(pieces, None)
    except TenantsError as error:
        error.data = error.data or f"{name} is untouched"
        raise


def _listing(client: Programs, source: Source, name: str, pieces: Iterator[bytes]) -> tuple[list[bytes], bytes]:
    """The list of what to restore: all but the schema itself, which the swap makes. It stands at the beginning of the
    archive; comes with the pieces that were taken for it. Raises SnapshotError."""
    taken, held = list[bytes](), 0

    def beginning() -> Iterator[bytes]:
        nonlocal held
        for piece in pieces:
            taken.append(piece)
            held += len(piece)
            if held > _LONGEST_LIST:
                raise SnapshotError(
                    f"the list of what {source.what} holds is longer than {size(_LONGEST_LIST)}",
                    next=f"restore it by hand: tenants fetch {name}, then pg_restore",
                )
            yield piece

    with (
        tempfile.TemporaryFile() as complaints,
        programs.start(client, "pg_restore", "--list", stdin=subprocess.PIPE, stderr=complaints) as process,
    ):
        lines = b"".join(programs.through(process, beginning(), whole=False)).splitlines(keepends=True)
        if process.wait() != 0:
            complaints.seek(0)
            raise SnapshotError(
                f"pg_restore cannot read {source.what}: {programs.complaint(complaints.read())}",
                next=f"take another one: tenants snapshots {name}",
            )
    return taken, b"".join(line for line in lines if not re.match(rb"\d+; \d+ \d+ SCHEMA ", line))


def _replay(client: Programs, name: str, source: Source, url: DatabaseUrl, access: Access, tell: Tell) -> None:
    """pg_restore turns the archive into SQL, psql runs it as one transaction, and is told to commit only when all of
    the archive has matched its digest. It is read once: what the list was made of is what is replayed."""
    missing = _missing_roles(access, source.grantees)
    if missing:
        words = f"all grants and revocations are left out: {', '.join(missing)} do not exist"
        tell(Event(name, "restore", words))
    pieces = source.pieces()
    taken, listing = _listing(client, source, name, pieces)
    with _in_memory(listing) as descriptor:
        options = ["--no-owner", f"--use-list=/dev/fd/{descriptor}", *(["--no-acl"] if missing else [])]
        try:
            archives.replay(
                client,
                watched(chain(taken, pieces), tell, name, "restore", "put back", source.size),
                url,
                access.me.version,
                options=options,
                pass_fds=(descriptor,),
                first="SELECT tenants.set_aside()",
                last=_check_of(access, name, source.heads) + _analyze(access, name),
            )
        except ProgramError as error:
            raise ProgramError(
                f"{source.what} could not be replayed: {error.message}",
                data=f"{name} is as it was before the restore",
                next=f"another one: tenants snapshots {name}",
            ) from None


def _check_of(access: Access, name: str, heads: tuple[str, ...]) -> bytes:
    """SQL that stops the transaction, before it is committed, if the archive is not at the heads that it is to be."""
    if not heads:
        return b""
    at = 'SELECT array_agg(version_num::text ORDER BY version_num::text COLLATE "C") FROM {schema}.alembic_version'
    body = compose(
        "BEGIN IF (" + at + ") IS DISTINCT FROM {heads}::text[] THEN"
        " RAISE EXCEPTION 'its archive is at another revision than its manifest says'; END IF; END",
        schema=name,
        heads=literal(sorted(heads)),
    ).as_string(access.connection)
    return compose("\nDO {body};\n", body=literal(body)).as_bytes(access.connection)


@contextmanager
def _in_memory(data: bytes) -> Iterator[int]:
    """A descriptor of a file that a confined program can open anew as /dev/fd/N: one that lies in no folder."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("tenants"), "w+b") as file:
            file.write(data)
            file.flush()
            yield file.fileno()
    else:  # macOS, where nothing is confined
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.seek(0)
            yield file.fileno()


def _missing_roles(access: Access, roles: tuple[str, ...]) -> list[str]:
    query = "SELECT name FROM unnest(%s::text[]) AS name WHERE name NOT IN (SELECT rolname FROM pg_roles) ORDER BY 1"
    return [row[0] for row in access.connection.execute(query, [list(roles)])]


def _analyze(access: Access, name: str) -> bytes:
    """SQL, run before the commit: fresh tables have no statistics, and their first queries bad plans. An index over a
    function that fails does not undo a restore."""
    body = compose(
        "DECLARE t record; BEGIN FOR t IN SELECT c.oid::pg_catalog.regclass AS name FROM pg_catalog.pg_class c"
        " WHERE c.relnamespace = {schema}::pg_catalog.regnamespace AND c.relkind IN ('r', 'p', 'm') LOOP"
        " BEGIN EXECUTE pg_catalog.format('ANALYZE %s', t.name); EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END",
        schema=literal(quoted(name)),
    ).as_string(access.connection)
    return compose("\nDO {body};\n", body=literal(body)).as_bytes(access.connection)
