"""A lost server, as storage has it: what its ledgers list, and which keys signed them.

Storage is not believed. A snapshot comes back because a ledger lists the digest of its manifest, under a key that the
operator trusts; or, where no ledger is signed, because the operator says so. Everything else is named and passed over.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tenants.core import ledger as ledgers
from tenants.core import manifest as manifests
from tenants.core.errors import SnapshotError, StorageError, UsageError
from tenants.core.ledger import Ledger, Listed, Sealed
from tenants.core.manifest import Manifest
from tenants.core.names import check_name
from tenants.core.units import counted
from tenants.edges.store import Store
from tenants.usecases import inventory, restore

AHEAD = timedelta(hours=1)
"""An unsigned snapshot that is dated further in the future is passed over."""


@dataclass(frozen=True)
class Stored:
    """What storage has of one server: the names of manifests, and the ledgers whose signature is right, by tenant."""

    server: str
    ids: dict[str, list[str]]
    signed: dict[str, list[tuple[str, Ledger]]]
    """Each with the fingerprint of the key that signed it. Whose key that is no signature says."""
    keys: dict[str, bytes]
    """The public keys, by fingerprint."""

    def tenants_of(self, key: str) -> list[str]:
        """The tenants that have a ledger under the key."""
        return [name for name, found in self.signed.items() if any(by == key for by, _ in found)]

    @property
    def last(self) -> str:
        """The id of the newest snapshot: of those that ledgers list, where there are any."""
        listed = [one.id for found in self.signed.values() for _, ledger in found for one in ledger.snapshots]
        named = [id_ for ids in self.ids.values() for id_ in ids if not _is_ahead(id_)]
        return max(listed or named, default="nothing")


@dataclass(frozen=True)
class Trust:
    """What the operator trusts: fingerprints of keys, and whether tenants without a signed ledger may come back."""

    keys: frozenset[str] = frozenset()
    unsigned: bool = False


@dataclass(frozen=True)
class Found:
    """What would come back of one server, and what would not."""

    server: str
    newest: dict[str, Manifest]
    """The snapshot of each tenant."""
    signed_by: dict[str, str | None]
    """The key whose ledger lists it; None if none does."""
    by_tenant: frozenset[str]
    """Tenants whose snapshot was taken with their own URL: what its manifest says is the tenant's word."""
    history: dict[str, Sequence[Listed]]
    """All snapshots of each tenant that count."""
    dropped: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    """Tenants none of whose snapshots can be read."""
    untrusted: tuple[str, ...] = ()
    """Tenants that no trusted key vouches for."""
    notes: dict[str, str] = field(default_factory=dict)
    """What is odd about the objects of a tenant, in words."""


def inspect(store: Store, server: str, trusted: Collection[str] = ()) -> Stored:
    """List the objects of the server, and read its ledgers: those under `trusted` keys, or under any where none of
    these has signed one. Of each key and tenant the ledger with the highest number is kept. Raises StorageError."""
    ids: dict[str, list[str]] = {}
    written: dict[str, list[str]] = {}
    for entry in store.objects(f"{server}/"):
        tenant, id_ = entry.key.split("/")[1], manifests.id_of_key(entry.key)
        if not _is_name(tenant):
            continue
        if id_ and entry.key == manifests.manifest_key(server, tenant, id_):
            ids.setdefault(tenant, []).append(id_)
        elif ledgers.is_ledger(entry.key) and entry.size <= ledgers.MAX_BYTES:
            written.setdefault(tenant, []).append(entry.key)
    stored = Stored(server, {name: sorted(found) for name, found in sorted(ids.items())}, {}, {})
    for tenant, keys in written.items():
        best: dict[str, Ledger] = {}
        for key in keys:
            sealed = _sealed(store, key)
            fingerprint = ledgers.fingerprint(sealed.key) if sealed else ""
            if sealed is None or (trusted and fingerprint not in trusted):
                continue
            ledger = _verified(sealed, server, tenant)
            if ledger and (fingerprint not in best or ledger.number > best[fingerprint].number):
                best[fingerprint] = ledger
                stored.keys[fingerprint] = sealed.key
        if best:
            stored.signed[tenant] = list(best.items())
    return inspect(store, server) if trusted and not stored.keys else stored


def _is_name(tenant: str) -> bool:
    try:
        check_name(tenant)
    except UsageError:
        return False
    return True


def _sealed(store: Store, key: str) -> Sealed | None:
    try:
        return Sealed.from_json(inventory.bounded(store, key, ledgers.MAX_BYTES))
    except StorageError:
        raise
    except SnapshotError:
        return None


