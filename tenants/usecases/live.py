"""Live: the new release serves. Dokku's postdeploy says so."""

from __future__ import annotations

from contextlib import suppress

from tenants.core.errors import TenantsError
from tenants.core.names import quoted
from tenants.edges import catalog, folder, postgres, records
from tenants.usecases.access import Access


def mark(access: Access, name: str | None = None) -> list[str]:
    """Note that the release of GIT_REV serves, and the app of the tenant named, with that tenant's URL; with a tenant's
    own URL that tenant is named by it. Returns the tenants that the release had migrated, and the one named if what was
    adopted or restored for it had not served before."""
    if name and access.own != name:
        access.entry(name)
    if not catalog.version(access.connection):
        return []
    name = name or access.own
    found = records.mark_serving(access.connection, name) if name else []
    return sorted({*found, *(_of_release(access) if access.settings.git_rev else [])})


def standing(access: Access, name: str) -> int:
    """How many views stand in the place of what the tenant has adopted. Its own URL may not read the list of them."""
    if not access.own:
        return len(catalog.bridges(access.connection, name))
    return int(str(postgres.scalar(access.connection, "views_over", schema=quoted(name))))


def _of_release(access: Access) -> list[str]:
    place = access.settings.migrations
    if access.own:
        projects = [access.entry(access.own).project]
    else:
        projects = []
        with suppress(TenantsError):  # what is wrong with the folder, a deploy says: the release serves all the same
            projects = list(folder.look(place).projects)
    return records.mark_live(access.connection, access.own, access.settings.git_rev or "", projects)
