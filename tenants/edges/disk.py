"""The server's disk, as far as the server lets us see it."""

from __future__ import annotations

from tenants.edges.postgres import Connection, DatabaseError


def free_disk(connection: Connection) -> int | None:
    """Bytes that are free where the server keeps its data, as df(1) tells a superuser; None where it does not."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("CREATE TEMPORARY TABLE df (line text)")
            connection.execute("COPY pg_temp.df FROM PROGRAM 'df -Pk .'")
            lines = [row[0] for row in connection.execute("SELECT line FROM pg_temp.df").fetchall()]
        return int(lines[-1].split()[3]) * 1024
    except (DatabaseError, IndexError, ValueError):
        return None
