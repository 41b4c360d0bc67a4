"""Snapshots: a tenant's schema, streamed into storage, read back, and then declared to be one."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import IO, cast

import zstandard

from tenants import __version__
from tenants.core import manifest as manifests
from tenants.core.adoption import quoted
from tenants.core.errors import NoSnapshot, ProgramError, SnapshotError, StorageError, Unreadable
from tenants.core.events import Event, Tell
from tenants.core.manifest import Manifest
from tenants.core.settings import DatabaseUrl
from tenants.core.units import seconds, size
from tenants.edges import catalog, postgres, programs
from tenants.edges.catalog import Entry
from tenants.edges.programs import Programs
from tenants.edges.store import Store, open_store, require_store
from tenants.usecases.access import Access

ZSTD_LEVEL = 3
PIECE = 1 << 20
LOCK_WAIT = "30s"
"""How long pg_dump waits for a table that somebody has locked."""


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
    with its size. It is read back and compared with what was sent; then its manifest is written, and only then is there
    a snapshot. Raises SnapshotError, with nothing left in storage.
    """
    began = time.monotonic()
    store = require_store(access.settings)
    client = programs.find(os.environ.get("PATH", ""), access.me.version // 10000)
    server = catalog.server(access.connection)
    _clear_unfinished(store, manifests.tenant_prefix(server, entry.name))
    created = datetime.now(UTC)
    id_ = manifests.new_id(created, catalog.token())
    key = manifests.archive_key(server, entry.name, id_)
    with postgres.connect(url, "tenants snapshot") as connection:
        observed = access.observe([entry])[0]
        if isinstance(observed.trouble, Unreadable):
            raise SnapshotError(observed.trouble.message, next=observed.trouble.next)
        grants = postgres.rows(connection, "grantees", schema=entry.name) if schema is None else []
        grantees = tuple(row["role"] for row in grants)
        database, version = access.me.database, postgres.server_version(connection)
    try:
        sent = _dump(client, url, entry.name, schema, without, store, key, tell)
        _read_back(store, key, sent)
    except BaseException:
        with suppress(StorageError):  # the next run clears it, if storage does not let us now
            store.delete(key)
        raise
    manifest = Manifest(
        id=id_,
        server=server,
        tenant=entry.name,
        project=entry.project,
        created_at=created,
        verified_at=datetime.now(UTC),
        reason=reason,
        heads=observed.current,
        git_rev=access.settings.git_rev,
        database=database,
        server_version=version,
        client_version=client.version,
        tool_version=__version__,
        size=sent.size,
        sha256=sent.digest.hexdigest(),
        raw_size=sent.raw_size,
        raw_sha256=sent.raw_digest.hexdigest(),
        grantees=grantees,
        schema=schema,
    )
    store.put_new(manifests.manifest_key(server, entry.name, id_), manifest.to_json())
    catalog.add_snapshot(access.connection, manifest)
    took = seconds(time.monotonic() - began)
    tell(Event(entry.name, "snapshot", f"{id_}: {size(manifest.size)} to {access.settings.store} in {took}, read back"))
    return manifest


def _clear_unfinished(store: Store, prefix: str) -> None:
    """What killed runs have left: uploads without an end, archives without a manifest. Under the tenant's lock nobody
    else is at work there."""
    store.abort_unfinished(prefix)
    keys = [found.key for found in store.objects(prefix)]
    complete = {key.removesuffix(".json") for key in keys if key.endswith(".json")}
    for key in keys:
        if key.endswith(manifests.ARCHIVE) and key.removesuffix(manifests.ARCHIVE) not in complete:
            with suppress(StorageError):  # a locked bucket keeps it
                store.delete(key)


class _Sent:
    def __init__(self) -> None:
        self.digest, self.raw_digest = hashlib.sha256(), hashlib.sha256()
        self.size = self.raw_size = 0


def _dump(
    client: Programs,
    url: DatabaseUrl,
    tenant: str,
    schema: str | None,
    without: Sequence[tuple[str, str]],
    store: Store,
    key: str,
    tell: Tell,
) -> _Sent:
    sent = _Sent()
    compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True).compressobj()
    arguments = ["--format=custom", "--compress=0", f"--lock-wait-timeout={LOCK_WAIT}"]
    arguments.append(f"--schema={quoted(schema or tenant)}")
    if schema:
        arguments += ["--no-privileges", *(f"--exclude-table={quoted(s)}.{quoted(name)}" for s, name in without)]
    with tempfile.TemporaryFile() as complaints, store.writer(key) as writer:

        def send(data: bytes) -> None:
            sent.digest.update(data)
            sent.size += len(data)
            writer.write(data)

        with programs.start(client, "pg_dump", *arguments, url=url, stderr=complaints) as process:
            assert process.stdout
            shown = time.monotonic()
            while piece := process.stdout.read(PIECE):
                sent.raw_digest.update(piece)
                sent.raw_size += len(piece)
                send(compressor.compress(piece))
                if time.monotonic() - shown > 0.2:
                    shown = time.monotonic()
                    tell(Event(tenant, "snapshot", f"{size(sent.raw_size)} read, {size(sent.size)} sent", live=True))
            if process.wait() != 0:
                raise ProgramError(
                    f"pg_dump of {schema or tenant} failed: {_complaint(complaints)}",
                    next=f"tenants snapshot {tenant}" if schema is None else "mend that, and try again",
                )
        send(compressor.flush())
    return sent


