"""The catalog: the tables in schema `tenants`. It makes and migrates itself; nothing else writes to them."""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any
from weakref import WeakSet

from tenants.core.adoption import Adoption
from tenants.core.errors import Refused
from tenants.core.identity import Identity
from tenants.core.ledger import fingerprint
from tenants.core.limits import DEFAULT, Limits
from tenants.core.limits import NAMES as limit_names
from tenants.core.names import CATALOG_SCHEMA, MEMBERS_ROLE
from tenants.edges import exclusively, postgres
from tenants.edges.postgres import Connection
from tenants.edges.sql import catalog_steps

_log = logging.getLogger(__name__)
_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"


def token(length: int = 6) -> str:
    """Random letters for names that must be new."""
    return "".join(secrets.choice(_LETTERS) for _ in range(length))


@dataclass(frozen=True)
class Entry:
    """One tenant, as the catalog has it."""

    name: str
    project: str
    created_at: datetime
    limits: Limits = DEFAULT
    app_role: bool = False
    """Whether the app runs as a role of its own, which changes rows and no definitions."""
    logins: tuple[str, ...] = ()
    suspended_at: datetime | None = None
    """Since when its logins are shut out; None if they are not."""


_current = WeakSet[Connection]()
"""Sessions that have seen the catalog at this program's version: it goes no further while they last."""


def version(connection: Connection) -> int:
    """The step that the catalog is at; 0 when there is none. Raises Refused if schema `tenants` is not ours."""
    if connection in _current:
        return len(catalog_steps())
    identity = postgres.identify(connection)
    if not identity.catalog:
        if identity.catalog_schema:
            raise Refused(
                f"schema {CATALOG_SCHEMA!r} exists in database {identity.database!r} and is not our catalog",
                next=f"rename it: ALTER SCHEMA {CATALOG_SCHEMA} RENAME TO …",
            )
        return 0
    try:
        row = connection.execute("SELECT version FROM tenants.catalog").fetchone()
    except postgres.NotAllowed:
        raise Refused(
            f"the catalog of database {identity.database!r} is another admin's, and {identity.role} may not read it",
            next="use the URL that the tenants were made with, that of the owner of schema tenants",
        ) from None
    found = int(row[0]) if row else 0
    if found > len(catalog_steps()):
        raise Refused(
            f"the catalog is at version {found}, and this program knows {len(catalog_steps())}",
            next="update dokku-tenants",
        )
    if found == len(catalog_steps()):
        _current.add(connection)
    return found


KEYS = 5
"""The step that makes the table of keys."""


def ensure(connection: Connection) -> None:
    """Bring the catalog to this program's version, in one transaction. Writes nothing if it is there already. Logs the
    fingerprint of this server's key when it makes one. A session of a tenant that holds a table of the catalog is
    ended. Raises Locked where another session holds one."""
    if version(connection) == len(catalog_steps()):
        return
    for attempt in range(exclusively.ATTEMPTS):
        try:
            _migrate(connection, attempt)
        except postgres.LockNotToBeHad:
            exclusively.end_tenants(connection)
        else:
            return
    raise exclusively.held(connection)


def _migrate(connection: Connection, attempt: int) -> None:
    with postgres.roles_locked(connection):
        exclusively.lock_tables(connection, attempt)
        done = version(connection)
        if done == 0:
            _make_group(connection, postgres.identify(connection))
        for step in catalog_steps()[done:]:
            connection.execute(step)
        if done == 0:
            connection.execute("INSERT INTO tenants.catalog (version, server) VALUES (0, %s)", [token(12)])
        connection.execute("UPDATE tenants.catalog SET version = %s", [len(catalog_steps())])
        if done < KEYS:
            _make_key(connection)


def _make_key(connection: Connection) -> None:
    """Make the key that this server signs with. Its private half is the one secret that the catalog holds: it must
    outlive every machine that runs this program, and the owner of the catalog can do anything here without it."""
    from tenants.edges import signing  # 30 ms, once in the life of a server

    private, public = signing.new_key()
    values = [fingerprint(public), public, private]
    connection.execute("INSERT INTO tenants.keys (fingerprint, public, private) VALUES (%s, %s, %s)", values)
    words = (
        "this server signs its snapshots with key %s. Keep this fingerprint outside of the server: a new one needs it"
    )
    _log.warning(words + " for: tenants recover --trust %s", fingerprint(public), fingerprint(public))


