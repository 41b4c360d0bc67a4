"""PostgreSQL: the one module that opens connections with the driver, for all but a glance (`tenants.edges.glance`).

Every connection that this module opens runs with `search_path = pg_catalog`, so that no name in our own SQL can be
caught by something that a tenant made. Project code opens its connection in `tenants.sandboxed`, and nowhere else.
"""

from __future__ import annotations

import hashlib
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import errors as pg
from psycopg import sql
from psycopg.rows import TupleRow, dict_row

from tenants.core.errors import Refused, SettingsError, StateError, TenantsError, Unreadable
from tenants.core.identity import Identity
from tenants.core.names import printable
from tenants.core.settings import DatabaseUrl
from tenants.edges import clearing, session
from tenants.edges.sql import statement

Connection = psycopg.Connection[TupleRow]
Row = dict[str, Any]
DatabaseError = psycopg.Error
NotAllowed = pg.InsufficientPrivilege
NoRoomForLocks = pg.OutOfMemory
"""The server's table of locks is full, or its memory."""
LockNotToBeHad = (pg.LockNotAvailable, pg.DeadlockDetected)

MAX_HEADS, MAX_LENGTH = 100, 255
"""Of a version table, in rows and characters: more is nothing that Alembic wrote."""
LOCK_MS = 500
"""How long a lock on a table of a running app is waited for, while the app's queries queue up behind us. It is less
than the server's deadlock_timeout of a second: in a deadlock it is we who give way, and never the app."""
DEADLOCK_MS = 100
"""After this a migration's session looks whether it is in a deadlock, where the admin may set that. It is also when
PostgreSQL ends an autovacuum that is in its way, which has to be before the session gives up."""


@contextmanager
def connect(url: DatabaseUrl, purpose: str, *, seconds: int = session.CONNECT_SECONDS) -> Iterator[Connection]:
    """A session of ours in autocommit, named `purpose` (63 bytes at most). Raises SettingsError if there is none."""
    try:
        connection = psycopg.connect(
            url.text,
            autocommit=True,
            application_name=purpose,
            connect_timeout=seconds,
            options=" ".join(f"-c {name}={value}" for name, value in session.SETTINGS.items()),
        )
    except psycopg.Error as error:
        raise _unreachable(url, error) from None
    with connection:
        yield connection


def _another(connection: Connection) -> Connection:
    """A further session of the same login."""
    info, seconds = connection.info, session.CONNECT_SECONDS
    return psycopg.connect(
        info.dsn, password=info.password, autocommit=True, application_name="tenants clears", connect_timeout=seconds
    )


def behind_pooler(connection: Connection) -> bool:
    """Whether something stands between us and the server that hands sessions out: it tells us a process of its own, and
    not that of the session."""
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return bool(row and row[0] != connection.info.backend_pid)


def trusted(url: DatabaseUrl, user: str) -> bool | None:
    """Whether the server lets `user` in without a password, from here; None if it cannot be told."""
    try:
        without = url.as_login(user, "").text
        psycopg.connect(
            without, password="", passfile="/dev/null/none", connect_timeout=session.CONNECT_SECONDS
        ).close()
    except psycopg.Error as error:
        return False if "password" in str(error) else None
    return True


def _unreachable(url: DatabaseUrl, error: psycopg.Error) -> SettingsError:
    """Servers answer in their own language; what is not recognised is passed on as it is."""
    text = printable(" ".join(str(error).split()))
    if "password" in text and ("authentication" in text or "no password supplied" in text):
        return SettingsError(
            f"PostgreSQL at {url.where} does not accept the password of {url.user}",
            next="check DATABASE_URL: dokku config:get APP DATABASE_URL",
        )
    if "does not exist" in text:
        missing = re.search(r'(role|database) "([^"]*)" does not exist', text)
        what = f"{missing[1]} {missing[2]!r}" if missing else "that role or database"
        return SettingsError(f"PostgreSQL at {url.where} has no {what}", next="check DATABASE_URL")
    if "pg_hba.conf" in text or "permission denied" in text:
        return SettingsError(f"PostgreSQL at {url.where} refuses {url.user}: {text}", next="check DATABASE_URL")
    if "startup parameter" in text:
        return SettingsError(
            f"what answers at {url.where} is a pooler, which does not keep sessions: {text}",
            next="let DATABASE_URL lead to PostgreSQL itself",
        )
    return SettingsError(
        f"PostgreSQL at {url.where} cannot be reached: {text}",
        next="check that it runs and that DATABASE_URL names its host and port (on Dokku: dokku postgres:info db)",
    )


