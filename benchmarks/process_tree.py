"""What a command and all that it starts take: memory, and disk. Read from Linux's /proc while it runs."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

PAUSE = 0.05
"""Seconds between two looks."""
WRITES = os.O_WRONLY | os.O_RDWR
GONE = (FileNotFoundError, ProcessLookupError)


@dataclass
class Taken:
    """Of the whole tree, at its worst moment each. PSS counts a page that processes share once, RSS once for each."""

    seconds: float = 0
    pss: int = 0
    rss: int = 0
    parts: dict[str, int] = field(default_factory=dict)
    """PSS by program, when their sum was at its worst."""
    written: int = 0
    """Bytes that went to a disk, as the kernel counted them for each process up to its end."""
    files: dict[str, int] = field(default_factory=dict)
    """Files on a disk that were open for writing, with the largest size that was seen."""


def watch(process: subprocess.Popen[str]) -> Taken:
    """Wait for the end of the process, which has to be a child of ours, and look at it meanwhile."""
    taken, began = Taken(), time.monotonic()
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            taken.seconds = time.monotonic() - began
            taken.written = usage.ru_oublock * 512  # of it, and of all that was waited for below it
            return taken
        _look(process.pid, taken)
        time.sleep(PAUSE)


def _look(root: int, taken: Taken) -> None:
    parts: dict[str, int] = {}
    rss = 0
    for pid in _tree(root):
        with suppress(*GONE):
            memory = dict(re.findall(r"^(Pss|Rss): +(\d+) kB$", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M))
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            if memory:  # what has ended and is not waited for yet has none
                parts[name] = parts.get(name, 0) + int(memory["Pss"]) * 1024
                rss += int(memory["Rss"]) * 1024
            for file, size in _files(pid):
                taken.files[file] = max(size, taken.files.get(file, 0))
    taken.rss = max(taken.rss, rss)
    if sum(parts.values()) > taken.pss:
        taken.pss, taken.parts = sum(parts.values()), parts


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(*GONE):
            for child in children.read_text().split():
                yield from _tree(int(child))


def _files(pid: int) -> Iterator[tuple[str, int]]:
    """Regular files that are open for writing: no sockets, pipes or devices, nor what lies in memory alone."""
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(*GONE):
            name, found = str(file.readlink()), file.stat()
            if stat.S_ISREG(found.st_mode) and not name.startswith("/memfd:"):
                flags = re.search(r"flags:\s+(\d+)", Path(f"/proc/{pid}/fdinfo/{file.name}").read_text())
                if flags and int(flags[1], 8) & WRITES:
                    yield name, found.st_size
