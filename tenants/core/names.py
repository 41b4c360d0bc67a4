"""Names of tenants, and of everything that is derived from one.

A tenant, its schema and the role that owns it share one name: the Dokku app's. What is derived from it (logins,
deploy roles, schemas set aside) carries a `~`, which no tenant's name may have: so derived names can never meet
another tenant's, and whoever reads `\\du` sees at once which ones are ours. `~` needs no escape in a URL.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime

from tenants.core.errors import BadName

CATALOG_SCHEMA = "tenants"
"""The schema that holds the catalog. No tenant may have this name."""

EXTENSIONS_SCHEMA = "extensions"
"""Where extensions live that all tenants may use; it is in their search_path after their own schema."""

MEMBERS_ROLE = "tenants~members"
"""The group whose members, the owners of all tenants, may reach the catalog's own rows about them."""

MAX_LENGTH = 40
"""Characters. PostgreSQL cuts identifiers silently at 63 bytes; the longest suffix of ours takes 24."""

NAMEDATALEN = 63
"""Bytes of an identifier, after which PostgreSQL cuts it."""

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")
_RESERVED = {
    CATALOG_SCHEMA, EXTENSIONS_SCHEMA, "public", "information_schema",  # schemas
    "postgres", "template0", "template1",  # databases and the usual superuser
    "none", "default", "session_user", "current_user", "current_role", "user",  # words of SET ROLE and GRANT
    "all", "sameuser", "samerole", "samegroup", "replication",  # words of pg_hba.conf
    "versions",  # Alembic's folder, never a project
}  # fmt: skip


def check_name(name: str, what: str = "tenant") -> str:
    """Return `name` if it may name a tenant or project.

    Allowed are 1 to 40 of a-z, 0-9, dot, hyphen and underscore, with a letter or digit at both ends: what Dokku allows
    for an app, and nothing that needs folding, so that two names never become one.

    Raises BadName, which says what is wrong with it.
    """
    shown = ascii(name if len(name) <= 60 else name[:60] + "…")
    if not name:
        raise BadName(f"the {what}'s name is empty", next=_NAME_RULE)
    if len(name) > MAX_LENGTH:
        raise BadName(f"{what} name {shown} is too long: {len(name)} characters of {MAX_LENGTH}", next=_NAME_RULE)
    if not _NAME.fullmatch(name):
        raise BadName(f"{what} name {shown} has characters that are not allowed", next=_NAME_RULE)
    if name in _RESERVED or name.startswith("pg_"):
        raise BadName(f"{what} name {shown} is reserved", next="choose another name")
    return name


_NAME_RULE = f"use 1 to {MAX_LENGTH} of a-z, 0-9, '.', '-' and '_', beginning and ending with a letter or digit"


def login_name(tenant: str, token: str) -> str:
    """The name of a login of `tenant`."""
    return f"{tenant}~{token}"


def app_role_name(tenant: str) -> str:
    """The name of the role that the app runs as, where that is not the owner. No token is as short."""
    return f"{tenant}~app"


def reader_name(tenant: str, name: str) -> str:
    """The name of the login with which the reader `name` reads `tenant`. It begins as all names of that tenant do:
    code of the tenant can run in its sessions, and they reach that tenant alone.

    Raises BadName if PostgreSQL would cut it.
    """
    login = f"{tenant}~reader~{name}"
    if (more := len(login) - NAMEDATALEN) > 0:
        raise BadName(
            f"reader name {name!r} is too long: the login {login} would have {len(login)} characters of {NAMEDATALEN}",
            next=f"use a name of at most {len(name) - more} characters for the reader",
        )
    return login


def is_reader(role: str, name: str) -> bool:
    """Whether the role is a login of the reader `name`, for any tenant."""
    return role.partition("~")[2] == f"reader~{name}"


def shared_reader_name(name: str) -> str:
    """The name of a login that reads several tenants in one session. None is made any more."""
    return f"{name}~reader"


def deploy_role_name(tenant: str, token: str) -> str:
    """The name of a short-lived role that acts as `tenant`."""
    return f"{deploy_role_prefix(tenant)}{token}"


def deploy_role_prefix(tenant: str) -> str:
    """What the names of all short-lived roles of `tenant` begin with."""
    return f"{tenant}~deploy~"


def scratch_name(tenant: str, token: str) -> str:
    """The name of a database, and of the role that owns it, in which a snapshot of `tenant` is tried out."""
    return f"{scratch_prefix(tenant)}{token}"


def scratch_prefix(tenant: str) -> str:
    """What the names of all such databases and roles of `tenant` begin with."""
    return f"{tenant}~scratch~"


def rehearsal_name(tenant: str) -> str:
    """The name of the database, and of its role, in which a tenant that deploys itself rehearses."""
    return f"{tenant}~rehearsal"


def visitor_role_name(tenant: str, token: str) -> str:
    """The name of the short-lived role of somebody who has a look with psql."""
    return f"{visitor_role_prefix(tenant)}{token}"


def visitor_role_prefix(tenant: str) -> str:
    """What the names of all such roles of `tenant` begin with."""
    return f"{tenant}~connect~"


def aside_prefix(tenant: str) -> str:
    """What the names of all schemas of `tenant` begin with that a restore has set aside."""
    return f"{tenant}~before~"


def aside_name(tenant: str, moment: datetime) -> str:
    """The name of the schema under which a restore at `moment` keeps what was there before."""
    return f"{aside_prefix(tenant)}{moment.astimezone(UTC):%Y%m%dT%H%M%S}"


def restored_name(table: str, moment: datetime) -> str:
    """The name of a table with the rows that `table` had, which is there still. PostgreSQL's limit is 63 bytes."""
    return f"{table.encode()[:46].decode(errors='ignore')}~{moment.astimezone(UTC):%Y%m%dT%H%M%S}"


def aside_moment(schema: str) -> datetime | None:
    """When the schema was set aside; None if its name is not one that `aside_name` gives."""
    _, mark, stamp = schema.partition("~before~")
    try:
        return datetime.strptime(stamp, "%Y%m%dT%H%M%S").replace(tzinfo=UTC) if mark else None
    except ValueError:
        return None


def quoted(name: str) -> str:
    """An identifier, quoted."""
    return '"' + name.replace('"', '""') + '"'


def redacted(text: str, secrets: Iterable[str]) -> str:
    """The text with each of the secrets left out. To be called before it is cut: a part of one is not known as such."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "…")
    return text


def printable(text: str) -> str:
    """`text` with control characters made visible, so that names and messages from a database, a bucket or a
    revision can neither move a terminal's cursor nor forge a line of the log."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)
