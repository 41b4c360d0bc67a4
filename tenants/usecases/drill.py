"""Drill: a restore that is done only to prove that it works.

The snapshot is replayed into a scratch database, as a role that owns nothing else, and what is there then is dumped
again: each table has to have the rows, the bytes and the digest that the archive has. The proof is written beside the
manifest; a snapshot without an archive of its own is proven by the one whose archive it names.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from tenants.core import manifest as manifests
from tenants.core.contents import Contents, Tally
from tenants.core.errors import AlreadyThere, ProgramError, SnapshotError, StorageError, UsageError
from tenants.core.events import Event, Tell, watched
from tenants.core.manifest import Manifest
from tenants.core.names import EXTENSIONS_SCHEMA
from tenants.core.units import counted, seconds
from tenants.edges import catalog, postgres, programs
from tenants.edges.store import Store, require_store
from tenants.usecases import archives, scratch, snapshots
from tenants.usecases.access import Access

TIMEOUT = 3600.0
"""Seconds that the replay may take: what a snapshot sets off must not keep the others from their night."""


@dataclass(frozen=True)
class Drilled:
    snapshot: str
    already: bool
    """Whether its archive had been proven before, and nothing was done."""
    tables: int
    rows: int
    seconds: float


def drill(
    access: Access, name: str, id_: str | None, tell: Tell, *, again: bool = False, timeout: float = TIMEOUT
) -> Drilled:
    """Restore the snapshot, or the newest one, into a scratch database, and compare. To be called under the tenant's
    lock; the live schema is not touched. Raises SnapshotError if it does not come back as it was."""
    access.require_admin(f"tenants drill {name}")
    store, server = require_store(access.settings), catalog.server(access.connection)
    manifest = snapshots.find(store, server, name, id_, elsewhere=False)
    if manifest.schema not in (None, name):
        raise UsageError(
            f"snapshot {manifest.id} is of schema {manifest.schema}, before {name} was adopted: it is not drilled",
            next=f"tenants drill {name}",
        )
    owner = manifest.archive or manifest.id
    if not again and owner in proven(store, server, name):
        tell(Event(name, "drill", f"{manifest.id}: its archive was proven before"))
        catalog.note_proven(access.connection, name, manifest.id)
        return Drilled(manifest.id, True, len(manifest.tables), manifest.rows, 0.0)
    if again:
        with suppress(StorageError):  # a bucket that keeps what it has keeps the proof as well
            store.delete(manifests.proof_key(server, name, owner))
    began = time.monotonic()
    client = programs.find(os.environ.get("PATH", ""), access.me.version // 10000)
    was, extensions = Tally(), dict.fromkeys(manifest.extensions, EXTENSIONS_SCHEMA)
    pieces = archives.archive(store, manifest, access.settings.identity)
    with scratch.database(access, name, extensions, needs=manifest.raw_size * scratch.ROOM) as url:
        try:
            archives.replay(
                client,
                watched(pieces, tell, name, "drill", "restored", manifest.raw_size),
                url,
                access.me.version,
                options=["--no-owner", "--no-acl"],
                seconds=timeout,
                seen=was.feed,
            )
            found = archives.contents(client, name, archives.dumping(client, url, name)).done()
        except ProgramError as error:
            raise SnapshotError(
                f"snapshot {manifest.id} does not restore: {error.message}",
                data=f"{name} is untouched",
                next=f"take another one, and drill that: tenants snapshot {name} && tenants drill {name}",
            ) from None
    expected = was.done()
    differing = differences(_as_told(manifest, expected), expected) or differences(expected, found)
    if differing:
        raise SnapshotError(
            f"snapshot {manifest.id} comes back otherwise than it was taken: {'; '.join(differing[:5])}",
            data=f"{name} is untouched",
            next=f"take another one, and drill that: tenants snapshot {name} && tenants drill {name}",
        )
    took = time.monotonic() - began
    _write_proof(store, manifest, owner, postgres.server_version(access.connection), client.version, took)
    catalog.note_proven(access.connection, name, manifest.id)
    tables = len([table for table in found if "." in table])
    tell(
        Event(
            name, "drill", f"{manifest.id} restored: {counted(tables, 'table')}, {manifest.rows} rows, all as they were"
        )
    )
    return Drilled(manifest.id, False, tables, manifest.rows, round(took, 3))


def differences(expected: Mapping[str, Contents], found: Mapping[str, Contents]) -> list[str]:
    """What has become of the tables, in words."""
    differing = []
    for table in sorted(set(expected) | set(found)):
        was, now = expected.get(table), found.get(table)
        if was is None or now is None:
            differing.append(f"{table} is {'new' if was is None else 'missing'}")
        elif was.rows != now.rows:
            differing.append(f"{table} has {counted(now.rows, 'row')} of {was.rows}")
        elif was != now:
            differing.append(f"{table} has other values")
    return differing


def _as_told(manifest: Manifest, found: Mapping[str, Contents]) -> dict[str, Contents]:
    """What the manifest says of the tables; the digests that it keeps to itself, as they were found."""
    if not manifest.recipients:
        return dict(manifest.tables)
    return {
        name: replace(told, sha256=found[name].sha256) if name in found else told
        for name, told in manifest.tables.items()
    }


def _write_proof(
    store: Store, manifest: Manifest, owner: str, server_version: str, client_version: str, took: float
) -> None:
    proof = {
        "snapshot": manifest.id,
        "proven_at": manifests.rfc3339(datetime.now(UTC)),
        "server_version": server_version,
        "client_version": client_version,
        "seconds": round(took, 3),
        "took": seconds(took),
        "rows": manifest.rows,
    }
    key = manifests.proof_key(manifest.server, manifest.tenant, owner)
    with suppress(AlreadyThere):  # it was proven before, and is again
        store.put_new(key, json.dumps(proof, indent=2).encode() + b"\n")


def proven(store: Store, server: str, tenant: str) -> list[str]:
    """The ids of the tenant's snapshots that have a proof beside them."""
    prefix = manifests.tenant_prefix(server, tenant)
    found = (manifests.id_of_proof(entry.key) for entry in store.objects(prefix))
    return [id_ for id_ in found if id_]
