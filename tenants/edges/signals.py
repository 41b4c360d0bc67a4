"""Signals: what cleans up is not to be interrupted, or it would leave what it is there to remove."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

_STOPS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def held() -> Iterator[None]:
    """SIGTERM and Ctrl-C come when the block has ended. It is for what takes a second or two: Docker waits for ten."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
