"""What revisions do to tables that are there already, as it was seen on a copy: which locks, for how long, and whether
a table was written anew or read from end to end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tenants.core.units import seconds as as_text

MODES = (
    "ACCESS SHARE",
    "ROW SHARE",
    "ROW EXCLUSIVE",
    "SHARE UPDATE EXCLUSIVE",
    "SHARE",
    "SHARE ROW EXCLUSIVE",
    "EXCLUSIVE",
    "ACCESS EXCLUSIVE",
)
"""The table locks of PostgreSQL, the weakest first (https://www.postgresql.org/docs/current/explicit-locking.html)."""

BLOCKING = MODES[4:]
"""Those that keep others from writing, or from reading as well."""

EARLY, NOT_LATE = 0.25, 1.0
"""Seconds after the beginning within which a lock has to be taken on the copy, to be taken first of all when it is for
real: one that comes later would be held for all the work that comes before it, and the app would wait for that. The
second is for those who have met somebody on the way already: they would meet again."""


@dataclass(frozen=True)
class Effect:
    """On one table, by one revision."""

    table: str
    mode: str
    """The strongest lock, one of MODES."""
    after: float
    """Seconds from the beginning of the transaction until it was asked for."""
    held: float
    """Seconds until the transaction ended."""
    first: bool
    """Whether that was in the first transaction: an autocommit_block begins another one."""
    lockable: bool
    """Whether LOCK TABLE takes it: a materialised view it does not."""
    rewritten: bool
    scanned: bool

    def __str__(self) -> str:
        kept = f"{self.table} locked for {as_text(self.held)} ({self.mode})" if self.mode in BLOCKING else self.table
        done = "rewritten" if self.rewritten else "read from end to end" if self.scanned else ""
        return ", ".join(filter(None, (kept, done)))


@dataclass(frozen=True)
class Effects:
    """Of one revision."""

    revision: str
    seconds: float
    tables: tuple[Effect, ...]

    @property
    def telling(self) -> list[Effect]:
        """Those that a running app may notice."""
        return [effect for effect in self.tables if effect.mode in BLOCKING]

    @classmethod
    def of(cls, report: Mapping[str, Any]) -> Effects:
        """From what project code reported, which may be anything: raises ValueError, TypeError or KeyError."""
        tables = [Effect(**table) for table in report["tables"][:1000]]
        found = cls(str(report["revision"])[:200], float(report["seconds"]), tuple(tables))
        for effect in tables:
            numbers = (found.seconds, effect.after, effect.held)
            flags = (effect.first, effect.lockable, effect.rewritten, effect.scanned)
            if (
                not isinstance(effect.table, str)
                or len(effect.table) > 63
                or effect.mode not in MODES
                or not all(isinstance(number, float) and 0 <= number < 1e6 for number in numbers)
                or not all(type(flag) is bool for flag in flags)
            ):
                raise ValueError(effect)
        return found


def to_take_first(found: Iterable[Effects], within: float = EARLY) -> list[tuple[str, str]]:
    """The locks, as (table, mode), that a live run takes before anything else: it waits with empty hands then, and what
    it meets later is its own already."""
    wanted: dict[str, str] = {}
    for effect in (effect for effects in found for effect in effects.telling):
        if effect.first and effect.lockable and effect.after < within:
            wanted[effect.table] = max(wanted.get(effect.table, MODES[0]), effect.mode, key=MODES.index)
    return sorted(wanted.items())


def longest(found: Sequence[Effects]) -> str:
    """In one line, what the app will notice most; empty if nothing."""
    effects = [effect for one in found for effect in one.telling]
    return str(max(effects, key=lambda effect: effect.held)) if effects else ""
