"""Confined programs as child processes: how they are started, and how everything that they leave behind ends.

A program is killed by the kernel when its parent dies (PR_SET_PDEATHSIG, prctl(2)). The kernel takes the *thread* that
forked for the parent, so every program is started by a thread that lives as long as this process: the main thread, or
one that is here for that alone. While a program runs, orphans among its descendants become children of this process
(PR_SET_CHILD_SUBREAPER), which ends them. One lock orders starts and ends, so that no program is taken for a stray
between its start and its registration.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar, cast

from tenants.edges import confine

_PR_SET_CHILD_SUBREAPER = 36

_lock = threading.RLock()
_running: set[int] = set()
"""Confined programs that have not been ended yet."""
_others: set[int] = set()
"""Children of this process that are no strays: those that were there before the first confined program."""

_Popen = subprocess.Popen[bytes]
P = TypeVar("P", bound=_Popen)


class _Starter:
    """A thread that lives as long as this process, and starts programs for threads that do not."""

    def __init__(self) -> None:
        self._orders = queue.SimpleQueue[tuple[Callable[[], _Popen], queue.SimpleQueue[_Popen | BaseException]]]()
        threading.Thread(target=self._serve, name="starter", daemon=True).start()

    def start(self, popen: Callable[[], _Popen]) -> _Popen:
        answer = queue.SimpleQueue[_Popen | BaseException]()
        self._orders.put((popen, answer))
        started = answer.get()
        if isinstance(started, BaseException):
            raise started
        return started

    def _serve(self) -> None:
        while True:
            popen, answer = self._orders.get()
            try:
                answer.put(popen())
            except BaseException as error:  # noqa: BLE001  # raised again in the thread that asked
                answer.put(error)


_starters: dict[int, _Starter] = {}
"""By the process that it belongs to: threads do not go along into a fork."""


def start(popen: Callable[[], P]) -> P:
    """Start a program that lives until `end`, or until this process dies, whichever thread asks for it."""
    with _lock:
        if not _running:
            _others.clear()
            _others.update(_children())
            _adopt_orphans(True)
        if threading.current_thread() is threading.main_thread():
            process = popen()
        else:
            pid = os.getpid()
            if pid not in _starters:
                _starters[pid] = _Starter()
            process = cast("P", _starters[pid].start(popen))
        _running.add(process.pid)
    return process


def end(process: _Popen) -> None:
    """Kill the program and everything that it started, and close its pipes."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.poll() is None:
        process.kill()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            with suppress(OSError):
                pipe.close()
    process.wait()
    with _lock:
        end_strays()
        _running.discard(process.pid)
        if not _running:
            _adopt_orphans(False)


def end_strays() -> None:
    """Kill what confined programs left running. Killing a parent makes its children ours, so this repeats until none
    is left."""
    with _lock:
        while strays := _children() - _running - _others:
            for pid in strays:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for pid in strays:
                with suppress(ChildProcessError):
                    os.waitpid(pid, 0)


def end_children(pid: int) -> None:
    """Kill the children of that child of ours, which goes on. What they have started becomes ours: strays."""
    for child in _children(str(pid)):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(child, signal.SIGKILL)


def run_quietly(argv: list[str]) -> None:
    """Run a program of our own to its end; no other thread takes it for a stray."""
    with _lock:
        subprocess.run(argv, stderr=subprocess.DEVNULL, check=False)


def spare(pid: int) -> None:
    """That child of ours is no stray."""
    _others.add(pid)


def begin_anew() -> None:
    """In a process that was forked from ours: its children are its own, and none of ours is."""
    global _lock  # a thread of the process that we were forked from may have held it
    _lock = threading.RLock()
    _running.clear()
    _others.clear()


def _children(pid: str = "self") -> set[int]:
    """The children of all our threads (proc(5), /proc/PID/task/TID/children), or of that process's; none where there is
    no /proc."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found.update(int(pid) for pid in task.read_text().split())
    return found


def _adopt_orphans(adopt: bool) -> None:
    """Whether orphans of our descendants become our children (prctl(2)); Linux only."""
    if sys.platform == "linux":
        confine.LIBC.prctl(_PR_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0)
