"""Scratch: a database of its own for a moment, in which a snapshot is tried out, closed to everybody else.

A role that is made for it, is a member of nobody and goes with it may make schemas there: whatever the snapshot's
functions do when they are set off, they do as somebody who owns nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from tenants.core.errors import Refused, SettingsError
from tenants.core.names import EXTENSIONS_SCHEMA, scratch_name, scratch_prefix
from tenants.core.settings import DatabaseUrl
from tenants.core.units import size
from tenants.edges import catalog, disk, postgres, signals
from tenants.edges.postgres import literal, run
from tenants.usecases import roles
from tenants.usecases.access import Access
from tenants.usecases.sharing import FORBIDDEN

ROOM = 3
"""How many times the size of an archive has to be free on the server's disk: tables, indexes, and the log."""


@contextmanager
def database(
    access: Access, tenant: str, extensions: Mapping[str, str], *, needs: int, schema: str | None = None
) -> Iterator[DatabaseUrl]:
    """An empty database, for as long as the block lasts, and a URL of the role that may use it. It has the extensions,
    each in the schema that is said, and that `schema`, which belongs to the role.

    To be used under the tenant's lock. What killed runs have left is cleared first.
    Raises Refused if the admin may make no database, or the server's disk has less room than `needs` bytes.
    """
    connection, me = access.connection, access.me
    clear(access, tenant)
    free = disk.free_disk(connection) if me.superuser else None
    if free is not None and free < needs:
        raise Refused(
            f"{size(free)} are free on the server's disk, and a copy of {tenant} may take {size(needs)}",
            next="make room, or choose a smaller snapshot",
        )
    name = scratch_name(tenant, catalog.token())
    try:
        with postgres.roles_locked(connection):
            login = roles.make_short_lived(connection, me, name)
            if me.superuser:  # a policy that is forced on the owner hides nothing when the copy is compared
                run(connection, "ALTER ROLE {name} BYPASSRLS", name=name)
        with postgres.databases_locked(connection):
            make_closed(access, name)
        furnish(access, name, extensions, schema)
        yield access.settings.database.as_login(name, login.password).in_database(name)
    finally:
        with signals.held():
            clear(access, tenant)


def as_a_tenant(access: Access, url: DatabaseUrl) -> None:
    """Leave the role of a scratch database what a tenant may do in its own: no more schemas, no row past a policy."""
    if access.me.superuser:
        run(access.connection, "ALTER ROLE {name} NOBYPASSRLS", name=url.user)
    with postgres.connect(access.settings.database.in_database(url.database), "tenants scratch") as there:
        run(there, "REVOKE CREATE ON DATABASE {name} FROM {name}", name=url.user)


def furnish(access: Access, name: str, extensions: Mapping[str, str], schema: str | None = None) -> None:
    """Put into the database what an archive of a tenant needs. What is there already stays."""
    with postgres.connect(access.settings.database.in_database(name), "tenants scratch") as there:
        try:
            run(there, "DROP SCHEMA IF EXISTS public")
        except postgres.NotAllowed:  # until 14 it belongs to the server's owner in every new database
            if schema == "public":
                raise Refused(
                    "schema public of a new database is the server's owner's", next="use the URL of a superuser"
                ) from None
        if schema:
            run(there, "CREATE SCHEMA {schema} AUTHORIZATION {name}", schema=schema, name=name)
        for where in {EXTENSIONS_SCHEMA, *extensions.values()} - {schema, "pg_catalog"}:
            run(there, "CREATE SCHEMA IF NOT EXISTS {schema}", schema=where)
            run(there, "GRANT USAGE ON SCHEMA {schema} TO {name}", schema=where, name=name)
        for extension in set(extensions) - set(FORBIDDEN):
            with suppress(postgres.DatabaseError):  # the replay says it, where it is missed
                run(there, "CREATE EXTENSION {name} SCHEMA {schema}", name=extension, schema=extensions[extension])
        run(there, "GRANT CREATE ON DATABASE {name} TO {name}", name=name)


def make_closed(access: Access, name: str) -> None:
    """Make a database that the role of its name may use, and nobody else. To be called within `databases_locked`.

    From template0, so that nobody's session there is in the way, as this database sorts; closed until PUBLIC has
    lost its way in."""
    connection = access.connection
    found = postgres.rows(connection, "locale")[0]
    words = "CREATE DATABASE {name} TEMPLATE template0 ALLOW_CONNECTIONS false ENCODING {encoding}"
    words += " LC_COLLATE {collate} LC_CTYPE {ctype}"
    if found["provider"] == "icu":
        words += " LOCALE_PROVIDER icu ICU_LOCALE {locale}"
    elif found["provider"] == "builtin":
        words += " LOCALE_PROVIDER builtin BUILTIN_LOCALE {locale}"
    texts = {key: literal(found[key]) for key in ("encoding", "collate", "ctype", "locale")}
    connection.execute(postgres.compose(words, name=name, **texts))
    run(connection, "REVOKE ALL ON DATABASE {name} FROM PUBLIC", name=name)
    run(connection, "GRANT CONNECT, TEMPORARY ON DATABASE {name} TO {name}", name=name)
    run(connection, "ALTER DATABASE {name} ALLOW_CONNECTIONS true", name=name)


def drop(access: Access, name: str) -> None:
    """Drop a database of ours, whatever is open in it: a transaction that was prepared there would keep it for ever."""
    with (
        suppress(SettingsError),
        postgres.connect(access.settings.database.in_database(name), "tenants scratch") as there,
    ):
        for left in postgres.rows(there, "prepared_here"):
            run(there, "SET ROLE {role}", role=left["role"])
            run(there, "ROLLBACK PREPARED {gid}", gid=literal(left["gid"]))
            run(there, "RESET ROLE")
    with postgres.databases_locked(access.connection):
        run(access.connection, "DROP DATABASE IF EXISTS {name} WITH (FORCE)", name=name)


@contextmanager
def past_policies(access: Access, url: DatabaseUrl) -> Iterator[None]:
    """For as long as the block lasts, policies that are forced on the owner of the copy hide nothing from it."""
    if not access.me.superuser:
        yield
        return
    run(access.connection, "ALTER ROLE {name} BYPASSRLS", name=url.user)
    try:
        yield
    finally:
        run(access.connection, "ALTER ROLE {name} NOBYPASSRLS", name=url.user)


def clear(access: Access, tenant: str) -> list[str]:
    """Remove all scratch databases of the tenant, and their roles. Returns their names. Idempotent; to be
    called under the tenant's lock: then none of them is anybody's."""
    connection, prefix = access.connection, scratch_prefix(tenant)
    found = [row["name"] for row in postgres.rows(connection, "scratch", prefix=prefix)]
    for name in found:
        drop(access, name)
    owners = [row["role"] for row in postgres.rows(connection, "roles_of", prefix=prefix)]
    roles.remove_roles(connection, access.me, access.settings.database, owners, None)
    return found
