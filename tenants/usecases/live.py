"""Live: the new release serves. Dokku's postdeploy says so."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

from tenants.core.errors import TenantsError
from tenants.core.events import Event, Tell
from tenants.core.units import age
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


def tell_never(access: Access, names: Sequence[str], tell: Tell) -> None:
    """Tell of tenants whose last deploy migrated them for a release that never served, for all we know."""
    if not names or catalog.version(access.connection) < 3:
        return
    for name, (revision, when) in records.never_live(access.connection, names).items():
        ago = age((datetime.now(UTC) - when).total_seconds())
        to = f" to {revision}" if revision else ""
        words = f"the release that it was migrated{to} for, {ago} ago, was never marked as live"
        tell(Event(name, "plan", f"{words}. Undo: tenants undo {name}", warning=True))