def _make_group(connection: Connection, me: Identity) -> None:
    """The group belongs to the whole server; another database of it may have made it already."""
    query = """SELECT rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls,
                      pg_has_role(oid, 'MEMBER WITH ADMIN OPTION')
               FROM pg_roles WHERE rolname = %s"""
    found = connection.execute(query, [MEMBERS_ROLE]).fetchone()
    if found is None:
        postgres.run(connection, "CREATE ROLE {role} NOLOGIN", role=MEMBERS_ROLE)
        postgres.look_after(connection, me, MEMBERS_ROLE)
    elif found[0]:
        raise Refused(f"role {MEMBERS_ROLE!r} exists and is not ours: it can do more than a group of tenants may")
    elif not me.superuser and not found[1] and me.version >= 160000:  # until then CREATEROLE is enough
        raise Refused(
            f"role {MEMBERS_ROLE!r} was made by another admin of this server, and {me.role} may not add to it",
            next=f'as that admin, or as a superuser: GRANT "{MEMBERS_ROLE}" TO "{me.role}" WITH ADMIN OPTION',
        )


def server_or_none(connection: Connection) -> str | None:
    """What this server is called in storage; None where there is no catalog yet. Writes nothing."""
    return server(connection) if version(connection) else None


def server(connection: Connection) -> str:
    """What this server and database are called in the bucket."""
    row = connection.execute("SELECT server FROM tenants.catalog").fetchone()
    assert row, "the catalog has one row"
    return str(row[0])


def entries(connection: Connection, names: Sequence[str] | None = None) -> dict[str, Entry]:
    """The tenants that this connection may see, all or those named, by name."""
    query = "SELECT * FROM tenants.tenants WHERE %s OR name = ANY(%s) ORDER BY name"
    found = postgres.dict_rows(connection, query, [names is None, list(names or ())])
    return {row["name"]: _entry(row) for row in found}


def _entry(row: dict[str, Any]) -> Entry:
    limits = Limits(**{name: row[name] for name in limit_names if name in row})
    app_role, logins = bool(row.get("app_role")), tuple(row.get("logins", ()))
    return Entry(row["name"], row["project"], row["created_at"], limits, app_role, logins, row.get("suspended_at"))


def entries_with_logins(connection: Connection) -> dict[str, Entry]:
    """The same, with the logins: for the admin alone."""
    query = """SELECT t.*, coalesce(array_agg(l.role ORDER BY l.created_at, l.role)
                      FILTER (WHERE l.role IS NOT NULL), '{}') AS logins
               FROM tenants.tenants t LEFT JOIN tenants.logins l ON l.tenant = t.name
               GROUP BY t.name ORDER BY t.name"""
    found = postgres.dict_rows(connection, query)
    return {row["name"]: _entry(row) for row in found}


def add_tenant(connection: Connection, name: str, project: str) -> None:
    connection.execute("INSERT INTO tenants.tenants (name, project) VALUES (%s, %s)", [name, project])


def want(connection: Connection, name: str, limits: Limits, app_role: bool) -> None:
    """Write down what the tenant is wanted to be; `audit.repair` brings it about."""
    connection.execute(
        """UPDATE tenants.tenants SET connections = %(connections)s, statement_timeout = %(statement_timeout)s,
                  lock_timeout = %(lock_timeout)s, idle_timeout = %(idle_timeout)s,
                  temp_file_limit = %(temp_file_limit)s, size = %(size)s, objects = %(objects)s, app_role = %(app_role)s
           WHERE name = %(name)s""",
        {**asdict(limits), "app_role": app_role, "name": name},
    )


def suspend(connection: Connection, name: str, *, suspended: bool) -> bool:
    """Note that the tenant's logins are to be shut out, or let in again. False if that was noted already."""
    query = """UPDATE tenants.tenants SET suspended_at = CASE WHEN %s THEN now() END
               WHERE name = %s AND (suspended_at IS NULL) = %s"""
    return connection.execute(query, [suspended, name, suspended]).rowcount == 1


