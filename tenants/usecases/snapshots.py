"""Snapshots: a tenant's schema, streamed into storage, read back, and then declared to be one."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import IO

from tenants import __version__
from tenants.core import manifest as manifests
from tenants.core.errors import NoSnapshot, SnapshotError, StorageError, TenantsError, Unreadable
from tenants.core.events import Event, Tell, watched
from tenants.core.manifest import Manifest
from tenants.core.names import quoted
from tenants.core.near import did_you_mean
from tenants.core.settings import DatabaseUrl
from tenants.core.units import counted, seconds, size
from tenants.edges import catalog, postgres, programs
from tenants.edges.catalog import Entry
from tenants.edges.programs import Programs
from tenants.edges.store import Store, open_store, require_store
from tenants.usecases import archives
from tenants.usecases.access import Access


def take(
    access: Access,
    url: DatabaseUrl,
    entry: Entry,
    reason: str,
    tell: Tell,
    *,
    schema: str | None = None,
    without: Sequence[tuple[str, str]] = (),
) -> Manifest:
    """Take a snapshot of the tenant, as the tenant (`url`), to be called under its lock. Before an adoption it is one
    of another `schema`, `without` the relations that stay there, and grants are left out.

    pg_dump's archive goes through zstd into storage as a stream: nothing is written to disk, and memory does not grow
    with its size. pg_restore looks it through meanwhile. Where the content is that of the last snapshot, its archive is
    named instead. Whichever it is, it is read back and compared; then the manifest is written, and only then is there a
    snapshot. Raises SnapshotError, with nothing left in storage.
    """
    began = time.monotonic()
    store = require_store(access.settings)
    client = programs.find(os.environ.get("PATH", ""), access.me.version // 10000)
    server = catalog.server(access.connection)
    known = _clear_unfinished(store, server, entry.name)
    created = datetime.now(UTC)
    id_ = manifests.new_id(created, catalog.token())
    with postgres.connect(url, "tenants snapshot") as connection:
        observed = access.observe([entry])[0]
        if isinstance(observed.trouble, Unreadable):
            raise SnapshotError(observed.trouble.message, next=observed.trouble.next)
        grants = postgres.rows(connection, "grantees", schema=entry.name) if schema is None else []
        extensions = tuple(row["name"] for row in postgres.rows(connection, "extensions"))
        version = postgres.server_version(connection)
    manifest = Manifest(
        id=id_,
        server=server,
        tenant=entry.name,
        project=entry.project,
        created_at=created,
        verified_at=created,
        reason=reason,
        heads=observed.current,
        git_rev=access.settings.git_rev,
        database=access.me.database,
        server_version=version,
        client_version=client.version,
        tool_version=__version__,
        size=0,
        sha256="",
        raw_size=0,
        grantees=tuple(row["role"] for row in grants),
        limits=asdict(entry.limits),
        app_role=entry.app_role,
        extensions=extensions,
        schema=schema,
        recipients=access.settings.recipients,
    )

    expected: int | None = None

    def store_it(reading: DatabaseUrl, unless: Manifest | None) -> tuple[Manifest, str]:
        return _stored(client, store, manifest, unless, reading, without, tell, expected)

    with access.dumping(entry.name, url) if schema is None else nullcontext(url) as reading:
        last = _last(access, store, manifest, known)
        expected = last.raw_size if last else _guess(access, schema or entry.name)
        try:
            manifest, content = store_it(reading, last)
        except _SpoiledError as error:
            tell(Event(entry.name, "snapshot", f"{error}: what is in it is stored anew"))
            manifest, content = store_it(reading, None)
    try:
        store.put_new(manifests.manifest_key(server, entry.name, id_), manifest.to_json())
    except BaseException:
        if not manifest.archive:
            _take_back(store, manifest.key)
        raise
    catalog.add_snapshot(access.connection, manifest, content)
    took = seconds(time.monotonic() - began)
    words = f"{size(manifest.size)} to {access.settings.store}{', encrypted' if manifest.recipients else ''}"
    if manifest.archive:
        words = f"unchanged since {manifest.archive}, which is in {access.settings.store}"
    tell(Event(entry.name, "snapshot", f"{id_}: {words} in {took}, read back"))
    return manifest


def prepare(access: Access) -> None:
    """Read what a snapshot needs of this machine, where there is a moment for it. What is missing `take` tells."""
    with suppress(TenantsError):
        open_store(access.settings)
        programs.find(os.environ.get("PATH", ""), access.me.version // 10000)


def say_alive(access: Access, url: DatabaseUrl, entry: Entry, tell: Tell) -> None:
    """Where the last that storage knows of the tenant is that it was dropped, take a snapshot that says that it lives:
    who brings a lost server back leaves out what had been dropped. A failure is told, and is none of what came before.
    To be called as `take` is."""
    store = open_store(access.settings)
    if store is None:
        return
    try:
        if find(store, catalog.server(access.connection), entry.name, elsewhere=False).reason == "drop":
            take(access, url, entry, "alive", tell)
    except NoSnapshot:
        pass
    except SnapshotError as error:
        words = f"storage still has it as dropped: {error.message}. When that is mended: tenants snapshot {entry.name}"
        tell(Event(entry.name, "snapshot", words, failed=True))


class _SpoiledError(Exception):
    """The archive of an earlier snapshot, which would do for this one, is not what it was."""


def _stored(
    client: Programs,
    store: Store,
    manifest: Manifest,
    last: Manifest | None,
    url: DatabaseUrl,
    without: Sequence[tuple[str, str]],
    tell: Tell,
    expected: int | None,
) -> tuple[Manifest, str]:
    """Dump into storage, or find that the archive of the `last` snapshot does, and prove it. Returns the manifest with
    what there is to say of the archive, and the digest of its content. Raises SnapshotError, with nothing left;
    _SpoiledError if that archive is."""
    key, digest, sealed = manifest.key, last.content_sha256 if last else None, manifest.recipients
    sent = archives.dump(
        client,
        url,
        manifest.tenant,
        manifest.schema,
        without,
        store,
        key,
        tell,
        recipients=sealed,
        unless=digest,
        expected=expected,
    )
    content, tables = sent.text.digest(), sent.text.done()
    manifest = replace(
        manifest,
        size=sent.size,
        sha256=sent.digest.hexdigest(),
        raw_size=sent.raw_size,
        content_sha256=None if sealed else content,
        tables={name: replace(found, sha256="") for name, found in tables.items()} if sealed else tables,
    )
    if sent.unchanged:
        assert last is not None
        same = {name: getattr(last, name) for name in ("size", "sha256", "raw_size")}
        manifest = replace(manifest, archive=last.archive or last.id, **same)
        try:
            if sealed:  # the server cannot look into it
                archives.read_back(store, manifest, tell)
            else:
                stored = archives.archive(store, manifest, None)
                pieces = watched(stored, tell, manifest.tenant, "snapshot", "read back", manifest.raw_size)
                found = archives.contents(client, manifest.archive or "", pieces).digest()
                if found != content:
                    raise SnapshotError(f"{store.place(manifest.key)} holds something else than its manifest says")
        except SnapshotError as error:
            raise _SpoiledError(error.message) from None
        return replace(manifest, verified_at=datetime.now(UTC)), content
    try:
        archives.read_back(store, manifest, tell)
    except SnapshotError as error:
        _take_back(store, key)
        error.next = error.next or "push again; if it happens again, the storage is not to be trusted"
        raise
    except BaseException:
        _take_back(store, key)
        raise
    return replace(manifest, verified_at=datetime.now(UTC)), content


def _guess(access: Access, schema: str) -> int | None:
    """About how many bytes the schema will be in an archive; None where it cannot be told at once."""
    with suppress(postgres.DatabaseError):
        return int(postgres.scalar(access.connection, "size_of_rows", schema=quoted(schema))) or None
    return None


def _take_back(store: Store, key: str) -> None:
    with suppress(StorageError):  # the next run clears it, if storage does not let us now
        store.delete(key)


def _last(access: Access, store: Store, coming: Manifest, known: Sequence[str]) -> Manifest | None:
    """The last of the snapshots that are `known` of the tenant, if it can be read and is for the same recipients: its
    archive may do for the one that is coming. Of one that is encrypted the catalog alone knows the digest of what is in
    it."""
    if not known:
        return None
    try:
        last = read(store, coming.server, coming.tenant, known[-1])
    except SnapshotError:
        return None
    if last.recipients != coming.recipients:
        return None
    if not last.recipients:
        return last
    return replace(last, content_sha256=catalog.content_of(access.connection, last.tenant, last.id))


def _clear_unfinished(store: Store, server: str, tenant: str) -> list[str]:
    """What killed runs have left: uploads without an end, archives that no manifest names. Under the tenant's lock
    nobody else is at work there. Where a manifest cannot be read, it may name any of them, and all stay. Returns the
    snapshots that there are, the oldest first."""
    prefix = manifests.tenant_prefix(server, tenant)
    store.abort_unfinished(prefix)
    keys = [found.key for found in store.objects(prefix)]
    complete = {key.removesuffix(".json") for key in keys if key.endswith(".json")}
    kinds = (manifests.ARCHIVE, manifests.SEALED)
    orphans = {key for key in keys if key.endswith(kinds)} - {name + kind for name in complete for kind in kinds}
    known = sorted(filter(None, map(manifests.id_of_key, keys)))
    if orphans:
        try:
            orphans -= {read(store, server, tenant, id_).key for id_ in known}
        except SnapshotError:
            return known
    for key in orphans:
        _take_back(store, key)  # a locked bucket keeps it
    return known


def _servers(store: Store, own: str | None) -> list[str]:
    """Those that have stored something, this one first."""
    return sorted(filter(manifests.is_server, store.folders()), key=lambda name: name != own)


def find(
    store: Store,
    server: str | None,
    tenant: str,
    id_: str | None = None,
    *,
    at: datetime | None = None,
    elsewhere: bool = True,
    besides: Collection[str] = (),
) -> Manifest:
    """The manifest of that snapshot, or of the newest one of the tenant, or of the newest one that was there `at` a
    time. The newest one is not one that was taken for a reason in `besides`, as long as there is another. Snapshots of
    this server come first; with `elsewhere` those of other servers on the same bucket are found where this one has
    none. Raises SnapshotError if there is none."""
    there = set[str]()
    for place in _servers(store, server) if elsewhere or server is None else [server]:
        keys = {manifests.id_of_key(o.key): o.key for o in store.objects(manifests.tenant_prefix(place, tenant))}
        known = sorted(found for found in keys if found and (at is None or found[:16] <= manifests.stamp(at)))
        there.update(known)
        if id_ in known or (known and at):
            return read(store, place, tenant, id_ or known[-1])
        if known and id_ is None:
            newest = [read(store, place, tenant, known[-1])]
            while newest[-1].reason in besides and len(newest) < len(known):
                newest.append(read(store, place, tenant, known[-1 - len(newest)]))
            return newest[-1] if newest[-1].reason not in besides else newest[0]
    what = f"snapshot {id_}" if id_ else "snapshot" if at is None else f"snapshot as old as {manifests.rfc3339(at)}"
    meant = did_you_mean(id_, there) if id_ else ""
    raise NoSnapshot(f"there is no {what} of {tenant} in {store.place('')}{meant}", next=f"tenants snapshots {tenant}")


def read(store: Store, server: str, tenant: str, id_: str) -> Manifest:
    data = b"".join(store.read(manifests.manifest_key(server, tenant, id_)))
    return Manifest.from_json(data, server=server, tenant=tenant, id=id_)


def fetch(access: Access, manifest: Manifest, file: IO[bytes], tell: Tell) -> int:
    """Write the archive of the snapshot into the file, as pg_restore takes it. Returns its size in bytes. Raises
    SnapshotError, at the latest before the last piece is written, if it is not what it was."""
    count = 0
    pieces = archives.archive(require_store(access.settings), manifest, access.settings.identity)
    for piece in watched(pieces, tell, manifest.tenant, "fetch", "fetched", manifest.raw_size):
        count += file.write(piece)
    file.flush()
    return count


def choose(access: Access, tenant: str, id_: str | None, at: datetime | None) -> Manifest:
    """The snapshot that is meant: that of the id, or the newest one that was there `at` the time, or the newest. With a
    tenant's own URL one of its own alone."""
    access.entry(tenant)
    store = require_store(access.settings)
    return find(store, catalog.server(access.connection), tenant, id_, at=at, elsewhere=not access.own)


