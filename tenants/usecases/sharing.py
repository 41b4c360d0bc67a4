"""What tenants share on purpose: extensions, and readers over several of them."""

from __future__ import annotations

from collections.abc import Sequence

from tenants.core.errors import Refused, UsageError
from tenants.core.names import EXTENSIONS_SCHEMA, check_name, reader_name
from tenants.core.settings import DatabaseUrl
from tenants.edges import catalog, postgres
from tenants.edges.postgres import run
from tenants.usecases import audit, roles
from tenants.usecases.access import Access

FORBIDDEN = {
    "adminpack": "it writes files of the server",
    "dblink": "it opens connections from the server, past pg_hba.conf",
    "file_fdw": "it reads files of the server",
    "lo": "large objects lie outside of every schema and snapshot",
    "pageinspect": "it reads the pages of all tables",
    "pg_buffercache": "it reads what other tenants do",
    "pg_surgery": "it damages tables",
    "plperlu": "its functions run as the server",
    "plpython3u": "its functions run as the server",
    "pltclu": "its functions run as the server",
    "postgres_fdw": "it opens connections from the server, past pg_hba.conf",
}
"""Extensions that break the separation for all tenants of the database."""


def extension(access: Access, name: str, wanted: str, *, asked: bool = True) -> bool:
    """Make the extension available to the tenant: it lies in the schema `extensions`, which tenants may use and not
    change. Idempotent: False if it was there. Raises Refused for one that would break the separation, and, where no
    person has `asked` for it but a file, for one that PostgreSQL does not trust."""
    access.require_admin(f"tenants extension {name} {wanted}")
    access.entry(name)
    catalog.ensure(access.connection)
    if why := FORBIDDEN.get(wanted):
        raise Refused(f"extension {wanted} would break the separation of tenants: {why}", next="do without it")
    found = postgres.rows(access.connection, "extension", name=wanted)
    if not found:
        raise UsageError(f"this server has no extension {wanted!r}", next="install its package on the server first")
    if found[0]["schema"] not in (None, EXTENSIONS_SCHEMA, "pg_catalog"):
        raise Refused(
            f"extension {wanted} lies in schema {found[0]['schema']}",
            next=f"as the admin: ALTER EXTENSION {wanted} SET SCHEMA {EXTENSIONS_SCHEMA}",
        )
    if not (asked or found[0]["trusted"] or found[0]["schema"]):
        raise Refused(
            f"extension {wanted} is wanted, and it is none that PostgreSQL trusts",
            next=f"if that is right: tenants extension {name} {wanted}, and again",
        )
    with postgres.roles_locked(access.connection):
        if found[0]["schema"] is None:
            try:
                run(access.connection, "CREATE EXTENSION {name} SCHEMA {schema}", name=wanted, schema=EXTENSIONS_SCHEMA)
            except postgres.NotAllowed:
                raise Refused(
                    f"extension {wanted} takes a superuser: it is none that PostgreSQL lets {access.me.role} make",
                    next=f'as one, in this database: CREATE EXTENSION "{wanted}" SCHEMA {EXTENSIONS_SCHEMA}',
                ) from None
        new = catalog.add_extension(access.connection, name, wanted)
    return new or found[0]["schema"] is None


def reader(access: Access, name: str, of: Sequence[str]) -> tuple[str, DatabaseUrl]:
    """Make a login that reads the tables of several tenants and changes nothing. Returns its name and URL.

    It reads tables alone: a view runs its tenant's functions as whoever looks, and would let one tenant read another
    through the reader.
    """
    access.require_admin(f"tenants reader {name} --of {','.join(of)}")
    check_name(name, "reader")
    for tenant in of:
        access.entry(tenant)
    catalog.ensure(access.connection)
    connection, me = access.connection, access.me
    role = reader_name(name)
    if postgres.rows(connection, "names_taken", name=role):
        raise Refused(
            f"there is a reader {name} already", next=f'drop it first: DROP OWNED BY "{role}"; DROP ROLE "{role}"'
        )
    with postgres.roles_locked(connection):
        login, verifier = roles.make_reader(connection, me, role, of)
        catalog.add_reader(connection, role, of, verifier)
        audit.repair(connection, me, set(of))
    return role, access.settings.database.as_login(login.role, login.password)
