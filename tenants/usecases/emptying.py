"""Emptying a schema that holds more objects than one transaction has locks for.

PostgreSQL locks each object that it drops until the transaction ends, in a table that all sessions of the server share.
So objects go some dozens at a time, those first that nothing else needs: what CASCADE adds to a batch stays small.
"""

from __future__ import annotations

from typing import LiteralString, cast

from tenants.core.events import Event, Tell
from tenants.edges import postgres, sql
from tenants.edges.postgres import Connection

FEW = 500
"""Objects that a schema can hold to be dropped in one transaction."""
BATCH = 50
LISTED = 5000
"""Statements that are asked for at a time."""


def empty(connection: Connection, tenant: str, schema: str, tell: Tell) -> None:
    """Drop what the schema holds, if that is much, in many transactions. Idempotent: what was killed goes on with the
    rest. To be called when no session of the tenant is left, which could make more. Raises DatabaseError."""
    held = postgres.scalar(connection, "held", schema=schema)
    if not held or held <= FEW:
        return
    size, before = BATCH, (list[LiteralString](), 0)
    while (now := (_statements(connection, schema), size)) != before:  # less in a batch is another try
        before = now
        gone, size = _drop(connection, *now)
        held -= gone
        tell(Event(tenant, "drop", f"{max(held, 0):,} objects to go", live=True))


def _statements(connection: Connection, schema: str) -> list[LiteralString]:
    query = f"{sql.statement('adoption_begin')}\n{sql.statement('droppable')}"
    with connection.cursor() as cursor:
        cursor.execute(query, {"schema": schema, "count": LISTED})
        return [cast("LiteralString", row[0]) for row in cursor.fetchall()]


def _drop(connection: Connection, statements: list[LiteralString], size: int) -> tuple[int, int]:
    """Run the statements in batches of `size`. Ends where a batch is too large, and returns how many were run, and the
    size to go on with. Raises DatabaseError where a single statement is too large."""
    for start in range(0, len(statements), size):
        try:
            with connection.transaction():
                connection.execute("; ".join(statements[start : start + size]))
        except postgres.NoRoomForLocks:
            if size == 1:
                raise
            return start, max(size // 5, 1)
    return len(statements), size
