"""Connect: psql as a tenant, for a person who wants to have a look, or to mend something by hand."""

from __future__ import annotations

import os
from collections.abc import Sequence

from tenants.edges import programs
from tenants.usecases import roles
from tenants.usecases.access import Access


def connect(access: Access, name: str, arguments: Sequence[str]) -> int:
    """Run psql as the tenant, in its schema, and return psql's exit code. It waits for nobody who is at work.

    With the admin's URL the session is that of a login that is made for it and removed after it, and can do what the
    tenant can and nothing beyond.
    """
    client = programs.find(os.environ.get("PATH", ""), 0)
    access.entry(name)
    if access.own:
        return programs.attend(client, "psql", *arguments, url=access.settings.database)
    with roles.visiting(access.connection, access.me, name, access.settings.database) as url:
        return programs.attend(client, "psql", *arguments, url=url)
