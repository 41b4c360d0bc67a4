"""Prune: remove the snapshots that the policies no longer keep."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from datetime import UTC, datetime

from tenants.core import manifest as manifests
from tenants.core import retention
from tenants.core.errors import StateError, StorageError
from tenants.core.events import Event, Tell
from tenants.core.manifest import Manifest
from tenants.core.retention import Policy, Verdict
from tenants.core.units import counted, size
from tenants.edges import catalog, postgres, shelf
from tenants.edges.store import Store, require_store
from tenants.usecases import inventory, ledgers
from tenants.usecases.access import Access

NIGHTS, CHANGES = "TENANTS_KEEP", "TENANTS_KEEP_CHANGES"
"""The variables that hold the policies."""


@dataclass(frozen=True)
class Pruned:
    """What became of the snapshots of one tenant. `locked` are those that the bucket did not let go."""

    verdicts: tuple[Verdict, ...]
    removed: tuple[str, ...]
    locked: tuple[str, ...]


def policies(access: Access) -> tuple[Policy, Policy]:
    """Those of the environment: for nights, and for what was taken on purpose or before a change. Raises UsageError."""

    def one(variable: str, default: Policy) -> Policy:
        text = access.settings.environment.get(variable, "").strip()
        return retention.parse(text, variable) if text else default

    return one(NIGHTS, retention.NIGHTS), one(CHANGES, retention.CHANGES)


def prune(access: Access, name: str, tell: Tell, *, dry_run: bool = False) -> Pruned:
    """Remove the snapshots of the tenant that no policy keeps; with `dry_run` say which. To be called under its lock.

    The catalog says which snapshots there are. Those of lost servers, of tenants that were dropped, and objects in
    storage that the catalog does not know stay, and count for nothing. Raises StateError, with nothing removed, where a
    schema that its snapshots knew full is empty or gone: they may be all there is.
    """
    access.require_admin(f"tenants prune {name}")
    nights, changes = policies(access)
    store = require_store(access.settings)
    listing = inventory.list_snapshots(access, name)
    own = catalog.server(access.connection)
    found = [manifest for manifest in listing.found if manifest.server == own]
    if listing.damaged:
        raise StateError(
            f"a manifest of {name} cannot be read, and may name any archive: nothing is pruned",
            next=f"see which: tenants snapshots {name}",
        )
    schema = postgres.schemas(access.connection, [name])[0]
    if found and found[-1].rows and (not schema["exists"] or schema["empty"]):
        gone = "is empty" if schema["exists"] else "is gone"
        raise StateError(
            f"schema {name} {gone}, and its last snapshot has {counted(found[-1].rows, 'row')}: nothing is pruned",
            next=f"tenants restore {name} {found[-1].id}",
        )
    verdicts = retention.decide(found, nights, changes, listing.proven, datetime.now(UTC), listing.by_tenant)
    going = [verdict.snapshot for verdict in verdicts if not verdict.why]
    kept = [verdict.snapshot.created_at for verdict in verdicts if verdict.why]
    removed: list[str] = []
    locked: dict[str, str] = {}
    for manifest in [] if dry_run else reversed(going):  # those that name an archive before the one that has it
        if why := _remove(access, store, manifest, needed={m.archive for m in going if m.id in locked}):
            locked[manifest.id] = why
        else:
            removed.append(manifest.id)
    missing = [one for one in listing.gone if one.server is None]
    if missing:
        words = f"gone from storage, and not by this program: {counted(len(missing), 'snapshot')}: "
        tell(Event(name, "clean", words + ", ".join(one.id for one in missing[-3:]), warning=True))
    if not dry_run:
        for one in missing:  # what the policies would have removed by now
            if kept and one.created_at < min(kept):
                shelf.forget(access.connection, name, one.id)
        ledgers.write(access, store, name)
    if removed:
        freed = sum(m.size for m in going if m.id in removed and not m.archive)
        tell(Event(name, "clean", f"{counted(len(removed), 'snapshot')} pruned, {size(freed)}"))
    if locked:
        why = next(iter(locked.values()))
        tell(Event(name, "clean", f"{counted(len(locked), 'snapshot')} could not be pruned: {why}"))
    return Pruned(tuple(verdicts), tuple(removed), tuple(locked))


def _remove(access: Access, store: Store, manifest: Manifest, needed: Set[str | None]) -> str | None:
    """The manifest goes first: without it there is no snapshot, and what is left of it the next run clears. Returns why
    it could not be removed; None if it was."""
    if manifest.id in needed:
        return "another snapshot needs its archive"
    try:
        store.delete(manifests.manifest_key(manifest.server, manifest.tenant, manifest.id))
    except StorageError as error:
        return error.message
    try:
        store.delete(manifests.proof_key(manifest.server, manifest.tenant, manifest.id))
        if not manifest.archive:
            store.delete(manifest.key)
    except StorageError:
        pass
    shelf.forget(access.connection, manifest.tenant, manifest.id)
    return None
