"""What the use cases tell while they work. They never print: whoever calls them decides what a person sees."""

from __future__ import annotations

from collections.abc import Callable
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
    "record",
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
    live: bool = False


Tell = Callable[[Event], None]
