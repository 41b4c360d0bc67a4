"""The room in which a tenant that deploys itself may rehearse: a database of its own on the same server.

With a tenant's own URL no database can be made, so the admin makes one beforehand. It is closed to everybody else, and
its role is no member of the tenant, nor of anybody. Between two rehearsals it is empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tenants.core.errors import Refused
from tenants.core.names import EXTENSIONS_SCHEMA, rehearsal_name
from tenants.core.settings import REHEARSAL_URL, DatabaseUrl
from tenants.edges import postgres
from tenants.edges.postgres import Connection, run
from tenants.usecases import roles, scratch
from tenants.usecases.access import Access


def prepare(access: Access, tenant: str) -> DatabaseUrl:
    """Make the room, or give the one that is there a new password and the extensions that it lacks. Returns the URL
    that opens it; it is shown once."""
    access.require_admin(f"tenants create {tenant} --rehearsal")
    access.entry(tenant)
    connection, me, name = access.connection, access.me, rehearsal_name(tenant)
    with postgres.roles_locked(connection):
        if _is_there(access, name):
            login = roles.new_password(connection, name)
        else:
            login = roles.make_lasting(connection, me, name)
    with postgres.databases_locked(connection):
        if not postgres.rows(connection, "scratch", prefix=name):
            scratch.make_closed(access, name)
    extensions = {row["name"]: EXTENSIONS_SCHEMA for row in postgres.rows(connection, "extensions")}
    scratch.furnish(access, name, extensions)
    return access.settings.database.as_login(name, login.password).in_database(name)


def remove(access: Access, tenant: str) -> bool:
    """Remove the room and its role. False if there is none."""
    connection, name = access.connection, rehearsal_name(tenant)
    if not _is_there(access, name):
        return False
    with postgres.roles_locked(connection):
        run(connection, "ALTER ROLE {name} NOLOGIN", name=name)
    postgres.end_sessions(connection, [name])
    scratch.drop(access, name)
    roles.remove_roles(connection, access.me, access.settings.database, [name], None)
    return True


def _is_there(access: Access, name: str) -> bool:
    return any(row["role"] == name for row in postgres.rows(access.connection, "roles_of", prefix=name))


@contextmanager
def emptied(access: Access, url: DatabaseUrl) -> Iterator[DatabaseUrl]:
    """The room, empty, for as long as the block lasts; it is empty again after it. To be used under the tenant's lock.
    Raises Refused if the URL is that of another place."""
    with postgres.connect(url, "tenants rehearse") as connection:
        me = postgres.identify(connection)
        if access.own is None or (me.role, me.database) != (rehearsal_name(access.own),) * 2:
            raise Refused(
                f"{REHEARSAL_URL} leads to {me.role} in {me.database}, which is no room of {access.own or 'an admin'}",
                next=f"where DATABASE_URL is the admin's: tenants create {access.own or 'NAME'} --rehearsal",
            )
        _empty(connection)
    try:
        yield url
    finally:
        with postgres.connect(url, "tenants rehearse") as connection:
            _empty(connection)


def end_sessions(url: DatabaseUrl) -> None:
    """End all sessions in the room and return when they are gone."""
    with postgres.connect(url, "tenants rehearse") as connection:
        _end_sessions(connection)


def _end_sessions(connection: Connection) -> None:
    def gone() -> bool:
        return not postgres.scalar(connection, "end_others")

    postgres.poll(gone, seconds=30, what="sessions of an earlier rehearsal do not end")


def _empty(connection: Connection) -> None:
    _end_sessions(connection)
    for row in postgres.rows(connection, "own_schemas"):
        run(connection, "DROP SCHEMA {name} CASCADE", name=row["name"])
    connection.execute("SELECT lo_unlink(oid) FROM pg_largeobject_metadata WHERE lomowner = current_user::regrole")