def add_login(connection: Connection, tenant: str, role: str, kind: str, verifier: str) -> None:
    """`kind`: whom it becomes, owner or app. Of the verifier a digest is kept, to notice when it is changed."""
    connection.execute(
        "INSERT INTO tenants.logins (role, tenant, kind, verifier) VALUES (%s, %s, %s, %s)",
        [role, tenant, kind, hashlib.sha256(verifier.encode()).hexdigest()],
    )


def mark_retired(connection: Connection, tenant: str) -> list[str]:
    """All logins of the tenant are to go when no session uses them any more. Returns those that were not marked yet."""
    query = """UPDATE tenants.logins SET retired_at = now() WHERE tenant = %s AND retired_at IS NULL RETURNING role"""
    return sorted(row[0] for row in connection.execute(query, [tenant]))


def retired_logins(connection: Connection, tenant: str, ago: timedelta) -> list[str]:
    """The logins that were marked at least that long ago."""
    query = "SELECT role FROM tenants.logins WHERE tenant = %s AND retired_at <= now() - %s ORDER BY role"
    return [row[0] for row in connection.execute(query, [tenant, ago])]


def remove_logins(connection: Connection, roles: Sequence[str]) -> None:
    connection.execute("DELETE FROM tenants.logins WHERE role = ANY(%s)", [list(roles)])


def add_extension(connection: Connection, tenant: str, name: str) -> bool:
    """Note that the tenant uses the extension. False if that was noted already."""
    query = "INSERT INTO tenants.extensions (tenant, name) VALUES (%s, %s) ON CONFLICT DO NOTHING"
    return connection.execute(query, [tenant, name]).rowcount == 1


def add_reader(connection: Connection, role: str, tenant: str, verifier: str) -> None:
    """Note the read-only login of the tenant, or its new password. Of the verifier a digest is kept, to notice when it
    is changed."""
    connection.execute(
        """INSERT INTO tenants.readers (role, tenants, verifier) VALUES (%s, %s, %s)
           ON CONFLICT (role) DO UPDATE SET tenants = excluded.tenants, verifier = excluded.verifier""",
        [role, [tenant], hashlib.sha256(verifier.encode()).hexdigest()],
    )


def readers(connection: Connection) -> dict[str, tuple[str, ...]]:
    """The read-only logins, and the tenants that each reads. One that reads several was made by an older version."""
    query = """SELECT role, tenants FROM tenants.readers JOIN pg_roles ON rolname = role ORDER BY role"""
    return {role: tuple(tenants) for role, tenants in connection.execute(query)}


def readers_of(connection: Connection, tenant: str) -> list[str]:
    """The read-only logins that reach this tenant alone: they come and go with it."""
    return [role for role, tenants in readers(connection).items() if tenants == (tenant,)]


def remove_readers(connection: Connection, roles: Sequence[str]) -> None:
    connection.execute("DELETE FROM tenants.readers WHERE role = ANY(%s)", [list(roles)])


STAMP = "STAMP"
"""The kind, among what was adopted, of a version table that came from nowhere: the adoption has made it."""


def add_adopted(connection: Connection, tenant: str, adoption: Adoption, fingerprint: str) -> None:
    """Note what was moved into the tenant's schema, whose it was, and what stands in its place; and the digest of all
    definitions there, by which to tell whether they have changed since."""
    connection.execute("UPDATE tenants.tenants SET adopted_as = %s WHERE name = %s", [fingerprint, tenant])
    rows = [(thing.key, thing.kind, thing.rest, thing.owner, thing in adoption.bridges) for thing in adoption.moves]
    if adoption.stamped:
        rows.append(("", STAMP, postgres.ALEMBIC.name, tenant, False))
    for row in rows:
        connection.execute(
            """INSERT INTO tenants.adopted (tenant, source, object, kind, rest, owner, bridge)
               VALUES (%s, %s, %s, %s, %s, %s, %s)
               ON CONFLICT (tenant, kind, rest) DO UPDATE
               SET source = excluded.source, object = excluded.object, owner = excluded.owner,
                   bridge = excluded.bridge, adopted_at = now()""",
            [tenant, adoption.source, *row],
        )


