"""What a tenant may take of the server that it shares."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

from tenants.core.errors import UsageError


@dataclass(frozen=True)
class Limits:
    """Limits of a tenant; all but the last two are settings of its logins. Durations and sizes are written as
    PostgreSQL writes them: 30s, 5min, 1GB."""

    connections: int = 20
    statement_timeout: str = "5min"
    lock_timeout: str = "30s"
    idle_timeout: str = "10min"
    """idle_in_transaction_session_timeout"""
    temp_file_limit: str = "1GB"
    """On disk, for each session; only a superuser can set it."""
    size: str = "10GB"
    """Of the schema. PostgreSQL has no such limit: the audit tells who is over it, and `suspend` stops it."""
    objects: int = 5000
    """Tables, indexes, functions, types and the like. PostgreSQL has no such limit either: the audit reports it."""


DEFAULT = Limits()
NAMES = tuple(field.name for field in fields(Limits))
NUMBERS = {"connections": 10_000, "objects": 1_000_000}
"""The limits that are whole numbers, and how large each can be."""


def check(name: str, value: str) -> str:
    """Return the value of the limit. Raises UsageError if PostgreSQL would not take it."""
    units = "kB|MB|GB|TB" if name in ("temp_file_limit", "size") else "ms|s|min|h|d"
    if not re.fullmatch(rf"[1-9][0-9]{{0,8}}({units})", value):
        example = getattr(DEFAULT, name)
        raise UsageError(f"{value!r} is no {name.replace('_', ' ')}", next=f"write it as {example}")
    return value
