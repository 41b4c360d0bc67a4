"""Live: the new release serves. Dokku's postdeploy says so."""

from __future__ import annotations

from contextlib import suppress

from tenants.core.errors import TenantsError
from tenants.edges import catalog, folder, records
from tenants.usecases.access import Access


def mark(access: Access) -> list[str]:
    """Note that the release of GIT_REV serves. Returns the tenants that it had migrated; none without a GIT_REV."""
    if not access.settings.git_rev or not catalog.version(access.connection):
        return []
    place = access.settings.migrations
    if access.own:
        projects = [access.entry(access.own).project]
    else:
        projects = []
        with suppress(TenantsError):  # what is wrong with the folder, a deploy says: the release serves all the same
            projects = list(folder.look(place).projects)
    return records.mark_live(access.connection, access.settings.git_rev, projects)
