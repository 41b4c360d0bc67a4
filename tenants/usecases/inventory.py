"""Stored snapshots: which there are, and their manifests.

The catalog says which snapshots there are (`tenants.edges.shelf`). Here their manifests are read from storage, and
compared with what the catalog knows of them: `authentic` is the one way from a snapshot to its manifest.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from tenants.core import manifest as manifests
from tenants.core.errors import NoSnapshot, SnapshotError, StorageError
from tenants.core.manifest import Manifest
from tenants.core.near import did_you_mean
from tenants.core.units import counted, size
from tenants.edges import catalog, shelf
from tenants.edges.shelf import Known
from tenants.edges.store import Store, open_store, require_store
from tenants.usecases.access import Access

_log = logging.getLogger(__name__)


def bounded(store: Store, key: str, most: int) -> bytes:
    """A small object. Raises SnapshotError, without reading on, if it is a large one."""
    data = bytearray()
    for piece in store.read(key):
        data += piece
        if len(data) > most:
            raise SnapshotError(
                f"{store.place(key)} is too large for what it is named: more than {size(most)}",
                next="find out who can write to the bucket, and remove it",
            )
    return bytes(data)


def authentic(access: Access, store: Store, one: Known) -> Manifest:
    """The manifest of a snapshot that the catalog knows: the one that was stored when it was taken. Raises
    SnapshotError if storage has another one in its place, or none."""
    server = one.server or catalog.server(access.connection)
    most = manifests.MAX_BYTES_OF_A_TENANT if one.by_tenant else manifests.MAX_BYTES
    manifest, digest = read(store, server, one.tenant, one.id, most)
    if one.manifest is None:  # an earlier version took it: the catalog has the digest of its archive alone
        same = (manifest.size, manifest.sha256, manifests.stamp(manifest.created_at)) == (
            *(one.size, one.sha256),
            manifests.stamp(one.created_at),
        )
        if same and not access.own:
            shelf.note_digest(access.connection, one.tenant, one.id, digest)
    else:
        same = digest == one.manifest
    if not same:
        raise SnapshotError(
            f"the manifest of snapshot {one.id} of {one.tenant} in storage is not the one that was stored",
            next=f"use another snapshot: tenants snapshots {one.tenant}",
        )
    return manifest


def _servers(store: Store, own: str | None) -> list[str]:
    """Those that have stored something, this one first."""
    return sorted(filter(manifests.is_server, store.folders()), key=lambda name: name != own)


def find(
    access: Access,
    store: Store,
    tenant: str,
    id_: str | None = None,
    *,
    at: datetime | None = None,
    besides: Collection[str] = (),
) -> Manifest:
    """The manifest of that snapshot, or of the one that was taken last, or of the last one that was there `at` a time.
    The last one is not one that was taken for a reason in `besides`, as long as there is another. One that is gone from
    storage is passed over, and the log says so.

    The catalog says which snapshots there are, and in which order they were taken: no date and no name of an object in
    storage can put another one in the place of the newest. Raises NoSnapshot, SnapshotError.
    """
    server = catalog.server_or_none(access.connection)
    known = [
        one
        for one in (shelf.known(access.connection, tenant) if server else [])
        if (at is None or one.id[:16] <= manifests.stamp(at)) and id_ in (None, one.id)
    ]
    newest: Manifest | None = None
    there = _keys(store, tenant, {one.server or server for one in known}) if server else set()
    for one in reversed(known):
        if _place(one, server or "") not in there:
            if is_here(access, one):
                _log.warning("snapshot %s of %s is gone from storage", one.id, tenant)
            continue
        manifest = authentic(access, store, one)
        newest = newest or manifest
        if id_ or manifest.reason not in besides:
            return manifest
    if newest:
        return newest
    raise _no_snapshot(access, store, tenant, id_, at)


def _keys(store: Store, tenant: str | None, servers: Iterable[str]) -> set[str]:
    """The objects of the tenant, or of all, on those servers."""
    prefixes = [manifests.tenant_prefix(server, tenant) if tenant else f"{server}/" for server in servers]
    return {found.key for prefix in prefixes for found in store.objects(prefix)}


def is_here(access: Access, one: Known) -> bool:
    """Whether the snapshot ought to be in this storage: an app that deploys itself may have one of its own."""
    return one.store in (None, str(access.settings.store))


def _no_snapshot(access: Access, store: Store, tenant: str, id_: str | None, at: datetime | None) -> NoSnapshot:
    own = catalog.server_or_none(access.connection)
    there = [one.id for one in shelf.known(access.connection, tenant)] if own else []
    what = f"snapshot {id_}" if id_ else "snapshot" if at is None else f"snapshot as old as {manifests.rfc3339(at)}"
    message = f"there is no {what} of {tenant} in {store.place('')}{did_you_mean(id_, there) if id_ else ''}"
    what_next = f"tenants snapshots {tenant}"
    for place in _servers(store, own):
        ids = {manifests.id_of_key(found.key) for found in store.objects(manifests.tenant_prefix(place, tenant))}
        if place == own and id_ in ids:
            message += "; storage has an object of that name, which this server has not stored"
        elif place != own and (id_ in ids if id_ else ids - {None}):
            message += f"; server {place} has stored {'it' if id_ else 'some'}, which this one does not know"
            what_next = f"see what that server has: tenants recover --server {place} --dry-run"
    return NoSnapshot(message, next=what_next)


def read(store: Store, server: str, tenant: str, id_: str, most: int = manifests.MAX_BYTES) -> tuple[Manifest, str]:
    """The manifest that storage has at that place, which may be anybody's, and its digest. Raises SnapshotError."""
    data = bounded(store, manifests.manifest_key(server, tenant, id_), most)
    return Manifest.from_json(data, server=server, tenant=tenant, id=id_), hashlib.sha256(data).hexdigest()


