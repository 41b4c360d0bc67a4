"""How we are spoken of: who has called us through something else types that something's commands, not ours."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterable

VARIABLE = "TENANTS_CALLED_AS"
"""Where it says `dokku tenants:`, a command is told as `dokku tenants:undo fruits`."""

OTHERWISE = {"show": "info", "log": "logs", "create": "link SERVICE"}
"""The plugin's words for some of ours."""

OURS_ALONE = {"agent", "init", "live", "run"}
"""What the plugin has no command for."""


class Spoken(io.TextIOWrapper):
    """A stream in which our commands are written as they are typed."""

    def __init__(self, stream: io.TextIOWrapper, called: str, commands: Iterable[str]) -> None:
        stream.flush()
        anew = open(stream.fileno(), "wb", closefd=False)  # noqa: SIM115  # it lives as long as we do
        super().__init__(anew, stream.encoding, stream.errors, line_buffering=True, write_through=True)
        self._called = called
        self._commands = re.compile(rf"(?<![\w:/-])tenants ({'|'.join(sorted(commands))})\b")

    def write(self, text: str, /) -> int:
        super().write(self._commands.sub(lambda found: self._called + OTHERWISE.get(found[1], found[1]), text))
        return len(text)


def as_called(commands: Iterable[str]) -> None:
    """From now on, speak of commands as whoever called us has them."""
    called, names = os.environ.get(VARIABLE), set(commands) - OURS_ALONE
    if called and isinstance(sys.stdout, io.TextIOWrapper) and isinstance(sys.stderr, io.TextIOWrapper):
        sys.stdout, sys.stderr = Spoken(sys.stdout, called, names), Spoken(sys.stderr, called, names)