def rows(connection: Connection, query: str, /, **parameters: object) -> list[Row]:
    """Run the named statement and return its rows."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement(query), parameters or None).fetchall()


def dict_rows(connection: Connection, query: LiteralString, parameters: Sequence[object] = ()) -> list[Row]:
    """Run a short query and return its rows."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, parameters or None).fetchall()


def scalar(connection: Connection, query: str, /, **parameters: object) -> Any:
    """Run the named statement and return the first column of its first row; None if there is none."""
    row = connection.execute(statement(query), parameters or None).fetchone()
    return row[0] if row else None


def compose(template: LiteralString, **parts: str | sql.Composable) -> sql.Composed:
    """Fill identifiers into `template`: a string stands for one, quoted by the driver."""
    return sql.SQL(template).format(
        **{name: sql.Identifier(part) if isinstance(part, str) else part for name, part in parts.items()}
    )


def literal(value: object) -> sql.Literal:
    return sql.Literal(value)


def run(connection: Connection, template: LiteralString, **parts: str | sql.Composable) -> None:
    """Execute one statement that takes no parameters but names."""
    connection.execute(compose(template, **parts))


def identify(connection: Connection) -> Identity:
    return Identity(**rows(connection, "identify")[0])


def look_after(connection: Connection, me: Identity, role: str) -> None:
    """Let an admin who is no superuser look after the role: end its sessions, give away or drop what it owns, take part
    in its grants. That takes the role's own rights. A superuser has them.

    Since PostgreSQL 16 who makes a role may administer it, and grants itself the rest; until then CREATEROLE is enough
    for everything, and the option is there for the day on which the server is upgraded.
    """
    if not me.superuser:
        options = " WITH INHERIT TRUE, SET TRUE" if me.version >= 160000 else " WITH ADMIN OPTION"
        connection.execute(compose("GRANT {role} TO {me}", role=role, me=me.role) + raw(options))


def may(connection: Connection, privilege: str, table: str) -> bool:
    """Whether this session has the privilege on the table, or on a column of it."""
    row = connection.execute("SELECT has_any_column_privilege(%s, %s)", [table, privilege]).fetchone()
    return bool(row and row[0])


def server_version(connection: Connection) -> str:
    """As people write it: 18.6."""
    number = connection.info.server_version
    return f"{number // 10000}.{number % 10000}"


def scram_verifier(connection: Connection, role: str, password: str) -> str:
    """What the server keeps instead of the password, computed on this side, so that no log of the server sees it."""
    return connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()


@dataclass(frozen=True)
class VersionTable:
    """Where a tool keeps what it has run."""

    name: str
    column: str
    many: int
    """More rows than that are nothing that the tool wrote."""


ALEMBIC = VersionTable("alembic_version", "version_num", MAX_HEADS)
DBMATE = VersionTable("schema_migrations", "version", 10_000)


def schemas(
    connection: Connection, names: Sequence[str], table: VersionTable = ALEMBIC, *, owned: bool = True
) -> list[Row]:
    """What the statement of that name tells of the schemas and of that table in each. `owned`: the schema's owner must
    own it, as in a tenant's schema."""
    return rows(connection, "schemas", names=names, table=table.name, column=table.column, owned=owned)


