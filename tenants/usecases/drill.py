"""Drill: a restore that is done only to prove that it works.

The snapshot is replayed into a scratch database, as a role that owns nothing else, and what is there then is dumped
again: each table has to have the rows, the bytes and the digest that the archive has. The catalog notes that, and the
signed ledger lists it; a snapshot without an archive of its own is proven by the one whose archive it names.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tenants.core.contents import Contents, Tally
from tenants.core.errors import ProgramError, SnapshotError, UsageError
from tenants.core.events import Event, Tell, watched
from tenants.core.manifest import Manifest
from tenants.core.names import EXTENSIONS_SCHEMA
from tenants.core.units import counted
from tenants.edges import programs, shelf
from tenants.edges.store import require_store
from tenants.usecases import archives, inventory, ledgers, scratch
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
    store, connection = require_store(access.settings), access.connection
    manifest = inventory.find(access, store, name, id_)
    if manifest.schema not in (None, name):
        raise UsageError(
            f"snapshot {manifest.id} is of schema {manifest.schema}, before {name} was adopted: it is not drilled",
            next=f"tenants drill {name}",
        )
    known = shelf.known(connection, name)
    (row,) = (one for one in known if one.id == manifest.id)
    if not again and (row.proven_at or (not row.by_tenant and manifest.sha256 in inventory.proven(known))):
        tell(Event(name, "drill", f"{manifest.id}: its archive was proven before"))
        shelf.note_proven(connection, manifest)
        return Drilled(manifest.id, True, len(manifest.tables), manifest.rows, 0.0)
    shelf.note_unproven(connection, name, manifest.sha256)
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
            found = archives.contents(
                client, name, archives.dumping(client, url, name, settled=manifest.settled)
            ).done()
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
    shelf.note_proven(connection, manifest)
    ledgers.write(access, store, name)
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
