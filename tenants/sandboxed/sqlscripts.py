"""Gives Alembic the revisions that are written in SQL, as scripts like those in Python: order, version table, guard and
way back are the same for both."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
from alembic import op
from alembic.script import Script, ScriptDirectory
from alembic.script.revision import RevisionMap
from sqlalchemy.exc import DBAPIError

from tenants.core import sources
from tenants.core.history import parse_revision
from tenants.core.sqlfile import Section, SqlFile, SqlStatement, id_of, message_of, read_sql
from tenants.sandboxed.guard import driver

_LINE_OF_DATA = re.compile(r"^COPY .+?, \w+ (\d+)", re.MULTILINE)


def add(directory: ScriptDirectory) -> None:
    """Let the directory know the SQL files in its folders, beside its own ones."""
    directory.revision_map = RevisionMap(lambda: chain(directory._load_revisions(), _scripts(directory)))


def _scripts(directory: ScriptDirectory) -> Iterator[Script]:
    for folder in map(Path, directory._version_locations):
        names = [file.name for file in folder.iterdir() if sources.is_revision(file.name) and file.is_file()]
        if not any(name.endswith(".sql") for name in names):
            continue  # then Alembic alone reads them
        before = None
        for name in sorted(names):
            text = sources.decode(name, (folder / name).read_bytes())
            if name.endswith(".sql"):
                yield Script(_module(read_sql(name, text), before), id_of(name), str(folder / name))
            before = id_of(name) if name.endswith(".sql") else parse_revision(name, text).id


def _module(sql: SqlFile, before: str | None) -> ModuleType:
    made: Any = ModuleType(f"revision_{id_of(sql.file)}", message_of(sql.file))
    made.revision, made.down_revision = id_of(sql.file), before
    made.upgrade, made.downgrade = _runs("upgrade", sql, sql.up), _runs("downgrade", sql, sql.down)
    return made  # type: ignore[no-any-return]


def _runs(name: str, sql: SqlFile, sections: Sequence[Section]) -> Callable[[], None]:
    def run() -> None:
        for section in sections:
            if section.transaction:
                _run(sql, section)
            else:
                with op.get_context().autocommit_block():
                    _run(sql, section)

    run.__name__ = name  # Alembic speaks of it by that
    return run


def _run(sql: SqlFile, section: Section) -> None:
    """Run the statements one by one, or write them out, as they stand in the file."""
    if op.get_context().as_sql:
        for statement in sql.statements(section):
            op.get_context().impl.static_output(statement.written.replace("\r\n", "\n"))  # for people's terminals
        return
    connection = op.get_bind()
    conforming = driver(connection).info.parameter_status("standard_conforming_strings") != "off"
    for statement in sql.statements(section, conforming=conforming):
        options = {"no_parameters": True, "data": statement.data}
        try:
            connection.exec_driver_sql(statement.text, execution_options=options).close()
        except Exception as error:
            _mark(error, sql.place(_offset(sql, statement, error)))
            raise


def copy(cursor: Any, statement: str, context: Any) -> bool:
    """Hands the lines to a COPY … FROM STDIN, in the place of what would execute it. SQLAlchemy calls it, as the
    engine's `do_execute_no_params`."""
    if (data := context.execution_options.get("data")) is None:
        return False
    with cursor.copy(statement) as lines:
        lines.write(data)
    return True


def _offset(sql: SqlFile, statement: SqlStatement, error: Exception) -> int:
    """Where in the file PostgreSQL sees the fault; else where the statement begins."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(cause, psycopg.Error):
        return statement.start
    if cause.diag.statement_position:
        return statement.start + int(cause.diag.statement_position) - 1
    line = _LINE_OF_DATA.search(cause.diag.context or "") if statement.data else None
    if not line:
        return statement.start
    offset = statement.data_start
    for _ in range(int(line[1]) - 1):
        offset = sql.text.find("\n", offset) + 1
    return offset


def _mark(error: Exception, place: str) -> None:
    error.__dict__["place"] = place


def place_of(error: BaseException) -> str | None:
    """The file, line and column of a SQL revision that the error came from."""
    place = error.__dict__.get("place")
    return place if isinstance(place, str) else None
