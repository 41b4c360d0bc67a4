"""History: what was done to a tenant, by the records of the catalog."""

from __future__ import annotations

from typing import Any

from tenants.edges import catalog, records
from tenants.usecases.access import Access


def of(access: Access, tenant: str, count: int) -> list[dict[str, Any]]:
    """The newest `count` records of a tenant, the oldest of them first. The records of one that is gone are the admin's
    to see; with a tenant's own URL one sees one's own. Raises UnknownName for what is no tenant and has no record."""
    if access.own:
        access.entry(tenant)
    found = records.last(access.connection, tenant, count) if catalog.version(access.connection) else []
    if not found:
        access.entry(tenant)
    return found[::-1]
