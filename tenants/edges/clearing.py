"""Clearing the way: no session of a tenant keeps a change of roles, rights or databases waiting.

A tenant needs no right to hold a row of a shared catalog: a GRANT that grants nothing, in a transaction that stays
open, is enough, and then every statement of ours on that row waits. While such a statement runs, a second session looks
whether it waits for a tenant's, and ends that one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tenants.edges.sql import statement

Session = Any
"""A connection of the driver, which `tenants.edges.postgres` alone knows."""

PATIENCE = 1.5
"""Seconds before the first look: an honest statement on those rows takes milliseconds, and lock_timeout is 5 s."""
AGAIN = 0.2
"""Seconds between looks: who is ended may come back."""


@contextmanager
def way(connection: Session, another: Callable[[Session], Session]) -> Iterator[None]:
    """For as long as the block lasts, end sessions of tenants that the connection waits for; `another` opens the
    session that looks. Roles of tenants have a `~` in their names; no other session is ended. Costs a thread, and a
    session where something waits."""
    over = threading.Event()
    watch = threading.Thread(target=_clear, args=(connection, another, over), daemon=True)
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join()


def _clear(connection: Session, another: Callable[[Session], Session], over: threading.Event) -> None:
    if over.wait(PATIENCE):
        return
    pid = connection.info.backend_pid
    try:
        with another(connection) as session:
            session.execute("SET search_path = pg_catalog")
            while not over.wait(AGAIN):
                session.execute(statement("end_blockers"), {"pid": pid})
    except Exception:  # noqa: BLE001  # whatever fails here, the statement that waits says what it waits for
        return
