"""The agent: the control app's one process. It keeps the nightly schedule, and goes on when a push is stopped.

Each run is a process of its own, `tenants nightly`, so that the agent stays small and can be stopped at any moment.
What it does when is decided by the database, which knows what was done: a run that was missed is made up for.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import datetime

from tenants.core import schedule as schedules

RETRY_SECONDS = 900.0
"""After a run that failed the agent tries again, up to the next scheduled one."""

STOP_SECONDS = 20.0
"""How long a run that is told to stop may take to clean up behind itself; Dokku waits 30 s."""


def agent(schedule: str, say: Callable[[str], None]) -> None:
    """Run nightly at each time that `schedule` names, until SIGTERM. To be called in the main thread."""
    schedules.check(schedule)
    stop = threading.Event()
    child: list[subprocess.Popen[bytes]] = []

    def on_signal(*_: object) -> None:
        stop.set()
        for process in child:
            process.terminate()

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, on_signal)
    due = schedules.next_after(schedule, datetime.now().astimezone())
    say(f"agent started; nightly runs next at {due:%Y-%m-%d %H:%M %Z} ({schedule}); a missed run is made up for now")
    while not stop.is_set():
        code = _run(schedule, child, stop)
        if stop.is_set():
            break
        now = datetime.now().astimezone()
        due = schedules.next_after(schedule, now)
        wait = (due - now).total_seconds()
        if code:
            wait = min(wait, RETRY_SECONDS)
            say(f"nightly failed (exit code {code}); tries again in {wait / 60:.0f} min")
        else:
            say(f"next nightly run: {due:%Y-%m-%d %H:%M %Z}")
        stop.wait(wait)
    say("agent stopped")


def _run(schedule: str, child: list[subprocess.Popen[bytes]], stop: threading.Event) -> int:
    """Run nightly to its end, or until we are to stop; returns its exit code."""
    command = [sys.executable, "-P", "-m", "tenants", "nightly", "--schedule", schedule]
    with subprocess.Popen(command) as process:
        child.append(process)
        if stop.is_set():  # it came between
            process.terminate()
        try:
            while True:
                try:
                    return process.wait(timeout=STOP_SECONDS if stop.is_set() else 1)
                except subprocess.TimeoutExpired:
                    if stop.is_set():
                        process.kill()
        finally:
            child.clear()
