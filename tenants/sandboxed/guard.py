"""Keeps all pending revisions in one transaction, whatever a revision says.

Each transaction begins with a temporary table that breaks a deferred constraint of its own, so that PostgreSQL refuses
to commit it: by COMMIT in a revision's SQL, by `op.get_bind().commit()`, by anything. Just before the one commit that
is meant, the guard mends the constraint. A ROLLBACK takes the table away, so that is noticed too.

`autocommit_block` of Alembic commits what came before it, by design. It is let through, and what it leaves for good is
reported, statement by statement.

The first transaction takes the locks that a rehearsal has seen before anything else, within one budget: it waits with
empty hands then, and the app waits behind it for no longer than that.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
from alembic.runtime.migration import MigrationContext
from psycopg import sql
from sqlalchemy import Connection, event

from tenants.core.effects import MODES

Report = Callable[[dict[str, Any]], None]
CONSTRAINT = "a revision must not end its transaction"
_PATIENT = re.compile(r"\bCONCURRENTLY\b", re.IGNORECASE)
"""What waits for others without anybody waiting behind it: its lock lets reads and writes pass."""


class TransactionEnded(Exception):
    """A revision ended the transaction that all pending revisions share."""

    def __init__(self, how: str) -> None:
        super().__init__(
            f"a revision must not end its transaction: it said {how}. All pending revisions are one transaction; "
            "what has to run outside of one goes into `with op.get_context().autocommit_block():`"
        )


class Guard:
    """Watches one connection while `alembic upgrade` uses it."""

    def __init__(
        self,
        connection: Connection,
        report: Report,
        schema: str,
        *,
        lock_ms: int,
        locks: Sequence[Sequence[str]],
        applied: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`locks` are tables of the schema, and the modes to lock them in first; `lock_ms` is the budget for it.
        `applied` is told the id of each revision that has gone well."""
        self._report, self._schema, self._applied = report, schema, applied
        self._lock_ms, self._locks = lock_ms, locks
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
        raw = driver(ctx.connection)
        if self.ended or (not raw.autocommit and not _is_armed(raw)):
            raise TransactionEnded(self.ended or "ROLLBACK")
        now = time.monotonic()
        self._report({"event": "applied", "revision": step.up_revision_id, "seconds": now - self._began})
        self._began = now
        self._applied(step.up_revision_id)

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
        raw = driver(connection)
        if raw.autocommit:
            return
        raw.execute(
            f'CREATE TEMPORARY TABLE tenants_transaction (one int CONSTRAINT "{CONSTRAINT}" UNIQUE'
            " DEFERRABLE INITIALLY DEFERRED) ON COMMIT DROP"
        )
        raw.execute("INSERT INTO pg_temp.tenants_transaction VALUES (1), (1)")
        self._lock_first(raw)

    def _lock_first(self, raw: psycopg.Connection[Any]) -> None:
        """Wait for one of the tables, and take the others as they are, or let go of all and wait for the one that was
        not to be had: with a lock in hand we never wait for another, whichever order the app takes them in.

        Raises LockNotAvailable when the budget is used up. What cannot be locked is left to the revisions.
        """
        end = time.monotonic() + self._lock_ms / 1000
        order = [(table, mode) for table, mode in self._locks if self._may_lock(raw, table)]
        self._locks = ()
        raw.execute("SAVEPOINT tenants_locks")
        while (busy := self._lock(raw, order, end)) is not None:
            raw.execute("ROLLBACK TO SAVEPOINT tenants_locks")
            order.insert(0, order.pop(busy))
        raw.execute("RELEASE SAVEPOINT tenants_locks")
        _set_lock_timeout(raw, self._lock_ms)

    def _lock(self, raw: psycopg.Connection[Any], order: Sequence[tuple[str, str]], end: float) -> int | None:
        """The place of the first table that is not to be had at once; None if all are ours."""
        for place, (table, mode) in enumerate(order):
            self.statement = f"LOCK TABLE {table} IN {mode} MODE"
            words: LiteralString = "LOCK TABLE ONLY {} IN " + MODES[MODES.index(mode)] + " MODE"
            _set_lock_timeout(raw, max(1, int((end - time.monotonic()) * 1000)))
            try:
                table_name = sql.Identifier(self._schema, table)
                raw.execute(sql.SQL(words + (" NOWAIT" if place else "")).format(table_name))
            except psycopg.errors.LockNotAvailable:
                if not place or time.monotonic() > end:
                    raise
                return place
        return None

    def _may_lock(self, raw: psycopg.Connection[Any], table: str) -> bool:
        """Whether the table is there, and LOCK TABLE lets us: an owner that may only insert can still alter it."""
        name = sql.Identifier(self._schema, table).as_string(raw)
        query = "SELECT pg_catalog.has_table_privilege(pg_catalog.to_regclass(%s)::oid, 'UPDATE, DELETE, TRUNCATE')"
        row = raw.execute(query, [name]).fetchone()
        return bool(row and row[0])

    def _on_commit(self, connection: Connection) -> None:
        raw = driver(connection)
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

    def _before_statement(self, connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if self.ended:
            raise TransactionEnded(self.ended)
        self.statement = statement
        if (raw := driver(connection)).autocommit:
            _set_lock_timeout(raw, 0 if _PATIENT.search(statement) else self._lock_ms)

    def _after_statement(self, connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        raw = driver(connection)
        if not raw.autocommit and raw.info.transaction_status is psycopg.pq.TransactionStatus.IDLE:
            self.ended = "COMMIT or ROLLBACK"
            raise TransactionEnded(self.ended)
        if raw.autocommit:
            self.committed = True
            self._report({"event": "stays", "statement": statement})
        elif statement.lstrip()[:6].upper() != "SELECT" and ".alembic_version" not in statement:
            self._pending.append(statement)


def driver(connection: Connection) -> psycopg.Connection[Any]:
    """The driver's connection below SQLAlchemy's: what is executed on it is not one of the revision's statements."""
    below = connection.connection.dbapi_connection
    assert below is not None
    return getattr(below, "driver_connection", None) or below  # type: ignore[return-value]


def _is_armed(raw: psycopg.Connection[Any]) -> bool:
    """Whether this is still the transaction that the guard armed."""
    try:
        row = raw.execute("SELECT count(*) = 2 FROM pg_temp.tenants_transaction").fetchone()
    except psycopg.errors.UndefinedTable:
        return False
    return bool(row and row[0])


def _set_lock_timeout(raw: psycopg.Connection[Any], milliseconds: int) -> None:
    raw.execute("SELECT pg_catalog.set_config('lock_timeout', %s, false)", [f"{milliseconds}ms"])
