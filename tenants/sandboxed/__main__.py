"""Begun by `boot.py`: reads one request from standard input, and reports events as lines of JSON.

{"do": "upgrade", "url": …, "schema": …, "owner": …, "folder": …, "target": …, "path": […], "report": fd, …}
{"do": "downgrade", …}
{"do": "sql", "schema": …, "folder": …, "start": …, "target": …, …}
{"do": "compare", "url": …, "schema": …, "owner": …, "folder": …, "models": …, …}
{"do": "serve", "folder": …, "control": fd, …}: any number of the others, each in a fork
"""

from __future__ import annotations

import io
import json
import os
import random
import sys
import time
import traceback
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import Connection, Dialect, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from tenants.sandboxed import sqlscripts
from tenants.sandboxed.guard import CONSTRAINT, Guard, TransactionEnded, driver
from tenants.sandboxed.serve import serve
from tenants.sandboxed.watch import Watch

Request = dict[str, Any]
_NOT_TO_BE_HAD = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)


class Report:
    """Lines of JSON to the one who asked."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __call__(self, event: dict[str, Any]) -> None:
        os.write(self._descriptor, json.dumps(event).encode() + b"\n")


class NotTheTenant(Exception):
    """The session is not what it has to be before project code may use it."""


class Busy(Exception):
    """An earlier run's session is still migrating."""


def main() -> int:
    request: Request = json.loads(sys.stdin.buffer.readline())
    _prepare()
    sys.path[:0] = request["path"]
    if request["do"] != "serve":
        return _do(request, None)
    loaded = _load(request)
    return serve(request["control"], lambda asked: _do(asked, loaded))


def _prepare() -> None:
    """What takes its time at first and is the same for all requests: SQLAlchemy's dialect, and OpenSSL, with which
    libpq answers when it is asked for a password."""
    _engine()
    with suppress(psycopg.Error):
        psycopg.pq.PGconn.connect_start(b"host=/").encrypt_password(b"", b"", b"scram-sha-256")


@cache
def _engine() -> Engine:
    """SQLAlchemy's engine, which a fork of the one that serves has already. It does not connect by itself."""
    return create_engine("postgresql+psycopg://", poolclass=NullPool)


def _engine_for(request: Request) -> Engine:
    """The same, and its connections are sessions for this request. To be called once in a process."""
    event.listen(_engine(), "do_connect", lambda *_: _session(request))
    return _engine()


def _load(request: Request) -> ScriptDirectory | None:
    """All revisions, as Alembic has them; None if one of them cannot be loaded: whoever needs it is told then."""
    try:
        directory = ScriptDirectory.from_config(_config(request))
        sqlscripts.add(directory)
        for _ in directory.walk_revisions():
            pass
    except BaseException:  # noqa: BLE001  # project code may raise anything, SystemExit included
        return None
    return directory


def _do(request: Request, loaded: ScriptDirectory | None) -> int:
    report = Report(request["report"])
    try:
        if request["do"] == "sql":
            _sql(request, report, loaded)
        elif request["do"] == "compare":
            _compare(request, report)
        else:
            _migrate(request, report, loaded)
    except BaseException as error:  # noqa: BLE001  # project code may raise anything, SystemExit included
        report({"event": "failed", **_describe(error, request["folder"])})
        return 1
    report({"event": "done"})
    return 0


