"""What to do when the old release may not live with a pending revision."""

from __future__ import annotations

from enum import StrEnum


class Policy(StrEnum):
    OFF = "off"
    WARN = "warn"
    STOP = "stop"
