"""Exclusive use of the catalog's tables, for its migration: no tenant holds it up.

A tenant reads its own rows of the catalog, so a transaction that it leaves open holds locks that ALTER TABLE waits for.
"""

from __future__ import annotations

from contextlib import suppress

from tenants.core.errors import Locked, TenantsError
from tenants.core.names import CATALOG_SCHEMA, printable
from tenants.edges import postgres
from tenants.edges.postgres import Connection, Row

ATTEMPTS = 10


def lock_tables(connection: Connection, attempt: int) -> None:
    """Lock all tables of the catalog until the transaction ends, so that no later statement of it waits. Waits half a
    second, as new readers queue up behind it; the last attempts wait longer than a second, after which PostgreSQL ends
    an autovacuum that is in the way. Raises `postgres.LockNotToBeHad`."""
    limit = postgres.literal(f"{postgres.LOCK_MS * (1 if attempt < ATTEMPTS - 2 else 3)}ms")
    postgres.run(connection, "SET LOCAL lock_timeout = {limit}", limit=limit)
    names = [row["name"] for row in postgres.rows(connection, "tables_of", schema=CATALOG_SCHEMA)]
    if names:
        tables = postgres.raw(", ").join(
            [postgres.compose("{schema}.{name}", schema=CATALOG_SCHEMA, name=name) for name in names]
        )
        postgres.run(connection, "LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE", tables=tables)


def end_tenants(connection: Connection) -> None:
    """End the sessions of tenants that hold a table of the catalog, and roll back what they have prepared. Sessions of
    the admin and of roles that are not ours go on. To be called outside of a transaction."""
    for row in postgres.rows(connection, "catalog_holders"):
        if row["ours"]:
            with suppress(postgres.NotAllowed):
                if row["gid"] is not None:
                    rollback_prepared(connection, row["gid"], row["role"])
                else:
                    connection.execute("SELECT pg_terminate_backend(%s)", [row["pid"]])


def rollback_prepared(connection: Connection, gid: str, role: str) -> None:
    """Roll back a prepared transaction, as the role that has prepared it. Not within a transaction."""
    postgres.run(connection, "SET ROLE {role}", role=role)
    try:
        postgres.run(connection, "ROLLBACK PREPARED {gid}", gid=postgres.literal(gid))
    finally:
        postgres.run(connection, "RESET ROLE")


def held(connection: Connection) -> TenantsError:
    """The error for a catalog that others hold, which names them."""
    rows = postgres.rows(connection, "catalog_holders")
    pids = [row["pid"] for row in rows if row["pid"] is not None]
    return Locked(
        f"could not update the catalog: {', '.join(map(_words, rows[:3])) or 'another session'} holds a lock on a table"
        f" of schema {CATALOG_SCHEMA}",
        data="the catalog is as it was",
        next=f"SELECT pg_terminate_backend({pids[0]}), or wait, and type the command again" if pids else "try again",
    )


def _words(row: Row) -> str:
    role, name = printable(str(row["role"] or "an unknown role")), printable(str(row["name"] or ""))
    if row["gid"] is not None:
        return f"the prepared transaction {printable(row['gid'])} of {role}"
    return f"pid {row['pid']} ({role}{f', {name!r}' if name else ''})"