@dataclass(frozen=True)
class Listing:
    """What is in storage. `proven` are the ids of those whose archive a drill has restored."""

    found: tuple[Manifest, ...] = ()
    damaged: tuple[SnapshotError, ...] = ()
    proven: frozenset[str] = frozenset()


def list_snapshots(access: Access, tenant: str | None) -> Listing:
    """The snapshots of this server, oldest first, as their manifests in storage have them; and what is wrong with those
    manifests that cannot be read."""
    store = require_store(access.settings)
    if not catalog.version(access.connection):
        return Listing()
    server = catalog.server(access.connection)
    wanted = access.own or tenant
    prefix = manifests.tenant_prefix(server, wanted) if wanted else f"{server}/"
    found, damaged, proofs = [], [], set()
    keys = {entry.key: entry for entry in store.objects(prefix)}
    for entry in keys.values():
        id_, name = manifests.id_of_key(entry.key), entry.key.split("/")[1]
        if proof := manifests.id_of_proof(entry.key):
            proofs.add((name, proof))
        if id_ and entry.key == manifests.manifest_key(server, name, id_):
            try:
                manifest = read(store, server, name, id_)
                if manifest.key not in keys:
                    raise SnapshotError(
                        f"snapshot {id_} of {name} cannot be restored: its archive {store.place(manifest.key)} is gone",
                        next=f"take another one: tenants snapshot {name}",
                    )
                found.append(manifest)
            except StorageError:
                raise
            except SnapshotError as error:
                damaged.append(error)
    return Listing(
        tuple(sorted(found, key=lambda m: (m.id, m.tenant))),
        tuple(damaged),
        frozenset(m.id for m in found if (m.tenant, m.archive or m.id) in proofs),
    )


