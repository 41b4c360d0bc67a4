"""Watches what revisions do to tables that were there before, while they run on a copy: after each statement it asks
PostgreSQL which locks the transaction holds, and whether a table has another file or was read from end to end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, event

from tenants.core.effects import MODES
from tenants.sandboxed.guard import driver

Report = Callable[[dict[str, Any]], None]

_TABLES = """
SELECT c.oid::bigint, c.relname::text, c.relkind <> 'm', c.relfilenode::bigint,
       coalesce(pg_catalog.pg_stat_get_xact_numscans(c.oid), 0),
       (SELECT pg_catalog.array_agg(l.mode) FROM pg_catalog.pg_locks l
        WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation' AND l.relation = c.oid AND l.granted
          AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))
FROM pg_catalog.pg_class c
WHERE c.relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = %s) AND c.relkind IN ('r', 'p', 'm')
  AND c.relname <> 'alembic_version'
"""
_NAMES = {mode.title().replace(" ", "") + "Lock": mode for mode in MODES}


@dataclass
class _Table:
    """One that was there before."""

    name: str
    lockable: bool
    file: int
    scans: int = 0
    mode: str = ""
    """The strongest lock so far in this transaction; empty: none."""


@dataclass
class _Effect:
    """Of the revision that runs, on one table."""

    table: _Table
    mode: str
    since: float
    first: bool
    after: float
    held: float | None = None
    rewritten: bool = False
    scanned: bool = False


class Watch:
    """Watches one connection while `alembic upgrade` uses it. `close` reports what was seen, revision by revision."""

    def __init__(self, connection: Connection, schema: str, report: Report) -> None:
        self._schema, self._report = schema, report
        self._tables: dict[int, _Table] | None = None
        self._began = self._statement = self._revision = time.monotonic()
        self._transaction = 0
        self._now: dict[int, _Effect] = {}
        self._done: list[tuple[str, float, list[_Effect]]] = []
        event.listen(connection, "begin", self._on_begin)
        event.listen(connection, "commit", self._on_end)
        event.listen(connection, "before_cursor_execute", self._before_statement)
        event.listen(connection, "after_cursor_execute", self._after_statement)

    def applied(self, revision: str) -> None:
        """To be told after each revision."""
        now = time.monotonic()
        self._done.append((revision, now - self._revision, list(self._now.values())))
        self._now, self._revision = {}, now

    def close(self) -> None:
        self._on_end(None)
        for revision, seconds, effects in self._done:
            tables = [
                {
                    "table": effect.table.name,
                    "mode": effect.mode,
                    "after": effect.after,
                    "held": effect.held or 0.0,
                    "first": effect.first,
                    "lockable": effect.table.lockable,
                    "rewritten": effect.rewritten,
                    "scanned": effect.scanned,
                }
                for effect in effects
            ]
            self._report({"event": "effects", "revision": revision, "seconds": seconds, "tables": tables})

    def _on_begin(self, connection: Connection) -> None:
        if not driver(connection).autocommit:
            self._transaction += 1
            found = driver(connection).execute(_TABLES, [self._schema]).fetchall()
            if self._tables is None:
                self._tables = {oid: _Table(name, lockable, file) for oid, name, lockable, file, _, _ in found}
            for oid, _name, _lockable, _file, scans, _modes in found:
                if table := self._tables.get(oid):
                    table.scans = scans  # those of an earlier transaction may not have been handed on yet
            self._began = time.monotonic()

    def _on_end(self, _: Connection | None) -> None:
        """The transaction ends, and lets go of its locks."""
        now = time.monotonic()
        for effect in [*self._now.values(), *(effect for _, _, effects in self._done for effect in effects)]:
            if effect.held is None:
                effect.held = now - effect.since
        for table in (self._tables or {}).values():
            table.mode = ""

    def _before_statement(self, *_: Any) -> None:
        self._statement = time.monotonic()

    def _after_statement(self, connection: Connection, *_: Any) -> None:
        raw = driver(connection)
        if raw.autocommit or raw.info.transaction_status.name != "INTRANS":
            return  # locks of such a statement are gone with it
        for oid, _name, _lockable, file, scans, modes in raw.execute(_TABLES, [self._schema]).fetchall():
            if table := (self._tables or {}).get(oid):
                self._note(oid, table, file, scans, [_NAMES.get(mode, MODES[0]) for mode in modes or ()])

    def _note(self, oid: int, table: _Table, file: int, scans: int, modes: list[str]) -> None:
        mode = max(modes, key=MODES.index, default="")
        stronger = bool(mode) and (not table.mode or MODES.index(mode) > MODES.index(table.mode))
        rewritten, scanned = file not in (table.file, 0), scans > table.scans
        effect = self._now.get(oid)
        if stronger or (rewritten and effect is None):
            after, first = self._statement - self._began, self._transaction == 1
            before, effect = effect, _Effect(table, mode, self._statement, first, after)
            if before:
                effect.rewritten, effect.scanned = before.rewritten, before.scanned
            self._now[oid], table.mode = effect, mode
        if effect:
            effect.rewritten |= rewritten
            effect.scanned |= scanned
        table.file, table.scans = file or table.file, scans
