"""Project code: the one way to run a revision. It runs in the sandbox, and gets a tenant's URL and nothing else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tenants.core.effects import Effects
from tenants.core.names import printable, redacted
from tenants.core.settings import STORAGE_SECRETS
from tenants.edges import children, sandbox
from tenants.edges.follow import LATE, PIECE, follow

_BOOT = str(Path(__file__).parents[1] / "sandboxed" / "boot.py")
Notice = Callable[[str, str], None]
"""Told while project code runs: ("applied", revision), ("waits", the statement that waits for a lock), and ("dropped",
an invalid index)."""

_TOTAL = 4 << 20
_ANSWER = 5
"""Characters of a line with an exit code, of the longest."""
_DRAINED = 256
"""Pieces that are drained from a pipe. More than it holds means that somebody is writing still."""


@dataclass
class Ran:
    """What a run of project code said of itself. It may lie; what it did has to be looked up."""

    code: int | None = None
    """None: it was stopped."""
    stopped: str = ""
    """Why, if that is not that its time was over."""
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
    surroundings: Surroundings,
    warm: Warm | None = None,
    seconds: float,
    secrets: Sequence[str] = (),
    notice: Notice = lambda *_: None,
    now_and_then: Callable[[], None] = lambda: None,
) -> Ran:
    """Run `tenants.sandboxed` with the request: in a process of its own, or forked from one that is `warm`. Ends it
    after `seconds`, and calls `now_and_then` once a second until then. Never raises for what that code does."""
    if warm:
        return warm.run(request, seconds, secrets, notice, now_and_then)
    ran = Ran()
    with _pipe() as (reports, descriptor), _start(surroundings, [descriptor]) as process:
        os.close(descriptor)
        _ask(process, {**request, "report": descriptor})
        assert process.stdin and process.stdout
        with suppress(BrokenPipeError):
            process.stdin.close()
        ear = _Ear(ran, notice, secrets)
        pipes = {reports: ear.listen, process.stdout: ear.keep}
        why = follow(process, pipes, time.monotonic() + seconds, now_and_then)
        if why:
            ran.stopped = "" if why == LATE else why
        else:
            ran.code = process.wait()
            ran.output = ear.output
    return ran


@dataclass(frozen=True)
class Surroundings:
    """What project code sees beside its request."""

    environment: Mapping[str, str]
    readable: Sequence[str]
    hidden: Sequence[str]
    folder: str | None
    """Where it starts."""
    listed: Sequence[str] = ()
    unix_sockets: bool = False
    """Whether the database is behind one."""


def _start(surroundings: Surroundings, descriptors: Sequence[int]) -> AbstractContextManager[sandbox.Confined]:
    return sandbox.start(
        [sys.executable, "-P", _BOOT],
        environment=surroundings.environment,
        readable=surroundings.readable,
        hidden=surroundings.hidden,
        listed=surroundings.listed,
        folder=surroundings.folder,
        stdin=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=descriptors,
        unix_sockets=surroundings.unix_sockets,
    )


def _ask(process: subprocess.Popen[bytes], request: Mapping[str, Any]) -> None:
    assert process.stdin
    with suppress(BrokenPipeError):  # it ended before it listened; its output says why
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()


class Warm:
    """A process of project code that has loaded Alembic and the revisions of one folder, without a request and its
    secrets, and runs each request in a fork of itself. What a request leaves running is ended before the next one."""

    def __init__(self, surroundings: Surroundings, request: Mapping[str, Any]) -> None:
        """`request` is for loading. Begins at once; it is not waited for."""
        self._surroundings, self._request = surroundings, request
        self._stack = ExitStack()
        self._begin()

    def _begin(self) -> None:
        with ExitStack() as stack:
            self._reports, report = stack.enter_context(_pipe())
            self._control, control = stack.enter_context(_pipe())
            self._process = stack.enter_context(_start(self._surroundings, [report, control]))
            for descriptor in (report, control):
                os.close(descriptor)
            self._report = report
            _ask(self._process, {**self._request, "do": "serve", "report": report, "control": control})
            self._stack = stack.pop_all()

    def close(self) -> None:
        self._stack.close()

    def run(
        self,
        request: Mapping[str, Any],
        seconds: float,
        secrets: Sequence[str],
        notice: Notice,
        now_and_then: Callable[[], None],
    ) -> Ran:
        if self._process.poll() is not None:
            self.close()
            self._begin()
        ran = Ran()
        ear, said = _Ear(ran, notice, secrets), bytearray()
        _ask(self._process, {**request, "report": self._report})
        assert self._process.stdout
        pipes = {self._reports: ear.listen, self._process.stdout: ear.keep, self._control: said.extend}
        give_up = time.monotonic() + seconds
        why = follow(self._process, pipes, give_up, now_and_then, lambda: said.endswith(b"\n") or len(said) > _ANSWER)
        sound = not why
        if why:
            ran.stopped = "" if why == LATE else why
        else:
            code = _code(said) if said else self._process.wait()
            sound, ran.code = code is not None, 1 if code is None else code
            ran.output = ear.output
        if sound and self._process.poll() is None:
            children.end_children(self._process.pid)
            children.end_strays()
            sound = _drain(self._reports, self._process.stdout)
        else:
            sound = False
        if not sound:
            self.close()  # and all that it has begun; the next request gets another one
        return ran


def _code(said: bytes | bytearray) -> int | None:
    """The exit code that was told; None if it is none. What revisions do while they are loaded can write there, too."""
    match = re.fullmatch(rb"(-?\d{1,3})\n", bytes(said))
    return int(match[1]) if match else None


def _drain(*pipes: IO[bytes]) -> bool:
    """What a stray has written is nothing that the next request has said. False if there is no end of it."""
    for pipe in pipes:
        with suppress(BlockingIOError):
            for _ in range(_DRAINED):
                if not os.read(pipe.fileno(), PIECE):
                    break
            else:
                return False
    return True


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
        self._ran, self._notice, self._secrets = ran, notice, secrets
        self._line, self._total = b"", 0
        self.printed = b""
        """The end of its output."""

    @property
    def output(self) -> str:
        return printable(redacted(self.printed.decode("utf-8", "replace"), self._secrets)[-4000:]).strip()

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
        except (ArithmeticError, ValueError, KeyError, TypeError, RecursionError):
            return

    def text(self, value: object, length: int) -> str:
        if not isinstance(value, str):
            raise TypeError(value)
        return printable(redacted(value[:_TOTAL], self._secrets)[:length])

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