def read_heads(connection: Connection, schema: str, table: VersionTable = ALEMBIC) -> tuple[str, ...]:
    """The rows of the version table, sorted.

    COPY reads a plain table's rows and does nothing else: it plans no query, so that neither a view nor a rule, a cast,
    a policy or the expression of an index can make a tenant's function run as us. It refuses all that is not a table.
    Call it after `schemas` has found nothing wrong with the table. Raises StateError.
    """
    words, name = "COPY {schema}.{table} ({column}) TO STDOUT", f"{schema}.{table.name}"
    query = compose(words, schema=schema, table=table.name, column=table.column)
    heads: list[str] = []
    try:
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL row_security = off")  # with a policy COPY would plan a query; now it refuses
            with cursor.copy(query) as copy:
                for (head,) in copy.rows():
                    heads.append(str(head or ""))
                    if len(heads) > table.many or len(heads[-1]) > MAX_LENGTH:
                        raise StateError(
                            f"{name} holds what its tool does not write: more rows, or longer ones",
                            next=f"put the table back: tenants restore {schema}",
                        )
    except pg.LockNotAvailable:
        raise Unreadable(
            f"{name} is locked by another session",
            next="find it: SELECT pid, usename, application_name FROM pg_stat_activity WHERE state <> 'idle'",
        ) from None
    except psycopg.Error as error:
        raise Unreadable(f"{name} cannot be read: {printable(error_text(error))}") from None
    return tuple(sorted(filter(None, heads)))


def error_text(error: psycopg.Error) -> str:
    """The server's message in one line, with its detail where there is one."""
    primary = error.diag.message_primary or str(error)
    return " ".join(" ".join(filter(None, (primary, error.diag.message_detail))).split())


def ended(error: psycopg.Error, connection: Connection) -> bool:
    """Whether the session can say nothing more after that error: it is closed, or its transaction was cancelled."""
    return connection.closed or isinstance(error, pg.QueryCanceled | pg.AdminShutdown)


def failed(error: psycopg.Error | TenantsError) -> TenantsError:
    """For what a statement of ours may meet at any time: a connection that ends, a disk that is full. An error that is
    ours is that."""
    if isinstance(error, TenantsError):
        return error
    text = printable(error_text(error))
    if isinstance(error, pg.LockNotAvailable | pg.QueryCanceled):
        return TenantsError(
            f"a statement was given up: {text}",
            next="see who is at work: SELECT pid, usename, application_name FROM pg_stat_activity",
        )
    if isinstance(error, psycopg.OperationalError) and (error.sqlstate or "08")[:2] in ("08", "57"):
        return TenantsError(
            f"PostgreSQL stopped answering: {text}", next="check the server (on Dokku: dokku postgres:logs db)"
        )
    return TenantsError(f"PostgreSQL refused a statement: {text}", next="tenants show NAME says what is there")


def lock_key(name: str) -> int:
    """The advisory lock's key for `name`: 63 bits of its digest, the same on every machine."""
    return int.from_bytes(hashlib.sha256(f"dokku-tenants {name}".encode()).digest()[:8]) >> 1


def environment(url: DatabaseUrl) -> dict[str, str]:
    """What libpq's variables are for that URL: PGHOST, PGUSER, PGPASSWORD, …"""
    found = psycopg.pq.Conninfo.parse(url.text.encode())
    return {option.envvar.decode(): option.val.decode() for option in found if option.envvar and option.val}


def try_lock(connection: Connection, key: int) -> bool:
    """Take the session's lock if it is free. Never waits: a session that waits in pg_advisory_lock holds a snapshot,
    and CREATE INDEX CONCURRENTLY waits for that one in turn."""
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", [key]).fetchone()
    return bool(row and row[0])


def take_lock(connection: Connection, key: int, tenant: str | None) -> bool:
    """`try_lock` for the admin, who ends the sessions of tenants that hold it and are not `tenant`: any role can take
    any advisory lock of the database, and nobody but the admin and that tenant has a reason to."""
    if try_lock(connection, key):
        return True
    ended = False
    for row in rows(connection, "lock_sessions", key=key):  # those that wait would be next
        owner, mark, _ = str(row["role"] or "").partition("~")
        if mark and owner != tenant:
            with suppress(NotAllowed):  # of a role that is not ours: who waits is told who it is
                connection.execute("SELECT pg_terminate_backend(%s)", [row["pid"]])
                ended = True
    for _ in range(20 if ended else 0):
        if try_lock(connection, key):
            return True
        time.sleep(0.005)
    return False


