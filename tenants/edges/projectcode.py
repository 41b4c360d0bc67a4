"""Project code: the one way to run a revision. It runs in the sandbox, and gets a tenant's URL and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tenants.core.effects import Effects
from tenants.core.names import printable
from tenants.core.settings import STORAGE_SECRETS
from tenants.edges import sandbox
from tenants.edges.follow import PIECE, follow

_BOOT = str(Path(__file__).parents[1] / "sandboxed" / "boot.py")
Notice = Callable[[str, str], None]
"""Told while project code runs: ("applied", revision), ("waits", the statement that waits for a lock), and ("dropped",
an invalid index)."""

_TOTAL = 4 << 20


@dataclass
class Ran:
    """What a run of project code said of itself. It may lie; what it did has to be looked up."""

    code: int | None = None
    """None: it was stopped because its time was over."""
    applied: list[str] = field(default_factory=list)
    stays: list[str] = field(default_factory=list)
    """Statements of autocommit blocks: they stay whatever came after."""
    effects: list[Effects] = field(default_factory=list)
    """On tables that were there before, if it was asked to watch."""
    failure: dict[str, str | None] | None = None
    sql: str = ""
    script: dict[str, str] | None = None
    """What a comparison of models has come to: what a revision would do, empty if there is no difference."""
    output: str = ""
    """The end of what it printed."""
    attempts: int = 1


def run(
    request: Mapping[str, Any],
    *,
    environment: Mapping[str, str],
    readable: Sequence[str],
    hidden: Sequence[str],
    listed: Sequence[str] = (),
    folder: str | None,
    seconds: float,
    secrets: Sequence[str] = (),
    notice: Notice = lambda *_: None,
    now_and_then: Callable[[], None] = lambda: None,
) -> Ran:
    """Run `tenants.sandboxed` with the request. Ends it after `seconds`, and calls `now_and_then` once a second until
    then. Never raises for what that code does."""
    ran = Ran()
    with (
        _pipe() as (reports, descriptor),
        sandbox.start(
            [sys.executable, "-P", _BOOT],
            environment=environment,
            readable=readable,
            hidden=hidden,
            listed=listed,
            folder=folder,
            stdin=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[descriptor],
        ) as process,
    ):
        os.close(descriptor)
        assert process.stdin and process.stdout
        try:
            process.stdin.write(json.dumps({**request, "report": descriptor}).encode())
            process.stdin.close()
        except BrokenPipeError:
            pass  # it ended before it listened; its output says why
        ear = _Ear(ran, notice, secrets)
        pipes = {reports: ear.listen, process.stdout: ear.keep}
        if follow(process, pipes, time.monotonic() + seconds, now_and_then):
            ran.code = process.wait()
            ran.output = ear.text(ear.printed.decode("utf-8", "replace")[-4000:], 4000).strip()
    return ran


@contextmanager
def _pipe() -> Iterator[tuple[IO[bytes], int]]:
    """A pipe whose writing end, a descriptor, is for the child; it is closed by whoever has started the child."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as reports:
        yield reports, writing


class _Ear:
    """Notes what project code reports. Whatever is not one of our events is passed over: it can write to that pipe as
    well. Nothing that it says shows the password that it was given."""

    def __init__(self, ran: Ran, notice: Notice, secrets: Sequence[str]) -> None:
        self._ran, self._notice, self._secrets = ran, notice, [secret for secret in secrets if secret]
        self._line, self._total = b"", 0
        self.printed = b""
        """The end of its output."""

    def keep(self, data: bytes) -> None:
        self.printed = (self.printed + data)[-PIECE:]

    def listen(self, data: bytes) -> None:
        """A process that floods us is read on, so that it ends, but not listened to."""
        self._total += len(data)
        if self._total < _TOTAL:
            *whole, self._line = (self._line + data).split(b"\n")
            for one in whole:
                self.hear(one)

    def hear(self, line: bytes) -> None:
        try:
            self._note(json.loads(line))
        except (ValueError, KeyError, TypeError, RecursionError):
            return

    def text(self, value: object, length: int) -> str:
        if not isinstance(value, str):
            raise TypeError(value)
        text = value[:_TOTAL]
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return printable(text[:length])

    def _note(self, event: Any) -> None:
        ran, kind = self._ran, event["event"]
        if kind == "applied":
            ran.applied.append(self.text(event["revision"], 200))
            self._notice("applied", ran.applied[-1])
        elif kind == "stays":
            ran.stays.append(" ".join(self.text(event["statement"], 2000).split()))
        elif kind == "waits":
            ran.attempts += 1
            self._notice("waits", " ".join(self.text(event["statement"], 200).split()))
        elif kind == "dropped":
            self._notice("dropped", self.text(event["index"], 63))
        elif kind == "effects" and len(ran.effects) < 10_000:
            ran.effects.append(Effects.of(event))
        elif kind == "sql":
            ran.sql = self.text(event["text"], _TOTAL)
        elif kind == "script":
            names = ("upgrade", "downgrade", "imports", "notes")
            ran.script = {name: self.text(event[name], _TOTAL) for name in names}
        elif kind == "failed":
            ran.failure = {
                name: None if event.get(name) is None else self.text(event[name], 4000)
                for name in ("kind", "text", "where", "statement", "sqlstate")
            }


def environment_for(environment: Mapping[str, str], *, own: bool) -> dict[str, str]:
    """What project code sees of our environment. With a tenant's own URL (`own`) the code is the app's, and sees
    what the app sees, less the secrets of the storage; with the admin's URL it sees next to nothing."""
    if not own:
        return sandbox.clean_environment(environment)
    return {k: v for k, v in environment.items() if not k.startswith(STORAGE_SECRETS)}
