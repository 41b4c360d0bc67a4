"""The tenant's lock: one at a time does something to a tenant, and who waits is told who it is.

It is an advisory lock of PostgreSQL, on a connection of its own. Any role of the database can take any advisory lock,
so it keeps us out of each other's way and is no protection against a neighbour: a stranger who holds it is named.
"""

from __future__ import annotations

import os
import random
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from functools import partial

from tenants.core.errors import Locked, TenantsError
from tenants.core.events import Event, Tell
from tenants.core.names import printable
from tenants.core.settings import LOCK_WAIT
from tenants.edges import postgres
from tenants.edges.postgres import Connection
from tenants.usecases.access import Access

WAIT = LOCK_WAIT


class Lock:
    """A lock that is held. `check` makes sure that it still is."""

    def __init__(self, connection: Connection, tenant: str) -> None:
        self._connection = connection
        self._tenant = tenant

    def check(self) -> None:
        """Raises Locked if the connection that holds it is gone, and the lock with it."""
        try:
            self._connection.execute("SELECT")
        except postgres.DatabaseError:
            raise Locked(
                f"the lock of {self._tenant} was lost: its connection to PostgreSQL ended",
                data="not touched since",
                next="push again",
            ) from None


@contextmanager
def tenant_lock(access: Access, tenant: str, why: str, tell: Tell, wait: float = WAIT) -> Iterator[Lock]:
    """Hold the tenant's lock for the block. `why` is shown to those who wait: deploy, restore, … With the admin's URL a
    neighbour's session that holds it is ended.

    Raises Locked after `wait` seconds, naming the holder, since when it holds it and why.
    """
    host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:16]
    name = f"tenants {why}, since {datetime.now(UTC):%H:%M:%S}Z, {host}/{os.getpid()}"
    with nullcontext(access.locks) if access.locks else postgres.connect(access.settings.database, name) as connection:
        if access.locks:
            postgres.call_it(connection, name)
        key = postgres.lock_key(f"tenant {tenant}")
        give_up = time.monotonic() + wait
        told = False
        take = postgres.try_lock if access.own else partial(postgres.take_lock, tenant=tenant)
        while not take(connection, key):
            who = holder(connection, key)
            if time.monotonic() >= give_up:
                raise Locked(f"{tenant} is locked by {who}", next="wait for it to end, then push again")
            if not told:
                tell(Event(tenant, "lock", f"waiting for {who}"))
                told = True
            time.sleep(random.uniform(0.1, 0.3))  # noqa: S311
        try:
            yield Lock(connection, tenant)
        finally:
            if access.locks:
                with suppress(postgres.DatabaseError):  # its end lets go as well
                    postgres.unlock(connection, key)


def each(
    access: Access,
    names: Iterable[str],
    why: str,
    tell: Tell,
    work: Callable[[str, Lock], object],
    failed: Callable[[str, TenantsError], object],
    *,
    wait: float = WAIT,
) -> None:
    """Do the work for one tenant after the other, each under its lock. One that fails is told to `failed`, and does not
    stop the others."""
    for name in names:
        try:
            with tenant_lock(access, name, why, tell, wait) as lock:
                work(name, lock)
        except (TenantsError, postgres.DatabaseError) as error:
            failed(name, postgres.failed(error))


def holder(connection: Connection, key: int) -> str:
    """Who holds the lock of that key, in words: what for, since when, which session."""
    found = postgres.rows(connection, "lock_holder", key=key)
    if not found:
        return "somebody who has just let go"
    row = found[0]
    role, name = printable(str(row["role"] or "an unknown role")), printable(str(row["name"] or ""))
    if name.startswith("tenants "):
        return f"{name.removeprefix('tenants ')} (role {role}, pid {row['pid']})"
    end_it = f"SELECT pg_terminate_backend({row['pid']})"
    return f"role {role} (pid {row['pid']}), not by this program; an admin can end it: {end_it}"