def choose(access: Access, tenant: str, id_: str | None, at: datetime | None) -> Manifest:
    """The snapshot that is meant: that of the id, or the newest one that was there `at` the time, or the newest. With a
    tenant's own URL one of its own alone."""
    access.entry(tenant)
    return find(access, require_store(access.settings), tenant, id_, at=at)


@dataclass(frozen=True)
class Listing:
    """The snapshots that the catalog knows, and what storage has of them."""

    found: tuple[Manifest, ...] = ()
    damaged: tuple[SnapshotError, ...] = ()
    """Of each one whose manifest is another one, or whose archive is gone."""
    gone: tuple[Known, ...] = ()
    """Those whose manifest is not in storage any more, although this program has not removed it."""
    proven: frozenset[str] = frozenset()
    """Ids of those whose archive a drill has restored."""
    by_tenant: frozenset[str] = frozenset()
    """Ids of those that a tenant took with its own URL."""
    unknown: tuple[str, ...] = ()
    """Objects in storage that look like snapshots of this server, and are none."""


def list_snapshots(access: Access, tenant: str | None) -> Listing:
    """The snapshots, in the order in which they were taken; and what is wrong with those that cannot be read."""
    store = require_store(access.settings)
    if not catalog.version(access.connection):
        return Listing()
    server = catalog.server(access.connection)
    wanted = access.own or tenant
    known = shelf.known(access.connection, wanted)
    keys = _keys(store, wanted, {server, *(one.server or server for one in known)})
    found, damaged = [], []
    places = {_place(one, server): one for one in known}
    for place, one in places.items():
        if place not in keys:
            continue
        try:
            manifest = authentic(access, store, one)
            if manifest.key not in keys:
                raise SnapshotError(
                    f"snapshot {one.id} of {one.tenant} cannot be restored: its archive "
                    f"{store.place(manifest.key)} is gone",
                    next=f"take another one: tenants snapshot {one.tenant}",
                )
            found.append(manifest)
        except StorageError:
            raise
        except SnapshotError as error:
            damaged.append(error)
    unknown = (key for key in keys if key.startswith(f"{server}/") and manifests.id_of_key(key))
    digests = proven(known)
    return Listing(
        tuple(found),
        tuple(damaged),
        tuple(one for place, one in places.items() if place not in keys and is_here(access, one)),
        frozenset(one.id for one in known if one.proven_at or (not one.by_tenant and one.sha256 in digests)),
        frozenset(one.id for one in known if one.by_tenant),
        tuple(sorted(set(unknown) - places.keys())),
    )


def _place(one: Known, server: str) -> str:
    return manifests.manifest_key(one.server or server, one.tenant, one.id)


def proven(known: Iterable[Known]) -> frozenset[str]:
    """The digests of the archives that a drill has restored, of snapshots that the admin took."""
    return frozenset(one.sha256 for one in known if one.proven_at and not one.by_tenant)


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
            words = f"{store.place(prefix)} holds snapshots of it, the last one {id_}"
            try:
                found, _ = read(store, place, tenant, id_)
            except StorageError:
                raise
            except SnapshotError:  # whatever it is: fail closed
                return words, place != own
            if found.tables or found.heads:
                return words, place != own
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
