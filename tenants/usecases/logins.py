"""Logins come and go, while their tenant stays: a further one, and the rotation of passwords without downtime.

One role has one password, so a password is changed by a second login: the app takes the new one when it likes, and the
old one goes when no session uses it any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from tenants.core.errors import UsageError
from tenants.core.events import Event, Tell
from tenants.core.settings import DatabaseUrl
from tenants.edges import catalog, postgres
from tenants.usecases import audit, roles
from tenants.usecases.access import Access

GRACE = timedelta(hours=1)
"""A login that was rotated away is not taken for unused before this: its app may be between two connections."""


@dataclass(frozen=True)
class Created:
    """What `create`, `login` and `rotate` answer. `url` is shown this once: nobody keeps the password."""

    tenant: str
    project: str
    login: str | None
    url: DatabaseUrl | None
    changed: tuple[str, ...]
    """What was done, in words; empty if everything was there."""


def url_of(access: Access, login: roles.Login | None) -> DatabaseUrl | None:
    return access.settings.database.as_login(login.role, login.password) if login else None


def add(access: Access, name: str, *, owner: bool = False) -> Created:
    """Make a further login for the tenant; those that are there go on. It is the app's, or with `owner` one that may
    change definitions."""
    access.require_admin(f"tenants login {name}")
    entry = access.entry(name)
    catalog.ensure(access.connection)
    with postgres.roles_locked(access.connection):
        login = _make(access, name, owner=owner)
    return Created(name, entry.project, login.role, url_of(access, login), (f"login {login.role}",))


def _make(access: Access, name: str, *, owner: bool) -> roles.Login:
    entry = access.entry(name)
    login = roles.make_login(access.connection, access.me, name, "app" if entry.app_role and not owner else "owner")
    audit.repair(access.connection, access.me, {name})
    return login


def rotate(access: Access, name: str) -> Created:
    """Make a new login in place of those that are there. They go on, and go away when they are retired."""
    access.require_admin(f"tenants rotate {name}")
    entry = access.entry(name)
    catalog.ensure(access.connection)
    with postgres.roles_locked(access.connection):
        old = catalog.mark_retired(access.connection, name)
        login = _make(access, name, owner=False)
    changed = (f"login {login.role}", *(f"login {role} is to go" for role in old))
    return Created(name, entry.project, login.role, url_of(access, login), changed)


def retire(access: Access, name: str, tell: Tell, *, unused_for: timedelta | None = None) -> list[str]:
    """Remove the logins that were rotated away. With `unused_for` only those that were marked that long ago and have no
    session; without it all of them, and their sessions end. Returns their names."""
    access.require_admin(f"tenants rotate {name} --retire")
    access.entry(name)
    catalog.ensure(access.connection)
    found = catalog.retired_logins(access.connection, name, unused_for or timedelta())
    if unused_for is not None:
        found = [role for role in found if not postgres.scalar(access.connection, "sessions", roles=[role])]
    elif not found:
        raise UsageError(f"{name} has no login that was rotated away", next=f"tenants rotate {name}")
    if found:
        roles.remove_roles(access.connection, access.me, access.settings.database, found, name)
        catalog.remove_logins(access.connection, found)
    for role in found:
        tell(Event(name, "clean", f"login {role}, rotated away, is gone"))
    return found