def known_in_storage(access: Access, tenant: str) -> tuple[str, bool] | None:
    """What storage remembers of a tenant whose schema is empty, in words, and whether another server has stored it;
    None if it has nothing, or there is no storage. A snapshot of a schema that held nothing does not count."""
    store = open_store(access.settings)
    if store is None:
        return None
    own = catalog.server_or_none(access.connection)
    for place in _servers(store, own):
        prefix = manifests.tenant_prefix(place, tenant)
        for id_ in sorted(filter(None, (manifests.id_of_key(o.key) for o in store.objects(prefix))), reverse=True):
            found = read(store, place, tenant, id_)
            if found.tables or found.heads:
                return f"{store.place(prefix)} holds snapshots of it, the last one {id_}", place != own
    return None


def hint_of_another_server(access: Access) -> str | None:
    """The same as `of_another_server`, where it is no more than a hint: storage that does not answer gives none."""
    with suppress(StorageError):
        return of_another_server(access)
    return None


def of_another_server(access: Access) -> str | None:
    """That this server is new, and how many tenants of others storage has; None where a tenant is here, or none there.
    Storage is not asked where there is a tenant."""
    store = None if access.own or access.entries() else open_store(access.settings)
    if store is None:
        return None
    own = catalog.server_or_none(access.connection)
    tenants = set()
    for place in _servers(store, own):
        if place != own:
            tenants |= {found.key.split("/")[1] for found in store.objects(f"{place}/")}
    return f"this server is new; the bucket has {counted(len(tenants), 'tenant')} of another" if tenants else None
