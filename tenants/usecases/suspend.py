"""Suspend: shut a tenant out at once, whatever it does. Its data stays, and so do its snapshots.

The one command for a neighbour that fills the disk, holds locks or burns the processor. That a tenant is suspended is
part of what it is wanted to be, so no `apply`, deploy or nightly run lets it in again; `resume` does.
"""

from __future__ import annotations

from tenants.core.errors import TenantsError
from tenants.core.events import Event, Tell
from tenants.core.names import app_role_name, deploy_role_prefix, visitor_role_prefix
from tenants.core.units import counted
from tenants.edges import catalog, postgres
from tenants.usecases import audit, roles, room
from tenants.usecases.access import Access


def suspend(access: Access, name: str, tell: Tell) -> bool:
    """Shut out the tenant's logins, end its sessions, also those of a deploy, and roll back what it has prepared.

    Waits for no lock that the tenant could hold. Idempotent: False if it was suspended, and then what has come back
    since is ended again.
    """
    access.require_admin(f"tenants suspend {name}")
    access.entry(name)
    catalog.ensure(access.connection)
    connection = access.connection
    logins = [*catalog.entries_with_logins(connection)[name].logins, *catalog.readers_of(connection, name)]
    prefixes = (deploy_role_prefix(name), visitor_role_prefix(name))
    at_work = [row["role"] for prefix in prefixes for row in postgres.rows(connection, "roles_of", prefix=prefix)]
    ended, prepared = roles.shut_out(connection, access.me, [name, app_role_name(name), *logins, *at_work])
    new = _want(access, name, suspended=True)
    postgres.end_sessions(connection, [*logins, *at_work])
    (rule,) = (rule for rule in audit.rules() if rule.id == "login-suspended")
    if left := audit.find(connection, access.me, [rule], {name}):
        raise TenantsError(
            f"{', '.join(finding.object for finding in left)} can still log in", next=f"again: tenants suspend {name}"
        )
    tell(Event(name, "suspend", f"{counted(len(logins), 'login')} shut out, {counted(ended, 'session')} ended"))
    if room.remove(access, name):
        tell(
            Event(name, "suspend", f"its room for rehearsals is gone: tenants create {name} --rehearsal makes it anew")
        )
    if prepared:
        tell(Event(name, "suspend", f"{prepared} prepared transactions rolled back"))
    return new


def resume(access: Access, name: str) -> bool:
    """Let the tenant's logins in again. False if they were not shut out."""
    access.require_admin(f"tenants resume {name}")
    access.entry(name)
    catalog.ensure(access.connection)
    return _want(access, name, suspended=False)


def _want(access: Access, name: str, *, suspended: bool) -> bool:
    with postgres.roles_locked(access.connection):
        new = catalog.suspend(access.connection, name, suspended=suspended)
        # What shuts out takes no other rule: what a tenant holds, however much, must not keep it from being suspended.
        only = {"login-suspended"} if suspended else None
        audit.repair(access.connection, access.me, {name}, only=only)
    return new
