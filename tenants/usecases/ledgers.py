"""Ledgers: the signed list of each tenant's snapshots, written beside them in storage (`tenants.core.ledger`)."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime

from tenants.core import ledger as ledgers
from tenants.core import manifest as manifests
from tenants.core.errors import StorageError
from tenants.core.ledger import Ledger, Listed, Sealed
from tenants.edges import catalog, shelf
from tenants.edges.shelf import Head
from tenants.edges.store import Store
from tenants.usecases.access import Access

KEPT = 20
"""Ledgers of ours that storage did not let go, and that are tried again the next time."""


def listed(access: Access, tenant: str) -> list[Listed]:
    """What the ledger is to list: snapshots that this server took into this storage, and whose manifest it knows."""
    return [
        Listed(
            one.id,
            one.manifest,
            one.size,
            one.sha256,
            one.revision and one.revision[:255],
            manifests.rfc3339(one.proven_at) if one.proven_at else None,
            one.by_tenant,
        )
        for one in shelf.known(access.connection, tenant)
        if one.manifest and one.server is None and one.store in (None, str(access.settings.store))
    ]


def write(access: Access, store: Store, tenant: str, coming: Listed | None = None) -> None:
    """Sign and store the list of the tenant's snapshots, with the one that is `coming`; nothing if it is what the
    newest ledger lists. To be called under the tenant's lock, before the manifest that is coming is stored: without its
    manifest there is no snapshot, whatever a ledger lists.

    With a tenant's own URL nothing is written: the key is the admin's. The next run with the admin's URL does it.
    Raises StorageError.
    """
    key = None if access.own else shelf.private_key(access.connection)
    if key is None:
        return
    private, public = key
    entries = [*listed(access, tenant), *([coming] if coming else [])]
    content = _digest(json.dumps([asdict(one) for one in entries]).encode())
    last = shelf.head(access.connection, tenant)
    if last and last.listed == content:
        return
    from tenants.edges import signing  # 30 ms, which a command that signs nothing does not spend

    now, server = datetime.now(UTC), catalog.server(access.connection)
    number = last.number + 1 if last else 1
    statement = Ledger(server, tenant, number, (last.digest or None) if last else None, now, entries).statement()
    data = Sealed(statement, public, signing.sign(private, statement.encode())).to_json()
    name = ledgers.key_of(server, tenant, manifests.new_id(now, catalog.token()))
    stale = last.objects if last else ()
    # noted first, so that an object that a killed run has left is known to be ours
    noted = Head(number, last.digest if last else "", "", (*stale, name))
    shelf.set_head(access.connection, tenant, noted)
    store.put_new(name, data)
    shelf.set_head(access.connection, tenant, Head(number, _digest(data), content, (*stale, name)))
    left = [old for old in stale if not _is_removed(store, old)]
    shelf.set_head(access.connection, tenant, Head(number, _digest(data), content, (*left[-KEPT:], name)))


def _is_removed(store: Store, key: str) -> bool:
    with suppress(StorageError):  # a bucket with a lock keeps it for a while; it has the lower number
        store.delete(key)
        return True
    return False


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
