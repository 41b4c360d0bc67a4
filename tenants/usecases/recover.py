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
from tenants.edges import catalog, postgres, shelf
from tenants.edges.store import require_store
from tenants.usecases import lostserver, provision, restore, sharing
from tenants.usecases.access import Access
from tenants.usecases.logins import Created
from tenants.usecases.lostserver import Found, Stored, Trust

NOTHING = Trust()


@dataclass
class Recovered:
    server: str
    tenants: dict[str, tuple[Manifest, Created]] = field(default_factory=dict)
    """What came back: from which snapshot, and the new login."""
    failures: dict[str, TenantsError] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    """Those that were not brought back, because they had been dropped."""


def inspect(access: Access, server: str | None, trust: Trust = NOTHING) -> Stored:
    """What storage has of the lost server: the one that is named, else the one whose ledgers a trusted key signed, else
    the only one there is. Writes nothing. Raises UsageError where it is not clear which."""
    access.require_admin("tenants recover")
    store = require_store(access.settings)
    own = catalog.server_or_none(access.connection)
    servers = [place for place in filter(manifests.is_server, store.folders()) if place != own]
    if (server is not None and server not in servers) or not servers:
        raise UsageError(
            f"storage has no snapshots of {f'a server {server}' if server else 'another server than this one'}",
            next="check TENANTS_STORE",
        )
    stored = [lostserver.inspect(store, one, trust.keys) for one in ([server] if server else servers)]
    trusted = [one for one in stored if trust.keys & one.keys.keys()]
    if len(trusted) == 1 or len(stored) == 1:
        return (trusted or stored)[0]
    stored.sort(key=lambda one: one.last, reverse=True)
    told = ", ".join(f"{one.server} ({counted(len(one.ids), 'tenant')}, last {one.last})" for one in stored)
    raise UsageError(
        f"storage has the snapshots of several servers: {told}",
        next=f"say which; the last that was at work: tenants recover --server {stored[0].server}",
    )


def choose(access: Access, stored: Stored, trust: Trust, names: Sequence[str] = ()) -> Found:
    """What would come back, of the tenants named or of all. Writes nothing. Raises UsageError for a tenant that storage
    does not have."""
    for name in names:
        check_name(name)
    if unknown := sorted(set(names) - stored.ids.keys()):
        raise UsageError(f"storage has no snapshot of {', '.join(unknown)}", next="tenants recover --dry-run")
    return lostserver.choose(require_store(access.settings), stored, trust, names)


def trusted(access: Access) -> frozenset[str]:
    """The fingerprints of the keys that this server trusts already."""
    return frozenset(shelf.trusted(access.connection))


def recover(access: Access, stored: Stored, found: Found, names: Sequence[str], tell: Tell) -> Recovered:
    """Bring back the tenants `found`, which are those named, or all, less those that were dropped: roles, limits,
    extensions, schema and data, and a login of each. A tenant that fails does not stop the others; one that is here and
    holds something is not touched.

    This server trusts the keys from here on, and knows all snapshots that the ledgers list. It keeps its own name in
    storage: what it stores lies beside what the lost one has stored. Raises Refused.
    """
    if access.settings.identity is None and any(manifest.recipients for manifest in found.newest.values()):
        raise Refused("its snapshots are encrypted", next="name the identity file that opens them: --identity FILE")
    catalog.ensure(access.connection)
    done = Recovered(found.server, dropped=() if names else found.dropped)
    for key in {key for key in found.signed_by.values() if key}:
        shelf.trust(access.connection, key, stored.keys[key])
    for name, listed in found.history.items():
        shelf.adopt(access.connection, name, found.server, listed)
    for name, note in found.notes.items():
        tell(Event(name, "restore", note, warning=True))
    for name in found.damaged:
        done.failures[name] = SnapshotError(f"no manifest of {name} can be read", next="see what is in the bucket")
    for name in found.untrusted:
        keys = ", ".join(key for key, _ in stored.signed.get(name, ()))
        done.failures[name] = SnapshotError(
            f"no trusted key has signed a ledger of {name}: anyone who can write to the bucket may have put it there",
            next=f"compare the key that has, {keys}, with the fingerprint that you kept"
            if keys
            else f"if you know that these snapshots are yours: tenants recover {name} --unsigned",
        )
    for name, manifest in found.newest.items():
        if name in done.dropped:
            continue
        try:
            believed = bool(found.signed_by[name]) and name not in found.by_tenant
            done.tenants[name] = (manifest, _one(access, name, manifest, tell, believed=believed))
        except (TenantsError, postgres.DatabaseError) as error:
            failure = postgres.failed(error)
            done.failures[name] = failure
            tell(Event(name, "restore", f"FAILED: {failure.message}", failed=True))
    return done


def _one(access: Access, name: str, manifest: Manifest, tell: Tell, *, believed: bool) -> Created:
    """What the manifest says of limits and extensions is believed where the lost server's admin has written it. Else
    only extensions are made that PostgreSQL itself trusts; limits that PostgreSQL would not take are left away."""
    here = postgres.schemas(access.connection, [name])[0]
    if here["exists"] and not here["empty"]:
        raise Refused(f"schema {name} is here and holds something", next=f"tenants restore {name} {manifest.id}")
    limits = limits_of(manifest)
    provision.create(access, name, manifest.project, tell, limits=limits, app_role=manifest.app_role, with_login=False)
    for extension in manifest.extensions:
        try:
            sharing.extension(access, name, extension, asked=believed)
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
