"""Keeps all pending revisions in one transaction, whatever a revision says.

Each transaction begins with a temporary table that breaks a deferred constraint of its own, so that PostgreSQL refuses
to commit it: by COMMIT in a revision's SQL, by `op.get_bind().commit()`, by anything. Just before the one commit that
is meant, the guard mends the constraint. A ROLLBACK takes the table away, so that is noticed too.

`autocommit_block` of Alembic commits what came before it, by design. It is let through, and what it leaves for good is
reported, statement by statement.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, event

Report = Callable[[dict[str, Any]], None]
CONSTRAINT = "a revision must not end its transaction"


class TransactionEnded(Exception):
    """A revision ended the transaction that all pending revisions share."""

    def __init__(self, how: str) -> None:
        super().__init__(
            f"a revision must not end its transaction: it said {how}. All pending revisions are one transaction; "
            "what has to run outside of one goes into `with op.get_context().autocommit_block():`"
        )


class Guard:
    """Watches one connection while `alembic upgrade` uses it."""

    def __init__(self, connection: Connection, report: Report) -> None:
        self._report = report
        self._allowed = self._block = False
        self._began = time.monotonic()
        self.ended: str | None = None
        """How a revision ended the transaction, if one did."""
        self.committed = False
        """Whether something is there to stay already."""
        self._pending: list[str] = []
        """What the transaction has done so far."""
        self.statement = ""
        """The last statement that was sent."""
        event.listen(connection, "begin", self._on_begin)
        event.listen(connection, "commit", self._on_commit)
        event.listen(connection, "rollback", self._on_rollback)
        event.listen(connection, "before_cursor_execute", self._before_statement)
        event.listen(connection, "after_cursor_execute", self._after_statement)

    def allow_commit(self) -> None:
        """The next commit is meant. Raises TransactionEnded if there is nothing whole to commit any more."""
        if self.ended:
            raise TransactionEnded(self.ended)
        self._allowed = True

    def revision_applied(self, *, ctx: MigrationContext, step: Any, **_: object) -> None:
        """Called by Alembic after each revision: the transaction must still be the one that it began in."""
        assert ctx.connection is not None
        raw = _raw(ctx.connection)
        if self.ended or (not raw.autocommit and not _is_armed(raw)):
            raise TransactionEnded(self.ended or "ROLLBACK")
        now = time.monotonic()
        self._report({"event": "applied", "revision": step.up_revision_id, "seconds": now - self._began})
        self._began = now

    def watch_blocks(self, context: MigrationContext) -> None:
        """Let the commit at the beginning of each `autocommit_block` through."""
        original = context.autocommit_block

        @contextmanager
        def autocommit_block() -> Iterator[None]:
            self.allow_commit()
            self._block = True  # what came before is committed now, for good
            with original():
                self._block = False
                yield

        context.autocommit_block = autocommit_block  # type: ignore[method-assign]

    def _on_begin(self, connection: Connection) -> None:
        raw = _raw(connection)
        if raw.autocommit:
            return
        raw.execute(
            f'CREATE TEMPORARY TABLE tenants_transaction (one int CONSTRAINT "{CONSTRAINT}" UNIQUE'
            " DEFERRABLE INITIALLY DEFERRED) ON COMMIT DROP"
        )
        raw.execute("INSERT INTO pg_temp.tenants_transaction VALUES (1), (1)")

    def _on_commit(self, connection: Connection) -> None:
        raw = _raw(connection)
        if raw.autocommit:
            return
        if not self._allowed:
            self.ended = "COMMIT"
            raise TransactionEnded("COMMIT")
        if not _is_armed(raw):
            raise TransactionEnded("ROLLBACK")
        raw.execute(
            "DELETE FROM pg_temp.tenants_transaction WHERE ctid = (SELECT min(ctid) FROM pg_temp.tenants_transaction)"
        )
        self._allowed = False
        self.committed = True
        for statement in self._pending if self._block else []:
            self._report({"event": "stays", "statement": statement})
        self._pending = []

    def _on_rollback(self, _: Connection) -> None:
        self.ended = self.ended or "ROLLBACK"

    def _before_statement(self, _c: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if self.ended:
            raise TransactionEnded(self.ended)
        self.statement = statement

    def _after_statement(self, connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        raw = _raw(connection)
        if not raw.autocommit and raw.info.transaction_status is psycopg.pq.TransactionStatus.IDLE:
            self.ended = "COMMIT or ROLLBACK"
            raise TransactionEnded(self.ended)
        if raw.autocommit:
            self.committed = True
            self._report({"event": "stays", "statement": statement})
        elif statement.lstrip()[:6].upper() != "SELECT" and ".alembic_version" not in statement:
            self._pending.append(statement)


def _raw(connection: Connection) -> psycopg.Connection[Any]:
    raw = connection.connection.dbapi_connection
    assert raw is not None
    return getattr(raw, "driver_connection", None) or raw  # type: ignore[return-value]


def _is_armed(raw: psycopg.Connection[Any]) -> bool:
    """Whether this is still the transaction that the guard armed."""
    try:
        row = raw.execute("SELECT count(*) = 2 FROM pg_temp.tenants_transaction").fetchone()
    except psycopg.errors.UndefinedTable:
        return False
    return bool(row and row[0])
