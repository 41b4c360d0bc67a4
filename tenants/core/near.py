"""Unknown names are answered with those that were meant, maybe."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from tenants.core.names import printable

MANY = 3
_LONGEST, _MOST = 80, 5000
"""What lies beyond is not looked at: comparing takes time."""


def near(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> tuple[str, ...]:
    """Those of the known names, three at most, that are like it, the likeliest first; fit to be printed, wherever they
    come from. Never raises."""
    from difflib import get_close_matches  # most names are known

    names = sorted({one for one in islice(known, _MOST) if one and one != name})
    by_sight = {one[:_LONGEST].lower(): one for one in names}
    found = get_close_matches(name[:_LONGEST].lower(), by_sight, MANY, cutoff)
    return tuple(_shown(by_sight[one]) for one in found)


def _shown(name: str) -> str:
    cut = name if len(name) <= _LONGEST else name[:_LONGEST] + "…"
    return printable(cut).replace("\n", "\\n").replace("\t", "\\t")


def likest(name: str, known: Iterable[str]) -> str | None:
    """The likeliest of them; None where nothing is like it."""
    return next(iter(near(name, known)), None)


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """A question, to be put behind what was said; empty where nothing is like it."""
    found = near(name, known, cutoff=cutoff)
    return f"; did you mean {' or '.join(found)}?" if found else ""
