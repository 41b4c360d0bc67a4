"""What the command of another tool sees: a URL that acts as the tenant, and as little else as it may.

With the admin's URL that is next to nothing. With a tenant's own it is what the app sees, less the storage's secrets;
but on a copy nothing of it may lead to the live schema, under whatever name the app knows it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from tenants.core.settings import DatabaseUrl
from tenants.edges import postgres, projectcode
from tenants.usecases.access import Access

_NOT_OURS = ("PGSERVICE", "PGSERVICEFILE", "PGPASSFILE", "PGHOSTADDR")


def environment(access: Access, url: DatabaseUrl, text: str, *, lock_seconds: float) -> dict[str, str]:
    """The command's environment: DATABASE_URL is `text`, and libpq's variables say the same, so that psql needs no
    password in its arguments. What else holds the live login's password leads to `url`, or is left out."""
    settings, own = access.settings, access.own is not None
    found = projectcode.environment_for(settings.environment, own=own)
    if own and url.text != settings.database.text:
        found = _redirected(found, settings.database, url)
    found = {name: value for name, value in found.items() if name not in _NOT_OURS}
    found.update(postgres.environment(url), DATABASE_URL=text)
    if settings.git_rev:
        found["GIT_REV"] = settings.git_rev
    if own:  # a login that lasts has other limits, and those of the app are not to change
        limits = f"-c lock_timeout={lock_seconds * 1000:.0f}ms -c statement_timeout=0"
        found["PGOPTIONS"] = f"{found.get('PGOPTIONS', '')} {limits}".strip()
    return found


def _redirected(found: Mapping[str, str], live: DatabaseUrl, copy: DatabaseUrl) -> dict[str, str]:
    """The variables, with those that are a URL of the live login leading to the copy, and those that hold its password
    in another way left out."""
    redirected = {}
    for name, value in found.items():
        if not any(secret in value for secret in live.secrets):
            redirected[name] = value
        elif re.fullmatch(r"[a-z][a-z0-9+]*://\S*", value):
            there = urlsplit(copy.text)
            redirected[name] = urlsplit(value)._replace(netloc=there.netloc, path=there.path).geturl()
    return redirected
