"""Which snapshots are kept. Decided from times and the order of taking; `prune` carries it out.

The rules are those of restic and borg: `last=10` keeps the ten newest, `daily=14` the newest one of each of the last
fourteen days that have any, and so on. Snapshots that were taken on purpose or before a change count apart from those
of the night, so that a day of many deploys does not push the nights out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta

from tenants.core.errors import UsageError
from tenants.core.manifest import Manifest


@dataclass(frozen=True)
class Policy:
    """How many are kept by each rule; 0 for none. In UTC; weeks are those of ISO 8601."""

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0

    def __str__(self) -> str:
        return ",".join(f"{rule.name}={count}" for rule in fields(self) if (count := getattr(self, rule.name)))


NIGHTS = Policy(daily=14, weekly=8, monthly=12)
CHANGES = Policy(last=20, daily=7)

_PERIOD: dict[str, Callable[[datetime], object]] = {
    "hourly": lambda at: (at.date(), at.hour),
    "daily": lambda at: at.date(),
    "weekly": lambda at: tuple(at.isocalendar())[:2],
    "monthly": lambda at: (at.year, at.month),
    "yearly": lambda at: at.year,
}


def parse(text: str, variable: str) -> Policy:
    """`last=3,daily=7`. Raises UsageError, which names the variable; a policy that would keep nothing is none."""
    counts: dict[str, int] = {}
    for part in filter(None, re.split(r"[,\s]+", text)):
        rule, _, count = part.partition("=")
        if rule not in {field.name for field in fields(Policy)} or not re.fullmatch(r"[0-9]{1,5}", count):
            raise UsageError(f"{variable}: {part!r} is no rule of what is kept", next=f"write {variable}={NIGHTS}")
        counts[rule] = int(count)
    if not any(counts.values()):
        raise UsageError(f"{variable} keeps nothing", next=f"write {variable}={NIGHTS}")
    return Policy(**counts)


@dataclass(frozen=True)
class Verdict:
    """What is to become of one snapshot, and why: the rules that keep it; none, and it goes."""

    snapshot: Manifest
    why: tuple[str, ...]


SLACK = timedelta(hours=1)
"""By how much dates may contradict the order of taking: clocks are set."""


def decide(
    snapshots: Sequence[Manifest],
    nights: Policy,
    changes: Policy,
    proven: Collection[str],
    now: datetime,
    by_tenant: Collection[str] = (),
) -> list[Verdict]:
    """What is to become of the snapshots of one tenant, which come in the order in which they were taken.

    Whatever the policies say, the newest one is kept, and the newest of those that a drill has `proven` (ids), and
    every one whose archive another one needs that is kept. A snapshot whose date is not plausible is kept as well, and
    takes no other one's place: a clock was wrong when it was taken, or is wrong now. Those that a tenant took itself
    (`by_tenant`, ids) count apart: a tenant that lies about them displaces none that the admin took.
    """
    kept: dict[str, list[str]] = {m.id: [] for m in snapshots}
    plausible = _plausible(snapshots, now)
    sound_dates = {manifest.id for manifest in plausible}
    for manifest in snapshots:
        if manifest.id not in sound_dates:
            kept[manifest.id].append("its date is not plausible")
    own = [m for m in plausible if m.id in by_tenant]
    others = [m for m in plausible if m.id not in by_tenant]
    for policy, group in (
        (nights, [m for m in others if m.reason == "nightly"]),
        (changes, [m for m in others if m.reason != "nightly"]),
        (changes, own),
    ):
        for manifest in group[max(0, len(group) - policy.last) :] if policy.last else []:
            kept[manifest.id].append("last")
        for rule, period in _PERIOD.items():
            newest = {period(m.created_at.astimezone(UTC)): m.id for m in group}  # the last one of each period wins
            for id_ in list(newest.values())[max(0, len(newest) - getattr(policy, rule)) :]:
                if getattr(policy, rule):
                    kept[id_].append(rule)
    for newest_of in (snapshots, others):
        if newest_of:
            kept[newest_of[-1].id].append("newest")
    if sound := [m.id for m in snapshots if m.id in proven]:
        kept[sound[-1]].append("proven")
    for manifest in snapshots:
        if manifest.archive in kept and kept[manifest.id]:
            kept[manifest.archive].append(f"archive of {manifest.id}")
    return [Verdict(m, tuple(dict.fromkeys(kept[m.id]))) for m in snapshots]


def _plausible(snapshots: Sequence[Manifest], now: datetime) -> list[Manifest]:
    """Those that are neither dated in the future nor before one that was taken earlier."""
    found: list[Manifest] = []
    for manifest in snapshots:
        latest = max((m.created_at for m in found[-1:]), default=manifest.created_at)
        if latest - SLACK <= manifest.created_at <= now + SLACK:
            found.append(manifest)
    return found
