"""A terminal: a command runs on it, and what is on its screen in the end can be looked at."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from support import TENANTS

OURS = re.compile(r"\x1b\[(K|[0-9;]*m)")
"""What we write ourselves: take the rest of a line away, and colours."""


@dataclass(frozen=True)
class Screen:
    """What a person has seen when the command has ended with `code`."""

    code: int
    raw: str
    """Every character that the terminal was sent."""
    columns: int

    @property
    def foreign(self) -> str:
        """The control characters that are none of ours."""
        return re.sub(r"[^\x00-\x08\x0b-\x1f\x7f-\x9f]", "", OURS.sub("", self.raw.replace("\r", "")))

    @property
    def lines(self) -> list[str]:
        """What stands there; a line that the terminal has folded is one, as whoever copies it gets it."""
        rows: list[list[str]] = [[]]
        column = 0
        for part in re.split(r"(\x1b\[[0-9;]*[A-Za-z]|\r|\n)", self.raw):
            if part == "\r":
                column = 0
            elif part == "\n":
                rows.append([])
                column = 0
            elif part.startswith("\x1b"):
                if part.endswith("K"):
                    del rows[-1][column:]
            else:
                for character in part:
                    rows[-1][column : column + 1] = [character]
                    column += 1
        return ["".join(row).rstrip() for row in rows]

    def longest_live(self) -> int:
        """Of the lines that were written again, how long the longest one was."""
        live = [OURS.sub("", line) for line in re.split(r"\r\n", self.raw) if "\r" in line]
        return max((len(part) for line in live for part in line.split("\r")[:-1]), default=0)


def on_terminal(
    folder: Path, environment: Mapping[str, str], *arguments: str, columns: int = 100, typed: str = ""
) -> Screen:
    """Run `tenants …` on a terminal of so many columns, to its end."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    if typed:
        os.write(ours, typed.encode())
    with subprocess.Popen(
        [TENANTS, *arguments],
        env={"TERM": "xterm-256color", **environment},
        cwd=folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        seen = b""
        try:
            while data := os.read(ours, 1 << 16):
                seen += data
        except OSError:  # nobody is at the other end any more
            pass
        finally:
            os.close(ours)
    return Screen(process.returncode, seen.decode(), columns)
