"""A command of somebody else's: it runs in the sandbox, and what it prints is passed on, line by line.

It gets the URL of a tenant, and what the caller gives it beside that. Nothing that it prints shows that URL's password.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tenants.core.errors import UsageError
from tenants.core.names import printable, redacted
from tenants.edges import sandbox
from tenants.edges.follow import LATE, PIECE, follow

PASSED_ON, WIDTH = 1000, 1000
"""Lines, and characters of each, that are passed on."""
KEPT = 4000
"""Characters of the end of its output."""


@dataclass(frozen=True)
class Ended:
    """How a command ended. What it did has to be looked up."""

    code: int | None
    """As subprocess has it; None: it was stopped because its time was over."""
    output: str = ""
    """The end of what it printed."""
    why: str = ""
    """Why it did not end by itself, or why that is not known; empty otherwise."""


class Lines:
    """What a command prints, bounded and without secrets: `hear` is told each line."""

    def __init__(self, secrets: Sequence[str], hear: Callable[[str], None]) -> None:
        self._secrets, self._hear = secrets, hear
        self._line, self._count = b"", 0
        self._last = deque[str](maxlen=200)

    def feed(self, data: bytes) -> None:
        """Of a line without an end no more is kept than is shown, so that no part of a secret can be left at a cut."""
        *whole, self._line = (self._line + data).split(b"\n")
        for line in whole:
            self._pass_on(line)
        self._line = self._line[: 2 * PIECE]

    def done(self) -> str:
        """The end of it all."""
        if self._line:
            self._pass_on(self._line)
            self._line = b""
        if self._count > PASSED_ON:
            self._hear(f"… {self._count - PASSED_ON} further lines; the last ones:")
            for line in list(self._last)[-10:]:
                self._hear(line)
        return "\n".join(self._last)[-KEPT:]

    def _pass_on(self, line: bytes) -> None:
        text = printable(redacted(line.decode("utf-8", "replace").rstrip("\r"), self._secrets))
        text = text if len(text) <= WIDTH else text[:WIDTH] + "…"
        self._last.append(text)
        self._count += 1
        if self._count <= PASSED_ON:
            self._hear(text)


def find(name: str, path: str, readable: Sequence[str], hidden: Sequence[str]) -> str:
    """Where the command is that a shell in this folder would start. Raises UsageError if there is none, or none that
    may be started in the sandbox."""
    found = shutil.which(name, path=path)
    if found is None:
        if "/" in name and Path(name).is_file():
            raise UsageError(f"{name} is not executable", next=f"chmod +x {name}, or run it with its shell: sh {name}")
        where = "here" if "/" in name else "in any folder of PATH"
        raise UsageError(f"there is no command {name!r} {where}", next="check its name, and that it is installed here")
    found = str(Path(found).absolute())
    if not sandbox.reaches(found, readable, hidden):
        raise UsageError(
            f"{found} may not be read by what is run: that is the current folder, and where the system keeps programs",
            next="install it into the project's folder, or below /usr or /opt",
        )
    return found


def run(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    readable: Sequence[str],
    hidden: Sequence[str],
    seconds: float,
    secrets: Sequence[str],
    hear: Callable[[str], None],
    listed: Sequence[str] = (),
    unix_sockets: bool = False,
) -> Ended:
    """Run it in the current folder, and end it after `seconds`. When this returns, nothing that it has started runs.
    Never raises for what it does."""
    lines = Lines(secrets, hear)
    with sandbox.start(
        argv,
        environment=environment,
        readable=readable,
        hidden=hidden,
        folder=str(Path.cwd()),
        stderr=subprocess.STDOUT,
        listed=listed,
        unix_sockets=unix_sockets,
    ) as process:
        assert process.stdout
        why = follow(process, {process.stdout: lines.feed}, time.monotonic() + seconds)
        code = None if why else process.wait()
    return Ended(code, lines.done(), "" if why == LATE else why)
