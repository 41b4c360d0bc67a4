"""The screen: whether it is one, how wide, in colour or not; and the one line on it that is written again and again.

In a log, and on a terminal that can do no more, everything is a plain line. Nothing is folded: a terminal folds long
lines itself, and gives back a command whole to whoever copies it.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

import click

from tenants.core.events import Event
from tenants.core.names import printable
from tenants.core.units import seconds, size

EVERY = 0.1
"""Seconds between two states of the live line: more often nobody can read it."""


class NobodyReadsError(Exception):
    """Who reads our answer has gone: `tenants list | head -1`. A quiet end."""


def on_terminal(*, err: bool) -> bool:
    """Whether the stream is a terminal that can do more than take lines."""
    stream = sys.stderr if err else sys.stdout
    return stream is not None and stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def columns() -> int:
    return max(20, shutil.get_terminal_size().columns)


def say(text: str = "", *, err: bool = False, colour: str | None = None, upto: int | None = None) -> None:
    """Lines, whoever has written what is in them: no control character of theirs gets through. The first line, or of it
    what stands before `upto`, is in `colour`, where somebody looks at it on a terminal that has colours, and has not
    asked for none (NO_COLOR)."""
    settle()
    text = printable(text)
    if colour and on_terminal(err=err) and not os.environ.get("NO_COLOR"):
        end = text.partition("\n")[0][:upto]
        text = click.style(end, fg=colour) + text[len(end) :]
    try:
        click.echo(text, err=err)
    except BrokenPipeError:
        if not err:  # that nobody hears how it goes on is no reason to stop
            raise NobodyReadsError from None


def settle() -> None:
    """Take the live line away, if there is one: what is said now begins a line."""
    _live.take_away()


class _Live:
    """The line at the bottom of the terminal that is not there to stay."""

    def __init__(self) -> None:
        self.open = False
        self.shown = 0.0

    def show(self, line: str) -> None:
        with suppress(OSError, ValueError):
            click.echo(f"\r\x1b[K{_cut(printable(line).replace(chr(10), ' '), columns() - 1)}", nl=False, err=True)
        self.open, self.shown = True, time.monotonic()

    def take_away(self) -> None:
        if self.open:
            self.open = False
            with suppress(OSError, ValueError):
                click.echo("\r\x1b[K", nl=False, err=True)


_live = _Live()


def _cut(text: str, width: int) -> str:
    """As much of it as fits: a line that is written again must be one."""
    taken = 0
    for at, character in enumerate(text):
        taken += 0 if unicodedata.combining(character) else 1 + (unicodedata.east_asian_width(character) in "WF")
        if taken > width:
            return text[: at - 1] + "…"
    return text


class Progress:
    """Events on standard error: a line for each. On a terminal the live ones share a line, which tells how far a stage
    is; in a log they are left out. `dated`: in a log each line begins with its time, as RFC 3339 has it.

    Never raises: that nobody reads it any more is no reason to stop what is going on."""

    def __init__(self, names: Sequence[str] = (), *, dated: bool = False) -> None:
        self._width = max((len(name) for name in names), default=0)
        self._terminal = on_terminal(err=True)
        self._dated = dated and not self._terminal
        self._doing: tuple[str, str, str] | None = None
        self._began = 0.0

    def __call__(self, event: Event) -> None:
        self._width = max(self._width, len(event.tenant))
        head = f"{event.tenant:<{self._width}}   {event.stage:<9} "
        if event.live:
            if self._terminal:
                self._show(head, event)
            return
        date = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} " if self._dated else ""
        text = date + head + event.text.replace("\n", "\n    ")
        with suppress(OSError, ValueError):
            say(text, err=True, colour="red" if event.failed else "yellow" if event.warning else None)

    def _show(self, head: str, event: Event) -> None:
        now, doing = time.monotonic(), (event.tenant, event.stage, event.text)
        if doing != self._doing:
            self._doing, self._began = doing, now
        elif now - _live.shown < EVERY:
            return
        _live.show(head + event.text + how_far(event.done, event.total, now - self._began, about=event.about))


def how_far(done: int | None, total: int | None, took: float, *, about: bool = False) -> str:
    """` 12.0 MB of 24.0 MB, 3.1 MB/s, 4 s left`, as far as it is known. What was only guessed is left out when it has
    turned out wrong."""
    if done is None:
        return ""
    if total is not None and done > total:
        total = None
    text = f" {size(done)}" + (f" of {'about ' * about}{size(total)}" if total else "")
    if took < 0.5 or not done:
        return text
    text += f", {size(round(done / took))}/s"
    left = max(1, round((total - done) * took / done)) if total else 0
    return f"{text}, {f'{left} s' if left < 120 else seconds(left)} left" if total and total > done else text
