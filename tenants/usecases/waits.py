"""Waits: who is in the way of a migration, told while it waits."""

from __future__ import annotations

from collections.abc import Sequence

from tenants.core.events import Event, Tell
from tenants.core.names import printable, quoted
from tenants.core.units import seconds
from tenants.edges import postgres
from tenants.usecases.access import Access


class Waits:
    """Of one migration. The same wait for the same sessions is told once."""

    def __init__(self, access: Access, tenant: str, tell: Tell) -> None:
        self._access, self._tenant, self._tell = access, tenant, tell
        self._told = set[tuple[object, ...]]()

    def tell_again(self, statement: str) -> None:
        """To be called when the lock that the statement takes was not to be had, and all of it is tried again."""
        self._say(f"a lock is not to be had yet, trying again: {statement[:100]}", self._find_holders())

    def look(self) -> None:
        """To be called now and then: what waits for locks with patience is CREATE INDEX CONCURRENTLY, which every
        transaction on this database that began before it can hold up, be it a backup of another tenant."""
        key = postgres.lock_key(f"migrates {self._tenant}")
        if found := postgres.rows(self._access.connection, "blockers", key=key, seconds=2):
            self._say("waits until an older transaction ends", found)

    def holders(self) -> str:
        """Who holds tables of the tenant now, in words; empty if nobody does."""
        return _named(self._find_holders())

    def _find_holders(self) -> list[postgres.Row]:
        return postgres.rows(self._access.connection, "holders", schema=quoted(self._tenant))

    def _say(self, words: str, sessions: Sequence[postgres.Row]) -> None:
        this = (words, *(row["pid"] for row in sessions))
        if this not in self._told:
            self._told.add(this)
            self._tell(Event(self._tenant, "migrate", words + _named(sessions), warning=True))


def _named(sessions: Sequence[postgres.Row]) -> str:
    """Sessions that are in the way, in words; empty if there are none. Of those of others a tenant sees the pid."""
    words = []
    for row in sessions:
        known = ", ".join(printable(str(row[key])) for key in ("kind", "role", "name", "state") if row[key])
        since = f" for {seconds(row['seconds'])}" if row["seconds"] is not None else ""
        words.append(f"pid {row['pid']}" + (f" ({known}{since})" if known else ""))
    return f"; in the way: {', '.join(words)}" if words else ""