def _complaint(file: IO[bytes]) -> str:
    file.seek(max(0, file.seek(0, os.SEEK_END) - 8000))
    return programs.complaint(file.read())


def _read_back(store: Store, key: str, sent: _Sent) -> None:
    digest, count = hashlib.sha256(), 0
    for piece in store.read(key):
        digest.update(piece)
        count += len(piece)
    if (count, digest.digest()) != (sent.size, sent.digest.digest()):
        raise SnapshotError(
            f"{store.place(key)} is not what was sent: {count} bytes read back of {sent.size}",
            next="push again; if it happens again, the storage is not to be trusted",
        )


def archive(store: Store, manifest: Manifest) -> Iterator[bytes]:
    """The snapshot's archive as pg_restore takes it, decompressed and compared with the manifest as it passes.

    Raises SnapshotError at the latest before the last piece is handed out, if a byte is not what it was. Memory is
    bounded whatever the object holds.
    """
    key = manifests.archive_key(manifest.server, manifest.tenant, manifest.id)
    damaged = SnapshotError(
        f"{store.place(key)} is damaged: it is not what its manifest says",
        next=f"take another one: tenants snapshots {manifest.tenant}",
    )
    source = _Counted(store.read(key), manifest.size)
    raw, last = 0, b""
    try:
        with zstandard.ZstdDecompressor(max_window_size=128 << 20).stream_reader(cast("IO[bytes]", source)) as reader:
            while piece := reader.read(PIECE):
                raw += len(piece)
                if raw > manifest.raw_size:
                    raise damaged
                if last:
                    yield last
                last = piece
    except zstandard.ZstdError:
        raise damaged from None
    source.drain()
    if (source.count, source.digest.hexdigest(), raw) != (manifest.size, manifest.sha256, manifest.raw_size):
        raise damaged
    yield last


class _Counted:
    """Pieces of an object as something that can be read, with their digest. Stops a little past `limit` bytes."""

    def __init__(self, pieces: Iterator[bytes], limit: int) -> None:
        self._pieces, self._limit, self._rest = pieces, limit, b""
        self.digest, self.count = hashlib.sha256(), 0

    def read(self, size: int = -1) -> bytes:
        if not self._rest and self.count <= self._limit:
            self._rest = next(self._pieces, b"")
            self.digest.update(self._rest)
            self.count += len(self._rest)
        piece, self._rest = (self._rest, b"") if size < 0 else (self._rest[:size], self._rest[size:])
        return piece

    def drain(self) -> None:
        while self.read():
            pass


def find(store: Store, server: str | None, tenant: str, id_: str | None = None) -> Manifest:
    """The manifest of that snapshot, or of the newest one of the tenant. Snapshots of this server come first; those of
    other servers on the same bucket are found where this one has none. Raises SnapshotError if there is none."""
    for place in sorted(filter(manifests.is_server, store.folders()), key=lambda name: name != server):
        keys = {manifests.id_of_key(o.key): o.key for o in store.objects(manifests.tenant_prefix(place, tenant))}
        known = sorted(found for found in keys if found)
        wanted = id_ if id_ in known else known[-1] if known and id_ is None else None
        if wanted:
            return read(store, place, tenant, wanted)
    what = f"snapshot {id_}" if id_ else "snapshot"
    raise NoSnapshot(f"there is no {what} of {tenant} in {store.place('')}", next=f"tenants snapshots {tenant}")


def read(store: Store, server: str, tenant: str, id_: str) -> Manifest:
    data = b"".join(store.read(manifests.manifest_key(server, tenant, id_)))
    return Manifest.from_json(data, server=server, tenant=tenant, id=id_)


def list_snapshots(access: Access, tenant: str | None) -> tuple[list[Manifest], list[SnapshotError]]:
    """The snapshots of this server, oldest first, as their manifests in storage have them; and what is wrong with those
    manifests that cannot be read."""
    store = require_store(access.settings)
    if not catalog.version(access.connection):
        return [], []
    server = catalog.server(access.connection)
    wanted = access.own or tenant
    prefix = manifests.tenant_prefix(server, wanted) if wanted else f"{server}/"
    found, damaged = [], []
    for entry in store.objects(prefix):
        id_, name = manifests.id_of_key(entry.key), entry.key.split("/")[1]
        if id_ and entry.key == manifests.manifest_key(server, name, id_):
            try:
                found.append(read(store, server, name, id_))
            except StorageError:
                raise
            except SnapshotError as error:
                damaged.append(error)
    return sorted(found, key=lambda m: (m.id, m.tenant)), damaged


def known_in_storage(access: Access, tenant: str) -> str | None:
    """What storage remembers of a tenant whose schema is empty, in words; None if it has nothing, or there is none."""
    store = open_store(access.settings)
    if store is None:
        return None
    server = catalog.server(access.connection) if catalog.version(access.connection) else None
    try:
        newest = find(store, server, tenant)
    except NoSnapshot:
        return None
    return (
        f"{store.place(manifests.tenant_prefix(newest.server, tenant))} holds snapshots of it, the last one {newest.id}"
    )
