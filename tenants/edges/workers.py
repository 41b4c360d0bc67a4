"""Workers: processes of our own that do the same work on several things at once. They are forked from us.

They die with us: when we are killed, the kernel kills them, and their programs with them. Each has its connections and
programs to itself; what it shares with us is a pipe.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import ForkContext, ForkProcess
from typing import Any

from tenants.edges import children, confine

Work = Callable[["Pipe"], None]
PATIENCE = 60.0
"""Seconds in which a worker that is told to stop has to have cleaned up."""


class Gone(Exception):
    """A worker ended before it answered."""


class Pipe:
    """One end of the pipe between a worker and us. What goes through it is pickled: both ends are ours."""

    def __init__(self, end: Connection[Any, Any], process: ForkProcess | None = None) -> None:
        self._end, self._process = end, process

    def send(self, message: object) -> None:
        """Raises Gone if nobody is there any more."""
        try:
            self._end.send(message)
        except OSError:
            raise Gone(self._ending()) from None

    def receive(self) -> Any:
        """Waits. Raises Gone if the other side has ended."""
        try:
            return self._end.recv()
        except (EOFError, OSError):
            raise Gone(self._ending()) from None

    def close(self) -> None:
        self._end.close()

    def _ending(self) -> str:
        if self._process is None:
            return "it was stopped"
        self._process.join(5)
        code = self._process.exitcode or 0
        return f"its process was killed by signal {-code}" if code < 0 else f"its process ended with exit code {code}"


def ready(pipes: Sequence[Pipe]) -> list[Pipe]:
    """Wait until one of them has something to say, or has ended."""
    ends = {pipe._end: pipe for pipe in pipes}
    return [ends[end] for end in connection.wait(list(ends)) if isinstance(end, Connection)]


@contextmanager
def crew(count: int, work: Work) -> Iterator[list[Pipe]]:
    """Start so many workers. Each calls `work` with its end of the pipe, and ends with it.

    On leaving the block they are told that nothing comes any more, and waited for. When it is left by an error they are
    stopped, and clean up what they have begun.
    """
    context = ForkContext()
    started: list[tuple[ForkProcess, Pipe]] = []
    with ExitStack() as stack:
        try:
            for _ in range(count):
                ours, theirs = context.Pipe()
                others = [pipe for _, pipe in started]
                process = context.Process(target=_begin, args=(work, theirs, ours, others, os.getpid()))
                process.start()
                children.spare(process.pid or 0)
                theirs.close()
                pipe = Pipe(ours, process)
                stack.callback(pipe.close)
                started.append((process, pipe))
            yield [pipe for _, pipe in started]
        except BaseException:
            for process, _ in started:
                process.terminate()
            raise
        finally:
            for _, pipe in started:
                pipe.close()
            for process, _ in started:
                process.join(PATIENCE)
                process.kill()
                process.join()


def _begin(work: Work, end: Connection[Any, Any], ours: Connection[Any, Any], others: list[Pipe], parent: int) -> None:
    if sys.platform == "linux":
        confine.LIBC.prctl(confine.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        return
    ours.close()
    for pipe in others:  # or nobody would notice that the other side has ended
        pipe.close()
    children.begin_anew()
    code = 1
    try:
        with suppress(Gone):
            work(Pipe(end))
        code = 0
    except KeyboardInterrupt:
        code = 143
    finally:
        end.close()
        os._exit(code)  # the connections of the one that we were forked from are not ours to close
