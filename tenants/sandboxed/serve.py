"""Serves one request after the other, each in a process of its own that begins with everything loaded: Alembic, and the
revisions. What one of them does to itself, the next one does not meet.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4


def serve(control: int, handle: Callable[[dict[str, Any]], int]) -> int:
    """Fork for each line of standard input, and tell how it ended: a line on the descriptor `control`."""
    parent = os.getpid()
    _prctl(_PR_SET_DUMPABLE, 0)  # no fork of ours looks into us, though it has our uid
    gc.collect()
    gc.freeze()  # what is loaded is shared with the forks, and stays so
    while line := sys.stdin.buffer.readline():
        pid = os.fork()
        if pid == 0:
            os.close(control)
            _handle(parent, handle, line)
        _, status = os.waitpid(pid, 0)
        os.write(control, f"{os.waitstatus_to_exitcode(status)}\n".encode())
    return 0


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _handle(parent: int, handle: Callable[[dict[str, Any]], int], line: bytes) -> NoReturn:
    """It dies with the one that it was forked from, and does not see what is asked next."""
    code = 1
    try:
        _prctl(_PR_SET_DUMPABLE, 1)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            os.close(nothing)
            code = handle(json.loads(line))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # threads that a revision left must not keep us
