"""Serving: whether the release that a deploy has migrated for was ever there. Dokku's postdeploy says so."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from tenants.core.units import age

LIVE_AFTER = timedelta(minutes=15)
"""How long a new release may take to be serving before it is said that it never was."""


def was_never_live(row: Mapping[str, Any], now: datetime) -> bool:
    """Whether a record is that of a deploy that migrated for a release which has had the time to serve, and was never
    marked as live. Where there is no commit there is no release either."""
    return bool(
        row["kind"] in ("deploy", "run")
        and row["outcome"] == "migrated"
        and row["git_rev"]
        and row["live_at"] is None
        and now - row["recorded_at"] > LIVE_AFTER
    )


def words(tenant: str, row: Mapping[str, Any] | None, now: datetime) -> str | None:
    """What is to be told of the last thing that was done to a tenant and did not fail; None if there is nothing."""
    if row is None or row["live_at"] is not None or not row["git_rev"]:
        return None
    at = row["recorded_at"]
    at = datetime.fromisoformat(at) if isinstance(at, str) else at
    if not was_never_live({**row, "recorded_at": at}, now):
        return None
    ago = age((now - at).total_seconds())
    to = f" to {'+'.join(row['to_heads'])}" if row["to_heads"] else ""
    what = f"the release that it was migrated{to} for, {ago} ago, was never marked as live"
    return f"{what}. Undo: tenants undo {tenant}"
