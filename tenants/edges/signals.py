"""Signals: what cleans up is not to be interrupted, or it would leave what it is there to remove."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_STOPS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def held() -> Iterator[None]:
    """SIGTERM and Ctrl-C come when the block has ended. It is for what takes a second or two: Docker waits for ten.

    They are noted, and not blocked: another thread might be the one that gets them, and programs that are started
    meanwhile would be born deaf.
    """
    if threading.current_thread() is not threading.main_thread():  # where no signal is handled anyway
        yield
        return
    noted: list[int] = []
    before = {number: signal.signal(number, lambda got, _: noted.append(got)) for number in _STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if noted:
            signal.raise_signal(noted[0])
