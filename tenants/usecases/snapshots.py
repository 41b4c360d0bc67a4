"""Snapshots: a tenant's schema, streamed into storage, read back, and then declared to be one."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Collection, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import IO

from tenants import __version__
from tenants.core import manifest as manifests
from tenants.core.errors import NoSnapshot, SnapshotError, StorageError, TenantsError, Unreadable
from tenants.core.events import Event, Tell, watched
from tenants.core.ledger import Listed
from tenants.core.manifest import Manifest
from tenants.core.names import quoted
from tenants.core.settings import DatabaseUrl
from tenants.core.units import seconds, size
from tenants.edges import catalog, postgres, programs, shelf
from tenants.edges.catalog import Entry
from tenants.edges.programs import Programs
from tenants.edges.shelf import Known, Pending
from tenants.edges.store import Store, open_store, require_store
from tenants.usecases import archives, inventory, ledgers
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
    known = _clear_unfinished(access, store, server, entry.name)
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
        settled=True,
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
        begun = _publish(access, store, manifest, content)
    except BaseException:
        if not manifest.archive:
            _take_back(store, manifest.key)
        raise
    shelf.add(access.connection, manifest, begun)  # if this fails, the next run settles it
    took = seconds(time.monotonic() - began)
    words = f"{size(manifest.size)} to {access.settings.store}{', encrypted' if manifest.recipients else ''}"
    if manifest.archive:
        words = f"unchanged since {manifest.archive}, which is in {access.settings.store}"
    tell(Event(entry.name, "snapshot", f"{id_}: {words} in {took}, read back"))
    return manifest


def _publish(access: Access, store: Store, manifest: Manifest, content: str) -> Pending:
    """Its archive is in storage and was read back: store the manifest, and only then does the catalog know a snapshot.
    What is killed in between the next run settles (`_settle`). Returns what is to be known of it."""
    data = manifest.to_json()
    if access.own and len(data) > manifests.MAX_BYTES_OF_A_TENANT:
        raise SnapshotError(
            f"{manifest.tenant} has too many tables for a snapshot with its own URL: {len(manifest.tables)}",
            next=f"with the admin's URL: tenants snapshot {manifest.tenant}",
        )
    digest = hashlib.sha256(data).hexdigest()
    begun = Pending(manifest.id, digest, content, str(access.settings.store))
    shelf.begin(access.connection, manifest.tenant, begun)
    coming = Listed(manifest.id, digest, manifest.size, manifest.sha256, manifest.revision, None)
    ledgers.write(access, store, manifest.tenant, coming)
    store.put_new(manifests.manifest_key(manifest.server, manifest.tenant, manifest.id), data)
    return begun


def prepare(access: Access) -> None:
    """Read what a snapshot needs of this machine, where there is a moment for it. What is missing `take` tells."""
    with suppress(TenantsError):
        open_store(access.settings)
        programs.find(os.environ.get("PATH", ""), access.me.version // 10000)
    if not access.own:
        from tenants.edges import signing  # noqa: F401


def say_alive(access: Access, url: DatabaseUrl, entry: Entry, tell: Tell) -> None:
    """Where the last that storage knows of the tenant is that it was dropped, take a snapshot that says that it lives:
    who brings a lost server back leaves out what had been dropped. A failure is told, and is none of what came before.
    To be called as `take` is."""
    store = open_store(access.settings)
    if store is None:
        return
    try:
        if inventory.find(access, store, entry.name).reason == "drop":
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


def _last(access: Access, store: Store, coming: Manifest, known: Sequence[Known]) -> Manifest | None:
    """The last of the snapshots that are `known` of the tenant, if its manifest is right and for the same recipients:
    its archive may do for the one that is coming. Of one that is encrypted the catalog alone knows the digest of what
    is in it."""
    known = [one for one in known if access.own or not one.by_tenant]  # what a tenant says of its own is its word
    if not known:
        return None
    try:
        last = inventory.authentic(access, store, known[-1])
    except SnapshotError:
        return None
    if last.recipients != coming.recipients:
        return None
    return last if not last.recipients else replace(last, content_sha256=known[-1].content)


def _clear_unfinished(access: Access, store: Store, server: str, tenant: str) -> list[Known]:
    """What killed runs have left: uploads without an end, a snapshot that is not in the catalog yet, archives without a
    manifest. Under the tenant's lock nobody else is at work there. Returns the snapshots of this server that are here,
    in order.

    Only an archive that has no manifest of its name goes, and none that a snapshot of the catalog names: where the
    manifest of one cannot be read, it may name any of them, and all stay.
    """
    prefix = manifests.tenant_prefix(server, tenant)
    store.abort_unfinished(prefix)
    keys = {found.key for found in store.objects(prefix)}
    _settle(access, store, server, tenant, keys)
    every = shelf.known(access.connection, tenant)
    known = [one for one in every if one.server is None and manifests.manifest_key(server, tenant, one.id) in keys]
    complete = {key.removesuffix(".json") for key in keys if key.endswith(".json")}
    kinds = (manifests.ARCHIVE, manifests.SEALED)
    complete |= {manifests.manifest_key(server, tenant, one.id).removesuffix(".json") for one in every}
    orphans = {key for key in keys if key.endswith(kinds)} - {name + kind for name in complete for kind in kinds}
    if orphans:
        try:
            orphans -= {inventory.authentic(access, store, one).key for one in known}
        except SnapshotError:
            return known
    for key in orphans:
        _take_back(store, key)  # a locked bucket keeps it
    return known


def _settle(access: Access, store: Store, server: str, tenant: str, keys: Collection[str]) -> None:
    """What a killed run had begun is a snapshot if its manifest and its archive are in storage, and else it is none.
    What a tenant had begun itself it settles itself."""
    begun = shelf.pending(access.connection, tenant, str(access.settings.store))
    if begun is None:
        return
    own = begun.by_tenant == bool(access.own)
    if own and manifests.is_id(begun.id) and manifests.manifest_key(server, tenant, begun.id) in keys:
        try:
            manifest, digest = inventory.read(store, server, tenant, begun.id)
        except StorageError:
            raise
        except SnapshotError:  # someone else's object
            manifest = None
        if manifest and digest == begun.manifest and manifest.key in keys:
            shelf.add(access.connection, manifest, begun)
            return
    shelf.forget_pending(access.connection, tenant)


def fetch(access: Access, manifest: Manifest, file: IO[bytes], tell: Tell) -> int:
    """Write the archive of the snapshot into the file, as pg_restore takes it. Returns its size in bytes. Raises
    SnapshotError, at the latest before the last piece is written, if it is not what it was."""
    count = 0
    pieces = archives.archive(require_store(access.settings), manifest, access.settings.identity)
    for piece in watched(pieces, tell, manifest.tenant, "fetch", "fetched", manifest.raw_size):
        count += file.write(piece)
    file.flush()
    return count