def _config(request: Request, **attributes: Any) -> Config:
    config = Config(attributes={"schema": request["schema"], **attributes})
    here = str(Path(__file__).parent / "environment")
    config.set_main_option("script_location", here.replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", request["folder"].replace("%", "%%"))
    return config


def _run(config: Config, loaded: ScriptDirectory | None, do: str, target: str, *, start: str | None = None) -> None:
    """What Alembic's commands of those names do, with the revisions that are `loaded`; with a `start`, as SQL."""
    directory = loaded or ScriptDirectory.from_config(config)
    config.attributes["loaded"] = loaded is not None
    steps = directory._upgrade_revs if do == "upgrade" else directory._downgrade_revs

    def go(current: Any, _: Any) -> Any:
        return steps(target, current)

    offline = {"as_sql": True, "starting_rev": start} if start else {}
    with EnvironmentContext(config, directory, fn=go, destination_rev=target, **offline):
        directory.run_env()


def _sql(request: Request, report: Report, loaded: ScriptDirectory | None) -> None:
    """Report the SQL; where a revision cannot be rendered, that of those before it, and what it has said itself."""
    config = _config(request)
    config.output_buffer = text = io.StringIO()
    try:
        _run(config, loaded, "upgrade", request["target"], start=request["start"] or "base")
    finally:
        report({"event": "sql", "text": text.getvalue()})


def _compare(request: Request, report: Report) -> None:
    """Report what the models have and the schema has not, or the other way about. The session cannot write."""
    from tenants.sandboxed import autogenerate

    models = autogenerate.load(request["models"])
    with _engine_for(request).connect() as connection:
        autogenerate.compare(connection, models, report)


def _migrate(request: Request, report: Report, loaded: ScriptDirectory | None) -> None:
    """Upgrade or downgrade to the target in one transaction. When a lock is not to be had, all of it is rolled back and
    tried again, with growing pauses, until `lock_seconds` have passed: the app never waits behind us for long."""
    engine = _engine_for(request)
    event.listen(engine, "do_execute_no_params", sqlscripts.copy)
    _find_by_index(engine.dialect, request["schema"])
    give_up = time.monotonic() + request["lock_seconds"]
    for attempt in range(1000):
        with engine.connect() as connection:
            if not attempt:
                _drop_invalid(driver(connection), request["schema"], report)
            watch = Watch(connection, request["schema"], report) if request["watch"] else None
            guard = _guard(connection, request, report, watch, attempt)
            try:
                config = _config(request, connection=connection, guard=guard)
                _run(config, loaded, request["do"], request["target"])
                if watch:
                    watch.close()
                return
            except (DBAPIError, *_NOT_TO_BE_HAD) as error:
                cause = error.orig if isinstance(error, DBAPIError) else error
                locked = isinstance(cause, _NOT_TO_BE_HAD)
                if not locked or guard.committed or time.monotonic() > give_up:
                    error.add_note(guard.statement)
                    raise
                report({"event": "waits", "statement": guard.statement, "attempt": attempt + 1})
        time.sleep(random.uniform(0.5, 1.5) * min(0.2 * 2**attempt, 5))  # noqa: S311


def _find_by_index(dialect: Dialect, ours: str) -> None:
    """Let it look for Alembic's table by the catalog's index. SQLAlchemy asks in words for which PostgreSQL has none:
    it would go through all tables of the database, those of the other tenants as well."""
    otherwise = dialect.has_table

    def has_table(connection: Connection, table_name: str, schema: str | None = None, **more: Any) -> bool:
        if (schema, table_name) != (ours, "alembic_version"):
            return otherwise(connection, table_name, schema, **more)
        name = sql.Identifier(ours, table_name).as_string()
        query = "SELECT pg_catalog.to_regclass(%s) IS NOT NULL"
        return bool(connection.exec_driver_sql(query, (name,)).scalar())

    dialect.has_table = has_table  # type: ignore[method-assign]


def _guard(connection: Connection, request: Request, report: Report, watch: Watch | None, attempt: int) -> Guard:
    """PostgreSQL ends an autovacuum that is in the way, but only of one who has waited for deadlock_timeout. Where ours
    could not be made short, every third attempt has that patience."""
    wait = request["lock_ms"]
    if attempt % 3 == 1:
        query = "SELECT setting::int FROM pg_catalog.pg_settings WHERE name = 'deadlock_timeout'"
        (looks_after,) = driver(connection).execute(query).fetchone() or (0,)
        driver(connection).rollback()
        if wait <= looks_after <= 1000:
            wait = looks_after + 100
    return Guard(
        connection,
        report,
        request["schema"],
        lock_ms=wait,
        locks=request["locks"][attempt > 0],
        applied=watch.applied if watch else lambda _: None,
    )


def _drop_invalid(connection: psycopg.Connection[Any], schema: str, report: Report) -> None:
    """Drop the indexes that a broken CREATE INDEX CONCURRENTLY has left: no query uses them, and the revision that made
    them would find their names taken. Where somebody may be building one now, all of that table's stay."""
    query = """
        SELECT c.relname::text FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
        WHERE i.indrelid = ANY (ARRAY(
                SELECT d.objid FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_namespace n ON n.oid = d.refobjid
                WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                  AND d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND n.nspname = %s))
          AND NOT i.indisvalid AND c.relkind = 'i'
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhrelid = c.oid)
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = c.oid)
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE l.relation = i.indrelid
                          AND l.mode = 'ShareUpdateExclusiveLock' AND l.pid <> pg_catalog.pg_backend_pid())"""
    connection.autocommit = True
    for (name,) in connection.execute(query, [schema]).fetchall():
        connection.execute("SET lock_timeout = 0")  # nobody queues up behind it
        connection.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(schema, name)))
        report({"event": "dropped", "index": name})
    connection.autocommit = False


