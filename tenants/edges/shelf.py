"""The shelf: which snapshots there are. The catalog says so; storage holds the bytes.

An object in storage that the shelf does not know is no snapshot, whatever it says of itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tenants.core.errors import SnapshotError
from tenants.core.ledger import Listed
from tenants.core.manifest import Manifest
from tenants.edges import catalog, postgres
from tenants.edges.postgres import Connection

STEP = catalog.KEYS
"""The version of the catalog since which it knows digests of manifests. A tenant's own URL may meet an older one."""


@dataclass(frozen=True)
class Known:
    """One snapshot that the catalog knows."""

    tenant: str
    id: str
    server: str | None
    """The lost server that took it; None if this one did."""
    store: str | None
    """Where it is, as TENANTS_STORE says it; None if that is not known."""
    created_at: datetime
    size: int
    sha256: str
    """Of the archive as stored; snapshots that share an archive have the same."""
    manifest: str | None
    """SHA-256 of the manifest; None if an earlier version of this program took it, and no run has read it since."""
    content: str | None
    """SHA-256 of the content, which an encrypted archive does not show."""
    revision: str | None
    proven_at: datetime | None
    by_tenant: bool
    """Whether the tenant took it with its own URL: what is known of it is the tenant's word."""


def known(connection: Connection, tenant: str | None = None) -> list[Known]:
    """The snapshots of the tenant, or of all, in the order in which they were taken. With a tenant's own URL those of
    that one."""
    query = """SELECT tenant, id, created_at, bytes AS size, sha256, content, revision, proven_at,
                      to_jsonb(s)->>'server' AS server, to_jsonb(s)->>'store' AS store,
                      to_jsonb(s)->>'manifest' AS manifest,
                      coalesce((to_jsonb(s)->>'by_tenant')::boolean, false) AS by_tenant
               FROM tenants.snapshots s WHERE tenant = coalesce(%s, tenant)
               ORDER BY tenant, (to_jsonb(s)->>'number')::bigint, id"""
    return [Known(**row) for row in postgres.dict_rows(connection, query, [tenant])]


def add(connection: Connection, manifest: Manifest, begun: Pending) -> None:
    """The snapshot exists from here on, and nothing is pending any more. Nothing if it is there already. A tenant has
    no privilege to insert: it calls a function, which checks and bounds what it says."""
    values: list[object] = [
        *(manifest.id, manifest.created_at, manifest.revision, manifest.size, manifest.sha256, manifest.verified_at),
        *(begun.content, begun.manifest, begun.store),
    ]
    if catalog.version(connection) < STEP:  # a tenant's own URL, and the catalog of an older program
        connection.execute(
            """INSERT INTO tenants.snapshots (id, created_at, revision, bytes, sha256, verified_at, content, tenant)
               VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING""",
            [*values[:-2], manifest.tenant],
        )
        return
    if not postgres.may(connection, "INSERT", "tenants.snapshots"):
        connection.execute("SELECT tenants.add_snapshot(%s, %s, %s, %s, %s, %s, %s, %s, %s)", values)
        return
    with connection.transaction():
        added = connection.execute(
            """INSERT INTO tenants.snapshots
                   (id, created_at, revision, bytes, sha256, verified_at, content, manifest, store, tenant)
               VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING""",
            [*values, manifest.tenant],
        )
        if added.rowcount == 0:
            _require_same(connection, manifest, begun.manifest)
        connection.execute("DELETE FROM tenants.pending WHERE tenant = %s", [manifest.tenant])


def _require_same(connection: Connection, manifest: Manifest, digest: str) -> None:
    """Raises SnapshotError if another snapshot of that id is on record: a tenant can write there, with its own URL."""
    for one in known(connection, manifest.tenant):
        if one.id == manifest.id and (one.manifest, one.sha256, one.by_tenant) != (digest, manifest.sha256, False):
            raise SnapshotError(
                f"another snapshot of {manifest.tenant} is on record as {manifest.id}: its own login has written that",
                next=f"tenants rotate {manifest.tenant}, whose login may be in other hands; then try again",
            )


def note_digest(connection: Connection, tenant: str, id_: str, digest: str) -> None:
    """Of a snapshot that an earlier version took: the manifest was read, and it is the right one. For the admin."""
    if catalog.version(connection) < STEP:  # a command that only reads does not bring the catalog up to date
        return
    query = "UPDATE tenants.snapshots SET manifest = %s WHERE (tenant, id) = (%s, %s) AND manifest IS NULL"
    connection.execute(query, [digest, tenant, id_])


@dataclass(frozen=True)
class Pending:
    """A snapshot that is under way: its archive is in storage, and its manifest follows."""

    id: str
    manifest: str
    """SHA-256 of its manifest."""
    content: str | None
    """SHA-256 of its content."""
    store: str
    """Where it is, as TENANTS_STORE says it."""
    by_tenant: bool = False