def adopted(connection: Connection, tenant: str) -> tuple[str | None, str | None, dict[str, str]]:
    """From which schema the tenant has adopted something last; the digest of its definitions right after that; and the
    former owners of what came from there, by catalog and oid. Nothing where the catalog is older than that."""
    if version(connection) < 3:
        return None, None, {}
    query = """SELECT source, object, owner FROM tenants.adopted WHERE (tenant, kind <> %s) = (%s, true)
               ORDER BY adopted_at"""
    found = postgres.dict_rows(connection, query, [STAMP, tenant])
    row = connection.execute("SELECT adopted_as FROM tenants.tenants WHERE name = %s", [tenant]).fetchone()
    source = found[-1]["source"] if found else None
    owners = {row["object"]: row["owner"] for row in found if row["source"] == source}
    return source, row[0] if row else None, owners


def stamped(connection: Connection, tenant: str, source: str) -> bool:
    """Whether the version table of the tenant was made by its adoption from there."""
    query = "SELECT FROM tenants.adopted WHERE (tenant, source, kind) = (%s, %s, %s)"
    return connection.execute(query, [tenant, source, STAMP]).fetchone() is not None


def forget_adopted(connection: Connection, tenant: str, source: str) -> None:
    connection.execute("DELETE FROM tenants.adopted WHERE (tenant, source) = (%s, %s)", [tenant, source])
    connection.execute("UPDATE tenants.tenants SET adopted_as = NULL WHERE name = %s", [tenant])


def bridges(connection: Connection, tenant: str | None = None) -> list[str]:
    """The views that stand in the place of what the tenant, or any tenant, has adopted, quoted. None where the catalog
    is older than they are."""
    if version(connection) < 3:
        return []
    query = """SELECT format('%%I.%%s', source, rest) FROM tenants.adopted
               WHERE bridge AND tenant = coalesce(%s, tenant) ORDER BY 1"""
    return [row[0] for row in connection.execute(query, [tenant])]


def forget_bridges(connection: Connection, tenant: str) -> None:
    connection.execute("UPDATE tenants.adopted SET bridge = false WHERE tenant = %s", [tenant])


def take_bridges_down(connection: Connection) -> int:
    """The same, by the tenant itself, whose login this session is; views and all. Returns how many there were."""
    row = connection.execute("SELECT tenants.take_bridges_down()").fetchone() if version(connection) >= 3 else None
    return int(row[0]) if row else 0


def remove_tenant(connection: Connection, name: str) -> None:
    """Forget the tenant, its logins and its readers; its deploys and snapshots stay on record."""
    connection.execute("DELETE FROM tenants.written WHERE tenant = %s", [name])
    connection.execute("DELETE FROM tenants.tenants WHERE name = %s", [name])
    connection.execute("DELETE FROM tenants.readers WHERE tenants = ARRAY[%s]", [name])
    connection.execute(
        "UPDATE tenants.readers SET tenants = array_remove(tenants, %s) WHERE %s = ANY(tenants)", [name, name]
    )


def allow_swap(connection: Connection, role: str, tenant: str, aside: str) -> None:
    """Let the session that logs in as `role` set the tenant's schema aside, once."""
    connection.execute("INSERT INTO tenants.swaps (role, tenant, aside) VALUES (%s, %s, %s)", [role, tenant, aside])


def swap_allowed(connection: Connection, role: str) -> bool:
    """Whether that session still may: set_aside takes it back, and a transaction that fails gives it again."""
    return connection.execute("SELECT FROM tenants.swaps WHERE role = %s", [role]).rowcount == 1


def forget_swaps(connection: Connection, tenant: str) -> None:
    connection.execute("DELETE FROM tenants.swaps WHERE tenant = %s", [tenant])


def nightly_done(connection: Connection, period: datetime) -> datetime | None:
    """When the nightly run for the period that began then was finished; None if it was not. A run that a wrong clock
    has noted for a period to come is none."""
    query = """SELECT max(finished_at) FROM tenants.nightly_runs
               WHERE period BETWEEN %s AND now() + interval '1 hour'"""
    row = connection.execute(query, [period]).fetchone()
    return row[0] if row else None


def last_nightly(connection: Connection) -> datetime | None:
    """When the newest nightly run that went well was finished."""
    query = "SELECT max(finished_at) FROM tenants.nightly_runs WHERE finished_at < now() + interval '1 hour'"
    row = connection.execute(query).fetchone()
    return row[0] if row else None


def note_nightly(connection: Connection, period: datetime) -> None:
    connection.execute("INSERT INTO tenants.nightly_runs (period) VALUES (%s) ON CONFLICT DO NOTHING", [period])
