"""What tenants share on purpose: extensions, and read-only logins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from tenants.core.errors import Refused, UsageError
from tenants.core.names import EXTENSIONS_SCHEMA, check_name, is_reader, reader_name, shared_reader_name
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


@dataclass(frozen=True)
class ReaderLogin:
    """The login with which a reader reads one tenant."""

    tenant: str
    role: str
    url: DatabaseUrl | None
    """With the password, which is shown once; None if the login was there and keeps its password."""


@dataclass(frozen=True)
class Reader:
    """What `reader` did."""

    logins: tuple[ReaderLogin, ...]
    dropped: tuple[str, ...]
    """The login of an older version that read several tenants in one session, if the reader had one."""


def reader(access: Access, name: str, of: Sequence[str], *, rotate: bool = False) -> Reader:
    """Make a login for each tenant that reads that tenant and changes nothing. Idempotent: a login that is there keeps
    its password, unless `rotate` gives it a new one. A login of an older version that reads several tenants is dropped.

    One session reaches one tenant. A query runs code of the tenant that it reads: operators, casts, functions of views,
    policies, expressions of indexes. No grant prevents that, since the tenant changes its schema whenever it likes. So
    nothing that such code could take is in reach of the session.
    """
    access.require_admin(f"tenants reader {name} --of {','.join(of)}")
    check_name(name, "reader")
    if not of:
        raise UsageError("--of names no tenant", next=f"tenants reader {name} --of TENANT,…")
    wanted = {tenant: reader_name(access.entry(tenant).name, name) for tenant in of}
    catalog.ensure(access.connection)
    connection, me, url = access.connection, access.me, access.settings.database
    logins = []
    with postgres.roles_locked(connection):
        known = catalog.readers(connection)
        for tenant, role in wanted.items():
            login = None
            if role in known:
                login = roles.renew_reader(connection, tenant, role) if rotate else None
            elif postgres.rows(connection, "names_taken", name=role):
                raise Refused(
                    f"role {role} exists, and no reader in the catalog has it",
                    next=f'choose another name, or drop the role: DROP OWNED BY "{role}"; DROP ROLE "{role}"',
                )
            else:
                login = roles.make_reader(connection, me, tenant, role)
            logins.append(ReaderLogin(tenant, role, url.as_login(role, login.password) if login else None))
        audit.repair(connection, me, set(wanted))
    return Reader(tuple(logins), tuple(_drop(access, [shared_reader_name(name)])))


def drop_reader(access: Access, name: str, of: Sequence[str] = ()) -> list[str]:
    """Drop the reader's logins of the tenants named, or all of its logins, and end their sessions. Returns the logins.
    Raises UsageError if there are none."""
    access.require_admin(f"tenants reader {name} --drop")
    check_name(name, "reader")
    for tenant in of:
        access.entry(tenant)
    catalog.ensure(access.connection)
    known = catalog.readers(access.connection)
    own = [role for role, read in known.items() if is_reader(role, name) and (not of or read[0] in of)]
    shared = [] if of else [shared_reader_name(name)]
    if not (dropped := _drop(access, [*own, *shared])):
        raise UsageError(
            f"there is no reader {name}" + (f" of {', '.join(of)}" if of else ""),
            next=f"make it: tenants reader {name} --of TENANT,…",
        )
    return dropped


def _drop(access: Access, names: Sequence[str]) -> list[str]:
    found = [role for role in catalog.readers(access.connection) if role in names]
    if found:
        forget = partial(catalog.remove_readers, access.connection, found)
        roles.remove_roles(access.connection, access.me, access.settings.database, found, None, besides=forget)
    return found
