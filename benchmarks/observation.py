"""What an app lives through while something is done to its data, and how that is told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, TypeVar

from benchmarks.app import Account

Answer = TypeVar("Answer")


@dataclass
class Seen(Generic[Answer]):
    """One deed, as the app saw it. Times are those of `time.monotonic`, and seconds."""

    account: Account
    answer: Answer
    """What the deed had to say of itself."""
    began: float
    ended: float
    stopped: float

    @property
    def rate(self) -> float:
        return len(self.account.since(self.began)) / (self.stopped - self.began)

    @property
    def longest(self) -> float:
        return max(took for _, took, _ in self.account.since(self.began))

    @property
    def longest_read(self) -> float:
        return max(took for _, took, what in self.account.since(self.began) if what.startswith("SELECT"))

    @property
    def calm(self) -> float:
        """The longest wait before it."""
        return max(took for at, took, _ in self.account.waits if at + took < self.began)

    @property
    def slow(self) -> float:
        """So long or less waited 999 of 1000."""
        took = sorted(took for _, took, _ in self.account.since(self.began))
        return took[len(took) * 999 // 1000]

    @property
    def story(self) -> str:
        """What failed, and which statement waited longest, when."""
        at, took, statement = max(self.account.since(self.began), key=lambda wait: wait[1])
        why = ", ".join(f"{count} × {kind}" for kind, count in self.account.failed.items()) or "none failed"
        return (
            f"{why}, {self.account.wrong} wrong; the longest, {took * 1000:.0f} ms, "
            f"{at - self.began:.2f} s after it began, was {statement}."
        )


def observe(app: AbstractContextManager[Account], deed: Callable[[], Answer], calm: float) -> Seen[Answer]:
    """The app lives for `calm` seconds before the deed, and after it."""
    with app as account:
        time.sleep(calm)
        began = time.monotonic()
        answer = deed()
        ended = time.monotonic()
        time.sleep(calm)
    return Seen(account, answer, began, ended, time.monotonic())


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print it as the documentation has it."""
    print(as_table(head, rows))


def as_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown. The first column says what a row is about."""
    lines = ["| " + " | ".join(row) + " |" for row in (head, *rows)]
    lines.insert(1, "|---|" + "---:|" * (len(head) - 1))
    return "\n".join(lines)
