"""Two ways of doing the same thing, gone in turn: how long each takes, and their ratio."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from throwaway_postgres import Server

Way = Callable[[], None]


@dataclass(frozen=True)
class Wanted:
    """Sizes."""

    times: int
    tenants: int
    sample: int
    revisions: int
    megabytes: float


@dataclass(frozen=True)
class Row:
    what: str
    against: str
    ours: float
    theirs: float
    wanted: str

    @property
    def cells(self) -> list[str]:
        return [
            self.what,
            f"{self.ours:.2f} s",
            self.against,
            f"{self.theirs:.2f} s",
            f"{self.ours / self.theirs:.2f} ×",
            self.wanted,
        ]


def timed(way: Callable[..., None], *arguments: object) -> float:
    began = time.monotonic()
    way(*arguments)
    return time.monotonic() - began


def in_turn(times: int, *ways: Way) -> list[float]:
    """The medians of the ways, which are gone in turn; each once before, for the caches."""
    for way in ways:
        way()
    return [median(took) for took in zip(*([timed(way) for way in ways] for _ in range(times)), strict=True)]


@dataclass(frozen=True)
class Bench:
    """Where it is done: a server that flushes, a folder for files, an S3."""

    server: Server
    folder: Path
    endpoint: str
    wanted: Wanted
