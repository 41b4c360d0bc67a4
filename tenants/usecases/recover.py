"""Recover: the server is gone, and the bucket brings back every tenant on an empty one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tenants.core import manifest as manifests
from tenants.core.errors import Refused, SnapshotError, TenantsError, UsageError
from tenants.core.events import Event, Tell
from tenants.core.limits import DEFAULT, NAMES, NUMBERS, Limits, check
from tenants.core.manifest import Manifest
from tenants.core.names import check_name
from tenants.core.units import counted
from tenants.edges import catalog, postgres
from tenants.edges.store import Store, require_store
from tenants.usecases import provision, restore, sharing, snapshots
from tenants.usecases.access import Access
from tenants.usecases.logins import Created


@dataclass(frozen=True)
class Found:
    """What storage has of one server: the newest snapshot of each tenant, and the tenants that were dropped there."""

    server: str
    newest: dict[str, Manifest]
    dropped: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    """Tenants none of whose manifests can be read."""


@dataclass
class Recovered:
    server: str
    tenants: dict[str, tuple[Manifest, Created]] = field(default_factory=dict)
    """What came back: from which snapshot, and the new login."""
    failures: dict[str, TenantsError] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    """Those that were not brought back, because they had been dropped."""


def survey(access: Access, server: str | None, names: Sequence[str] = ()) -> Found:
    """What would come back. Writes nothing. Raises UsageError where it is not clear from which server."""
    access.require_admin("tenants recover")
    for name in names:
        check_name(name)
    store = require_store(access.settings)
    own = catalog.server_or_none(access.connection)
    servers = [place for place in filter(manifests.is_server, store.folders()) if place != own]
    if server is None and len(servers) > 1:
        looks = sorted((_look(store, one) for one in servers), key=_last, reverse=True)
        told = ", ".join(f"{one.server} ({counted(len(one.newest), 'tenant')}, last {_last(one)})" for one in looks)
        raise UsageError(
            f"storage has the snapshots of several servers: {told}",
            next=f"say which; the last that was at work: tenants recover --server {looks[0].server}",
        )
    chosen = server or (servers[0] if servers else "")
    if chosen not in servers:
        raise UsageError(
            f"storage has no snapshots of {f'a server {server}' if server else 'another server than this one'}",
            next="check TENANTS_STORE",
        )
    found = _look(store, chosen)
    if unknown := sorted(set(names) - set(found.newest)):
        raise UsageError(f"storage has no snapshot of {', '.join(unknown)}", next="tenants recover --dry-run")
    if not names:
        return found
    return Found(chosen, {name: found.newest[name] for name in names})


def recover(access: Access, server: str | None, names: Sequence[str], tell: Tell) -> Recovered:
    """Bring back the tenants named, or all that were not dropped: roles, limits, extensions, schema and data, and a
    login of each. A tenant that fails does not stop the others; one that is here and holds something is not touched.

    This server keeps its own name in storage: what it stores from now on lies beside what the lost one has stored.
    """
    found = survey(access, server, names)
    if access.settings.identity is None and any(manifest.recipients for manifest in found.newest.values()):
        raise Refused("its snapshots are encrypted", next="name the identity file that opens them: --identity FILE")
    catalog.ensure(access.connection)
    done = Recovered(found.server, dropped=() if names else found.dropped)
    for name in found.damaged:
        done.failures[name] = SnapshotError(f"no manifest of {name} can be read", next="see what is in the bucket")
    for name, manifest in found.newest.items():
        if name in done.dropped:
            continue
        try:
            done.tenants[name] = (manifest, _one(access, name, manifest, tell))
        except (TenantsError, postgres.DatabaseError) as error:
            failure = postgres.failed(error)
            done.failures[name] = failure
            tell(Event(name, "restore", f"FAILED: {failure.message}", failed=True))
    return done


def _one(access: Access, name: str, manifest: Manifest, tell: Tell) -> Created:
    here = postgres.schemas(access.connection, [name])[0]
    if here["exists"] and not here["empty"]:
        raise Refused(f"schema {name} is here and holds something", next=f"tenants restore {name} {manifest.id}")
    limits = limits_of(manifest)
    provision.create(access, name, manifest.project, tell, limits=limits, app_role=manifest.app_role, with_login=False)
    for extension in manifest.extensions:
        try:
            sharing.extension(access, name, extension)
        except UsageError as error:
            tell(Event(name, "create", f"extension {extension}: {error.message}", failed=True))
    restore.restore(access, name, manifest.id, tell)
    return provision.create(access, name, None, tell)


def limits_of(manifest: Manifest) -> Limits:
    """Those of the manifest. A bucket is somebody else's word: what PostgreSQL would not take stays at its default."""
    taken: dict[str, Any] = {}
    for name in NAMES:
        value = manifest.limits.get(name, getattr(DEFAULT, name))
        try:
            if name in NUMBERS:
                fits = type(value) is int and 0 < value <= NUMBERS[name]
                taken[name] = value if fits else getattr(DEFAULT, name)
            else:
                taken[name] = check(name, str(value))
        except UsageError:
            taken[name] = getattr(DEFAULT, name)
    return Limits(**taken)


def _look(store: Store, server: str) -> Found:
    ids: dict[str, list[str]] = {}
    for entry in store.objects(f"{server}/"):
        tenant, id_ = entry.key.split("/")[1], manifests.id_of_key(entry.key)
        if id_ and entry.key == manifests.manifest_key(server, tenant, id_):
            ids.setdefault(tenant, []).append(id_)
    newest: dict[str, Manifest] = {}
    dropped, damaged = [], []
    for tenant, known in sorted(ids.items()):
        manifest = _newest(store, server, tenant, sorted(known))
        if manifest is None:
            damaged.append(tenant)
            continue
        newest[tenant] = manifest
        if manifest.reason == "drop":
            dropped.append(tenant)
    return Found(server, newest, tuple(dropped), tuple(damaged))


def _newest(store: Store, server: str, tenant: str, ids: Sequence[str]) -> Manifest | None:
    """The newest snapshot of the tenant that can be read and is one of its own schema; one of what a restore or an undo
    has replaced only where there is no other: somebody did not want that any more."""
    replaced = None
    for id_ in reversed(ids):
        try:
            check_name(tenant)
            manifest = snapshots.read(store, server, tenant, id_)
        except (SnapshotError, UsageError):
            continue
        if manifest.schema in (None, tenant):
            if manifest.reason not in restore.REPLACED:
                return manifest
            replaced = replaced or manifest
    return replaced


def _last(found: Found) -> str:
    return max((manifest.id for manifest in found.newest.values()), default="nothing")
