"""What the use cases tell while they work. They never print: whoever calls them decides what a person sees."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

Stage = Literal[
    "plan",
    "create",
    "lock",
    "snapshot",
    "rehearse",
    "migrate",
    "prove",
    "fetch",
    "restore",
    "nightly",
    "drop",
    "clean",
    "suspend",
    "adopt",
    "drill",
    "move",
    "undo",
    "audit",
]


@dataclass(frozen=True)
class Event:
    """One line of the story. `live` lines are replaced by what follows and shown on a terminal only."""

    tenant: str
    stage: Stage
    text: str
    failed: bool = False
    warning: bool = False
    live: bool = False
    done: int | None = None
    """Of a live one: how many bytes of what it is about have passed,"""
    total: int | None = None
    """and of how many; None where nobody knows."""
    about: bool = False
    """Whether that is no more than a guess."""


Tell = Callable[[Event], None]


def unheard(_: Event) -> None:
    """For those who have nobody to tell."""


def watched(
    pieces: Iterable[bytes], tell: Tell, tenant: str, stage: Stage, text: str, total: int | None = None
) -> Iterator[bytes]:
    """The pieces as they are; how many bytes have passed is told as they do."""
    done = 0
    for piece in pieces:
        done += len(piece)
        tell(Event(tenant, stage, text, live=True, done=done, total=total))
        yield piece
