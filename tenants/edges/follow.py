"""Following a program: what it writes into its pipes is heard while it runs, and no longer than it may."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable, Mapping
from typing import IO

from tenants.edges.sandbox import Confined

PIECE = 1 << 16
LATE = "its time is over"


def follow(
    process: Confined,
    pipes: Mapping[IO[bytes], Callable[[bytes], None]],
    end: float,
    now_and_then: Callable[[], None] = lambda: None,
    over: Callable[[], bool] | None = None,
) -> str:
    """Hear what comes from each pipe until the process has ended, or what it was asked for is `over`; empty then. Else
    it has to be stopped, and this says why: the time is over (`LATE`), or it writes too much. `now_and_then` is called
    once a second until then. What it leaves in the background is not waited for."""
    with selectors.DefaultSelector() as selector:
        for pipe, hear in pipes.items():
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, selectors.EVENT_READ, hear)
        ended: float | None = None
        looked = measured = time.monotonic()
        while selector.get_map() or ended is None:
            now = time.monotonic()
            if now > end:
                return LATE
            if now > measured + 0.1:
                if excess := process.excess():
                    return excess
                measured = time.monotonic()
            if ended is None and (process.poll() is not None or (over and over())):
                ended = now
            if ended is None and now > looked + 1:
                now_and_then()
                looked = time.monotonic()
            if ended is not None and now > ended + 1:
                break  # something that it left in the background goes on writing
            wait = 0.0 if over and ended is not None else 0.1  # its pipes stay open
            ready = selector.select(wait) if selector.get_map() else []
            if not ready:
                if ended is not None:
                    break
                if not selector.get_map():
                    time.sleep(0.02)
            for key, _ in ready:
                if data := os.read(key.fd, PIECE):
                    key.data(data)
                else:
                    selector.unregister(key.fileobj)
    return ""