def _verified(sealed: Sealed, server: str, tenant: str) -> Ledger | None:
    from tenants.edges import signing

    if not signing.is_signed(sealed.key, sealed.statement.encode(), sealed.signature):
        return None
    try:
        return ledgers.read(sealed.statement, server=server, tenant=tenant)
    except SnapshotError:
        return None


def choose(store: Store, stored: Stored, trust: Trust, names: Collection[str] = ()) -> Found:
    """The newest snapshot of each tenant, or of those named, that counts under `trust`. Writes nothing."""
    newest: dict[str, Manifest] = {}
    signed_by: dict[str, str | None] = {}
    history: dict[str, Sequence[Listed]] = {}
    notes: dict[str, str] = {}
    dropped, damaged, untrusted = [], [], []
    for tenant in names or sorted({*stored.ids, *stored.signed}):
        signed = [(ledger.number, key, ledger) for key, ledger in stored.signed.get(tenant, ()) if key in trust.keys]
        ids = stored.ids.get(tenant, [])
        key: str | None = None
        if signed:
            _, key, ledger = max(signed, key=lambda found: found[0])
            listed: Sequence[Listed] = ledger.snapshots
            notes[tenant] = oddities(listed, ids)
        elif trust.unsigned:
            listed = _as_they_lie(store, stored.server, tenant, ids)
        else:
            untrusted.append(tenant)
            continue
        manifest, spoiled = _newest(store, stored.server, tenant, listed, ids)
        if spoiled:
            words = f"not what was listed, and passed over: {', '.join(spoiled[:3])}"
            notes[tenant] = "; ".join(filter(None, (notes.get(tenant, ""), words)))
        if manifest is None:
            damaged.append(tenant)
            continue
        newest[tenant], signed_by[tenant], history[tenant] = manifest, key, listed
        if manifest.reason == "drop":
            dropped.append(tenant)
    odd = {tenant: note for tenant, note in notes.items() if note}
    ids_of = {tenant: manifest.id for tenant, manifest in newest.items()}
    own = frozenset(t for t, found in history.items() if any(one.by_tenant and one.id == ids_of[t] for one in found))
    lists = (tuple(dropped), tuple(damaged), tuple(untrusted))
    return Found(stored.server, newest, signed_by, own, history, *lists, odd)


def oddities(listed: Sequence[Listed], ids: Sequence[str]) -> str:
    """What a ledger and the names of manifests in storage say otherwise, in words; empty if nothing."""
    missing = {one.id for one in listed} - set(ids)
    strange = [id_ for id_ in ids if id_ not in {one.id for one in listed}]
    told = []
    if missing:
        told.append(f"{counted(len(missing), 'snapshot')} that the ledger lists {_are(missing)} not in storage")
    if strange:
        words = f"{counted(len(strange), 'manifest')} that the ledger does not list {_are(strange)} passed over: "
        told.append(words + ", ".join(strange[-3:]))
    return "; ".join(told)


def _are(found: Collection[str]) -> str:
    return "is" if len(found) == 1 else "are"


def _as_they_lie(store: Store, server: str, tenant: str, ids: Sequence[str]) -> list[Listed]:
    """The snapshots of a tenant without a signed ledger, as their manifests describe them."""
    found = []
    for id_ in ids:
        try:
            manifest, digest = inventory.read(store, server, tenant, id_)
        except StorageError:
            raise
        except SnapshotError:
            continue
        if not _is_ahead(id_):
            found.append(Listed(id_, digest, manifest.size, manifest.sha256, manifest.revision, None, by_tenant=True))
    return found


def _is_ahead(id_: str) -> bool:
    return id_[:16] > manifests.stamp(datetime.now(UTC) + AHEAD)


def _newest(
    store: Store, server: str, tenant: str, listed: Sequence[Listed], there: Collection[str]
) -> tuple[Manifest | None, Sequence[str]]:
    """The last snapshot of the tenant that is what was listed and is one of its own schema; one of what a restore or an
    undo has replaced only where there is no other: that was not wanted any more. And the ids of later ones that are not
    what was listed."""
    replaced, spoiled = None, []
    for one in reversed(listed):
        if one.id not in there:
            continue
        try:
            manifest, digest = inventory.read(store, server, tenant, one.id)
        except StorageError:
            raise  # it is there, and storage does not hand it out now: an older one is not what is wanted
        except SnapshotError:
            spoiled.append(one.id)
            continue
        if digest != one.manifest:
            spoiled.append(one.id)
        elif manifest.schema in (None, tenant):
            if manifest.reason not in restore.REPLACED:
                return manifest, spoiled
            replaced = replaced or manifest
    return replaced, spoiled