def begin(connection: Connection, tenant: str, begun: Pending) -> None:
    """To be called under the tenant's lock: there is one at most."""
    if catalog.version(connection) < STEP:
        return
    values = [begun.id, begun.manifest, begun.content, begun.store]
    if postgres.may(connection, "INSERT", "tenants.pending"):
        connection.execute(
            """INSERT INTO tenants.pending (id, manifest, content, store, tenant) VALUES (%s, %s, %s, %s, %s)
               ON CONFLICT (tenant) DO UPDATE SET id = excluded.id, manifest = excluded.manifest,
                                                  content = excluded.content, store = excluded.store,
                                                  by_tenant = excluded.by_tenant""",
            [*values, tenant],
        )
    else:
        connection.execute("SELECT tenants.begin_snapshot(%s, %s, %s, %s)", values)


def pending(connection: Connection, tenant: str, store: str) -> Pending | None:
    """The snapshot that a run has begun there and not finished."""
    if catalog.version(connection) < STEP:
        return None
    query = "SELECT id, manifest, content, store, by_tenant FROM tenants.pending WHERE (tenant, store) = (%s, %s)"
    row = connection.execute(query, [tenant, store]).fetchone()
    return Pending(*row) if row else None


def forget_pending(connection: Connection, tenant: str) -> None:
    if catalog.version(connection) < STEP:
        return
    if postgres.may(connection, "INSERT", "tenants.pending"):
        connection.execute("DELETE FROM tenants.pending WHERE tenant = %s", [tenant])
    else:
        connection.execute("SELECT tenants.forget_pending()")


def forget(connection: Connection, tenant: str, id_: str) -> None:
    """The snapshot exists no more."""
    connection.execute("DELETE FROM tenants.snapshots WHERE (tenant, id) = (%s, %s)", [tenant, id_])


def note_proven(connection: Connection, manifest: Manifest) -> None:
    """A drill restored the snapshot just now, or its archive is known to restore: that is so of each snapshot with that
    archive, but for others that the tenant took itself: what they name is its word."""
    query = """UPDATE tenants.snapshots s SET proven_at = now()
               WHERE (tenant, sha256) = (%s, %s)
                 AND (id = %s OR NOT coalesce((to_jsonb(s)->>'by_tenant')::boolean, false))"""
    connection.execute(query, [manifest.tenant, manifest.sha256, manifest.id])


def note_unproven(connection: Connection, tenant: str, sha256: str) -> None:
    """The archive did not come back as it was: nothing that names it is proven."""
    query = "UPDATE tenants.snapshots SET proven_at = NULL WHERE (tenant, sha256) = (%s, %s)"
    connection.execute(query, [tenant, sha256])


def adopt(connection: Connection, tenant: str, server: str, listed: Sequence[Listed]) -> None:
    """The snapshots that a lost server took, as its ledger lists them. Nothing for those that are known."""
    for one in listed:
        connection.execute(
            """INSERT INTO tenants.snapshots
                   (id, tenant, created_at, revision, bytes, sha256, verified_at, manifest, server, proven_at)
               VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING""",
            [
                *(one.id, tenant, one.created_at, one.revision, one.size, one.sha256, one.created_at, one.manifest),
                *(server, one.proven_at),
            ],
        )


@dataclass(frozen=True)
class Head:
    """The newest ledger of a tenant."""

    number: int
    digest: str
    listed: str
    """Digest of what it lists."""
    objects: tuple[str, ...]
    """Objects in storage that are ledgers of this server: the newest, and those that could not be removed yet."""


def head(connection: Connection, tenant: str) -> Head | None:
    query = "SELECT number, digest, listed, objects FROM tenants.ledgers WHERE tenant = %s"
    row = connection.execute(query, [tenant]).fetchone()
    return Head(row[0], row[1], row[2], tuple(row[3])) if row else None


def set_head(connection: Connection, tenant: str, new: Head) -> None:
    connection.execute(
        """INSERT INTO tenants.ledgers (tenant, number, digest, listed, objects) VALUES (%s, %s, %s, %s, %s)
           ON CONFLICT (tenant) DO UPDATE SET number = excluded.number, digest = excluded.digest,
                                              listed = excluded.listed, objects = excluded.objects""",
        [tenant, new.number, new.digest, new.listed, list(new.objects)],
    )


def private_key(connection: Connection) -> tuple[bytes, bytes] | None:
    """This server's key, private and public; None before there is one. For the admin alone."""
    row = connection.execute("SELECT private, public FROM tenants.keys WHERE private IS NOT NULL").fetchone()
    return (bytes(row[0]), bytes(row[1])) if row else None


def trust(connection: Connection, fingerprint: str, public: bytes) -> None:
    """Trust the key of a lost server."""
    query = "INSERT INTO tenants.keys (fingerprint, public) VALUES (%s, %s) ON CONFLICT DO NOTHING"
    connection.execute(query, [fingerprint, public])


def trusted(connection: Connection) -> dict[str, bytes]:
    """The keys that this server trusts, its own among them, by fingerprint."""
    if catalog.version(connection) < STEP:
        return {}
    rows = connection.execute("SELECT fingerprint, public FROM tenants.keys ORDER BY added_at").fetchall()
    return {row[0]: bytes(row[1]) for row in rows}
