"""Whether rows of a schema were changed between two looks at the server's own counters. Pure.

PostgreSQL counts per table the rows that sessions wrote, committed or not, and the changes that were committed since
the last ANALYZE. A migration that fails rolls its own writes back, so the second number is what tells whether another
transaction has written. The counters do not say who it was: the running app, or a further connection of the migration.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from tenants.core.names import printable

COUNTED_EXACTLY = 150000
"""Since PostgreSQL 15 a session adds what it has counted as it ends, in shared memory. Before, it sends a message that
can be lost."""


@dataclass(frozen=True)
class Table:
    """The counters of one table."""

    attempted: int
    """Rows inserted, updated and deleted, also in transactions that were rolled back."""
    committed: int
    """Changes of rows that were committed since the last ANALYZE."""
    analyzed: int
    """How often it was analyzed."""


@dataclass(frozen=True)
class Rows:
    """What one look has read."""

    tables: Mapping[str, Table]
    sequences: Mapping[str, int]
    """The last value of each sequence; -1 if it has none."""
    version: int
    """Of the server, as a number."""
    counting: bool
    """Whether the server counts (track_counts)."""
    since: str | None
    """When the counters of the database were reset last."""
    sessions: Collection[str] = field(default_factory=frozenset)
    """The tenant's sessions and prepared transactions: what they have not ended is not counted yet."""


@dataclass(frozen=True)
class Verdict:
    """What two looks say of the rows."""

    written: tuple[str, ...] = ()
    """Tables whose rows were changed meanwhile, or might have been."""
    moved: tuple[str, ...] = ()
    """Sequences that are elsewhere. A rollback does not set them back."""
    unknown: str = ""
    """Why nothing can be said of the rows, in words; empty if the counters tell."""

    @property
    def same(self) -> bool:
        """Whether no row has changed: proven, and not merely unseen."""
        return not self.written and not self.unknown


def compare(before: Rows, after: Rows, *, rolled_back: bool) -> Verdict:
    """`rolled_back`: what the migration itself attempted counts as nothing, since its transaction has ended so. Without
    it, as for a command of another tool, attempts count."""
    written = {
        printable(name)
        for name, now in after.tables.items()
        if (was := before.tables.get(name)) is not None and _written(was, now, rolled_back=rolled_back)
    }
    moved = {printable(name) for name, now in after.sequences.items() if before.sequences.get(name, now) != now}
    return Verdict(tuple(sorted(written)), tuple(sorted(moved)), _unknown(before, after))


def _written(was: Table, now: Table, *, rolled_back: bool) -> bool:
    if rolled_back and was.analyzed == now.analyzed:
        return was.committed != now.committed
    return was.attempted != now.attempted


def _unknown(before: Rows, after: Rows) -> str:
    if not (before.counting and after.counting):
        return "the server does not count rows (track_counts is off)"
    if after.version < COUNTED_EXACTLY:
        return "PostgreSQL 14 can lose what it counts"
    fewer = any(
        after.tables[name].attempted < was.attempted for name, was in before.tables.items() if name in after.tables
    )
    if before.since != after.since or fewer:
        return "the server's counters were reset meanwhile"
    if new := sorted(set(after.sessions) - set(before.sessions)):
        return f"sessions of the tenant that began meanwhile go on ({', '.join(printable(one) for one in new[:3])})"
    return ""
