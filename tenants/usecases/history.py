"""History: what was done to a tenant, by the records of the catalog."""

from __future__ import annotations

from typing import Any

from tenants.edges import catalog, records
from tenants.usecases.access import Access


def of(access: Access, tenant: str, count: int) -> list[dict[str, Any]]:
    """The newest `count` records of a tenant, the oldest of them first; none where there is no catalog. The records of
    one that is gone are the admin's to see; with a tenant's own URL one sees one's own."""
    if not catalog.version(access.connection):
        return []
    if access.own:
        access.entry(tenant)
    return records.last(access.connection, tenant, count)[::-1]