def call_it(connection: Connection, purpose: str) -> None:
    """Give the session another name."""
    connection.execute("SELECT set_config('application_name', %s, false)", [purpose])


def unlock(connection: Connection, key: int) -> None:
    connection.execute("SELECT pg_advisory_unlock(%s)", [key])


_ROLES = lock_key("roles")


@contextmanager
def roles_locked(connection: Connection) -> Iterator[None]:
    """One at a time through all DDL on roles and databases: in parallel it fails, 'tuple concurrently updated'.

    Everything in the block is one transaction. Waits up to 60 s; raises TenantsError after that.
    """
    with databases_locked(connection), connection.transaction():
        yield


@contextmanager
def databases_locked(connection: Connection) -> Iterator[None]:
    """The same without a transaction, in which no database can be made or dropped."""
    poll(lambda: take_lock(connection, _ROLES, None), seconds=60, what="another run of tenants is changing roles")
    try:
        with clearing.way(connection, _another):
            yield
    except (pg.InsufficientPrivilege, pg.FeatureNotSupported) as error:
        raise Refused(
            f"PostgreSQL does not let {connection.info.user} do that: {printable(error_text(error))}",
            next="use the URL of a superuser, or of the role with CREATEROLE that owns the database and has made its "
            "tenants; what that one lacks: tenants audit",
        ) from None
    finally:
        unlock(connection, _ROLES)


def again_if_concurrent(connection: Connection, statement: Callable[[], object]) -> None:
    """Run what changes a row of a catalog that many change, the rights on the database above all, in a transaction of
    its own, or a part of the one that is going on. Who changes the same row at that moment makes it fail, "tuple
    concurrently updated", and then it is tried again: the lock of `roles_locked` keeps out those alone who take it."""
    for attempt in range(20):
        try:
            with connection.transaction():
                statement()
            return
        except pg.InternalError_:
            if attempt == 19:
                raise
            time.sleep(random.uniform(0.01, 0.05))  # noqa: S311


def run_again(connection: Connection, template: LiteralString, **parts: str | sql.Composable) -> None:
    """`run`, for a statement about rights on the database, whose row any tenant can hold."""
    with clearing.way(connection, _another):
        again_if_concurrent(connection, lambda: run(connection, template, **parts))


def poll(ready: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Ask until `ready`, with a little jitter. Raises TenantsError with `what` after `seconds`."""
    end, pause = time.monotonic() + seconds, 0.002
    while not ready():
        if time.monotonic() > end:
            raise TenantsError(f"{what}; waited {seconds:.0f} s for it", next="try again in a minute")
        time.sleep(random.uniform(0.5, 1) * pause)  # noqa: S311
        pause = min(pause * 1.5, 0.1)


def end_sessions(connection: Connection, roles: Sequence[str], *, seconds: float = 30) -> int:
    """End all sessions of the roles and return when they are gone. Returns how many there were. Raises TenantsError if
    they are not."""
    names = list(roles)
    found = int(scalar(connection, "sessions", roles=names)) if names else 0
    if not found:
        return 0
    scalar(connection, "end_sessions", roles=names)
    poll(
        lambda: not scalar(connection, "sessions", roles=names),
        seconds=seconds,
        what=f"sessions of {', '.join(names)} do not end",
    )
    return found


def raw(text: LiteralString) -> sql.SQL:
    """A part of a statement as it is: a constant, or an identity that the server quoted."""
    return sql.SQL(text)


def comma(*names: str) -> sql.Composed:
    """Identifiers with commas between."""
    return sql.SQL(", ").join([sql.Identifier(name) for name in names])
