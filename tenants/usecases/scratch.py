"""Scratch: a database of its own for a moment, in which a snapshot is tried out, closed to everybody else.

It belongs to a role that is made for it, is a member of nobody, and goes with it: whatever the snapshot's functions do
when they are set off there, they do as somebody who owns nothing else.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

from tenants.core.errors import Refused
from tenants.core.names import EXTENSIONS_SCHEMA, scratch_name, scratch_prefix
from tenants.core.settings import DatabaseUrl
from tenants.core.units import size
from tenants.edges import catalog, postgres
from tenants.edges.postgres import literal, run
from tenants.usecases.access import Access

HOURS = 6
ROOM = 3
"""How many times the size of an archive has to be free on the server's disk: tables, indexes, and the log."""


@contextmanager
def database(access: Access, tenant: str, extensions: Sequence[str], *, needs: int) -> Iterator[DatabaseUrl]:
    """An empty database with the extensions, for as long as the block lasts, and a URL of the role that owns it. To be
    used under the tenant's lock. What killed runs have left is cleared first.

    Raises Refused if the admin may make no database, or the server's disk has less room than `needs` bytes.
    """
    connection, me = access.connection, access.me
    clear(access, tenant)
    free = postgres.free_disk(connection) if me.superuser else None
    if free is not None and free < needs:
        raise Refused(
            f"{size(free)} are free on the server's disk, and a copy of {tenant} may take {size(needs)}",
            next="make room, or choose a smaller snapshot",
        )
    name, password = scratch_name(tenant, catalog.token()), secrets.token_urlsafe(24)
    until = (datetime.now(UTC) + timedelta(hours=HOURS)).isoformat()
    try:
        with postgres.roles_locked(connection):
            run(
                connection,
                "CREATE ROLE {name} LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
                " PASSWORD {verifier} VALID UNTIL {until}",
                name=name,
                verifier=literal(postgres.scram_verifier(connection, name, password)),
                until=literal(until),
            )
            postgres.look_after(connection, me, name)
        with postgres.databases_locked(connection):
            _make(access, name)
        with postgres.connect(access.settings.database.in_database(name), "tenants scratch") as there:
            run(there, "REVOKE ALL ON SCHEMA public FROM PUBLIC")
            run(there, "CREATE SCHEMA {schema}", schema=EXTENSIONS_SCHEMA)
            run(there, "GRANT USAGE ON SCHEMA {schema} TO {name}", schema=EXTENSIONS_SCHEMA, name=name)
            for extension in extensions:
                with suppress(postgres.DatabaseError):  # the replay says it, where it is missed
                    run(there, "CREATE EXTENSION {name} SCHEMA {schema}", name=extension, schema=EXTENSIONS_SCHEMA)
            run(there, "GRANT CREATE ON DATABASE {name} TO {name}", name=name)
        yield access.settings.database.as_login(name, password).in_database(name)
    finally:
        clear(access, tenant)


def _make(access: Access, name: str) -> None:
    """From template0, so that nobody's session there is in the way, as this database sorts; closed until PUBLIC has
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
    run(connection, "GRANT CONNECT ON DATABASE {name} TO {name}", name=name)
    run(connection, "ALTER DATABASE {name} ALLOW_CONNECTIONS true", name=name)


def clear(access: Access, tenant: str) -> list[str]:
    """Remove all scratch databases of the tenant, and the roles that own them. Returns their names. Idempotent; to be
    called under the tenant's lock: then none of them is anybody's."""
    connection, prefix = access.connection, scratch_prefix(tenant)
    found = [row["name"] for row in postgres.rows(connection, "scratch", prefix=prefix)]
    roles = [row["role"] for row in postgres.rows(connection, "roles_of", prefix=prefix)]
    for name in roles:
        run(connection, "ALTER ROLE {name} NOLOGIN", name=name)
    for name in found:
        with postgres.databases_locked(connection):
            run(connection, "DROP DATABASE IF EXISTS {name} WITH (FORCE)", name=name)
    for name in roles:
        with postgres.roles_locked(connection):
            run(connection, "DROP OWNED BY {name}", name=name)
            run(connection, "DROP ROLE {name}", name=name)
    return found
