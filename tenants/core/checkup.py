"""What the doctor finds, and what can be judged without touching anything: environment, versions, clocks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from tenants.core.units import age, seconds

SKEW = timedelta(minutes=1)
"""Clocks that differ by more are told: ids of snapshots have the time in them. S3 refuses at a quarter of an hour."""

MISSED = timedelta(days=2)
"""A night that went well is not to be older."""

NEWEST = 18
"""The newest PostgreSQL that is tested."""

DOKKU = (0, 35, 4)
"""Since then a predeploy that fails stops the deploy, whatever else happens."""

_LEAKS = re.compile(r"\w*_ENV_POSTGRES_PASSWORD|DOKKU_POSTGRES_\w+_URL|POSTGRES_PASSWORD|PGPASSWORD")


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"
    UNKNOWN = "unknown"
    """It could not be looked at; the message says why."""


@dataclass(frozen=True)
class Check:
    """One precondition, and how it was found."""

    name: str
    state: State
    message: str
    next: str | None = None


def ok(name: str, message: str) -> Check:
    return Check(name, State.OK, message)


def warning(name: str, message: str, next: str) -> Check:  # noqa: A002
    return Check(name, State.WARNING, message, next)


def wrong(name: str, message: str, next: str) -> Check:  # noqa: A002
    return Check(name, State.WRONG, message, next)


def unknown(name: str, message: str) -> Check:
    return Check(name, State.UNKNOWN, message)


def leaks(environment: Mapping[str, str], own: str | None, *, known: bool = True) -> Iterator[Check]:
    """The superuser's password in variables that a link of Dokku's puts there. Their names are told, and no value. The
    control app is to have that password; a tenant's app (`own`) is not. Whose this is may not be `known`."""
    found = sorted(name for name, value in environment.items() if value and _LEAKS.fullmatch(name))
    if known and own is None:
        yield ok("environment", "this is the admin's app: it may know the superuser's password")
        return
    if not found:
        yield ok("environment", "no variable has another login's password in it")
    say, whose = (wrong, f"this app, which is {own}'s,") if own else (warning, "this app")
    for name in found:
        by_link = name.endswith("_ENV_POSTGRES_PASSWORD")
        next_ = "dokku postgres:unlink db APP, and reach db over a network, as README says" if by_link else ""
        next_ = next_ or f"dokku config:unset APP {name}"
        yield say("environment", f"{name} gives {whose} the password of the superuser", next_)


def dokku(environment: Mapping[str, str]) -> Check:
    """Whether Dokku stops a deploy at a predeploy that fails. Dokku does not tell an app its version by itself."""
    said = environment.get("DOKKU_VERSION", "").strip()
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", said)
    need = ".".join(map(str, DOKKU))
    if not found:
        return unknown("dokku", f"it does not tell its version here; {need} or later is needed (dokku version)")
    shown = ".".join(found.groups())
    if tuple(map(int, found.groups())) < DOKKU:
        return wrong("dokku", f"Dokku {shown} may go on deploying after a predeploy that failed", f"update to {need}")
    return ok("dokku", f"Dokku {shown} stops a deploy whose migration fails")


def server(version: int) -> Check:
    """Whether this PostgreSQL is one that is tested; `version` is its server_version_num. Older ones are refused."""
    shown = f"PostgreSQL {version // 10000}.{version % 10000}"
    if version // 10000 > NEWEST:
        return warning("server", f"{shown} is newer than what is tested here", "look for an update of dokku-tenants")
    return ok("server", shown)


def clock(whose: str, theirs: datetime, ours: datetime) -> Check:
    """Whether two clocks agree."""
    apart = abs(theirs - ours)
    if apart <= SKEW:
        return ok("clock", f"{whose} has our time, to {seconds(max(1.0, apart.total_seconds()))}")
    words = "ahead of" if theirs > ours else "behind"
    return warning(
        "clock",
        f"the clock of {whose} is {age(apart.total_seconds())} {words} ours, and snapshots are known by their time",
        "let both be set by NTP: timedatectl set-ntp true",
    )


def nights(last: datetime | None, first: datetime | None, now: datetime) -> Check:
    """Whether the nightly run goes on: `last` is the newest that went well, `first` when the oldest tenant was made."""
    what_next = "see why: dokku logs control, or run it by hand: tenants nightly"
    if last is not None:
        old = f"the last night that went well was {age((now - last).total_seconds())} ago"
        return wrong("nightly", old, what_next) if now - last > MISSED else ok("nightly", old)
    if first is None or now - first <= MISSED:
        return ok("nightly", "the first night is yet to come")
    return wrong("nightly", "no night has gone well yet: there are no snapshots but those of deploys", what_next)