def _session(request: Request) -> psycopg.Connection[Any]:
    """The session for project code: as the tenant, in its schema, holding the key that says that it is migrating."""
    schema = request["schema"]
    connection = psycopg.connect(
        request["url"], autocommit=True, application_name=f"tenants migrates {schema}", connect_timeout=10
    )
    settings = {
        "search_path": request["search_path"],
        "lock_timeout": f"{request['lock_ms']}ms",
        "statement_timeout": "0",  # the login's own limits are for the app; a migration has one for all of it
        "idle_in_transaction_session_timeout": "0",
        "idle_session_timeout": "0",
        "standard_conforming_strings": "on",  # PostgreSQL's default, which SQLAlchemy and the lexer rely on
        "client_connection_check_interval": "1s",  # when we are killed, the server stops what it does for us
        "default_transaction_read_only": "on" if request["do"] == "compare" else "off",
    }
    if connection.info.server_version >= 170000:
        settings["transaction_timeout"] = "0"
    one = sql.SQL("pg_catalog.set_config(%s, %s, false)")
    query = sql.SQL("SELECT {}").format(sql.SQL(", ").join([one] * len(settings)))
    connection.execute(query, [part for setting in settings.items() for part in setting])
    asking = "SELECT current_user::text, current_schema()::text, pg_catalog.pg_try_advisory_lock(%s)"
    for _ in range(100):
        who, where, locked = connection.execute(asking, [request["key"]]).fetchone() or (None, None, False)
        if (who, where) != (request["owner"], schema):
            raise NotTheTenant(f"the session acts as {who!r} in schema {where!r}")
        if locked:
            connection.autocommit = False
            return connection
        time.sleep(0.1)
    raise Busy("a session of an earlier run is still migrating this schema")


def _describe(error: BaseException, folder: str) -> dict[str, Any]:
    """What a person needs to know of an error: what, in which file and line, at which statement."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    kind, text, statement, sqlstate = type(cause).__name__, str(cause), None, None
    if isinstance(error, DBAPIError):
        statement = error.statement or next(iter(getattr(error, "__notes__", [])), None)
    if isinstance(cause, psycopg.Error):
        diag = cause.diag
        sqlstate = cause.sqlstate
        text = "\n".join(filter(None, (diag.message_primary or text, diag.message_detail, diag.message_hint)))
        if diag.constraint_name == CONSTRAINT:
            kind, text = TransactionEnded.__name__, str(TransactionEnded("COMMIT"))
    elif not isinstance(cause, NotTheTenant | Busy | TransactionEnded) and kind != "NoModels":
        text = f"{kind}: {text}" if text else kind
    where = sqlscripts.place_of(error)
    for frame in traceback.extract_tb(error.__traceback__):
        if _is_theirs(frame.filename, folder):
            where = f"{os.path.relpath(frame.filename, folder)}:{frame.lineno}"
    if isinstance(error, SyntaxError) and error.filename and _is_theirs(error.filename, folder):
        where = f"{os.path.relpath(error.filename, folder)}:{error.lineno}"
    return {"kind": kind, "text": text, "where": where, "statement": statement, "sqlstate": sqlstate}


def _is_theirs(file: str, folder: str) -> bool:
    """Whether it is the project's own, and not a library's that lies below it."""
    return file.startswith(folder + os.sep) and f"{os.sep}site-packages{os.sep}" not in file


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # threads that a revision left must not keep us
