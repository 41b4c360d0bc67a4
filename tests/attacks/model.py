"""An attack as a row of data: what is tried, by whom, what has to become of it, and what sees to that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Way = Literal["login", "app", "revision", "sql", "bucket", "reader"]
Outcome = Literal["denied", "harmless", "bounded"]

WAYS: dict[Way, str] = {
    "login": "the tenant's own `DATABASE_URL`: any SQL, in sessions that act as the owner of its schema",
    "app": "the login of the app's own role (`--app-role`): any SQL, in sessions that read and write rows",
    "revision": "Python in a revision, deployed with the admin's URL: any SQL as a deploy role, and any code",
    "sql": "a revision that is nothing but SQL, in the one transaction of its deploy",
    "reader": "code in the tenant's schema that runs when a read-only login (`tenants reader`) asks a query",
    "bucket": "who may write into the bucket: an app that was given the storage's credentials",
}

EVERY: tuple[Way, ...] = ("login", "app", "revision", "sql")
SESSIONS: tuple[Way, ...] = ("login", "app", "revision")
"""All but the one transaction of a deploy: for statements that PostgreSQL runs outside of one alone."""
OWNERS: tuple[Way, ...] = ("login", "revision", "sql")
"""All but the app's own role, which may make nothing."""


@dataclass(frozen=True)
class Attack:
    """One attack. It is named by its id in a failure, and told by its title on the page."""

    id: str
    title: str
    """A sentence that somebody understands who does not know this program."""
    code: str
    """SQL, or Python of a revision, or what is forged: each group's runner knows."""
    kept_by: str
    """What keeps it from doing harm."""
    outcome: Outcome = "denied"
    ways: tuple[Way, ...] = EVERY
    expects: tuple[str, ...] = ("42501",)
    """Of a statement that is denied: the SQLSTATE. Another one would mean that it was never really tried."""
    answers: str | None = None
    """Of a statement that does no harm: what it answers, where that is what makes it harmless."""
    rule: str | None = None
    """Of an attack that is bounded: the rule of `tenants audit` that names it."""
    ended_by: str | None = None
    """And the one command by which the admin ends it."""
    held: bool = True
    """Whether a session holds on to it until it is ended."""


@dataclass(frozen=True)
class Group:
    """Attacks of one kind, under a heading of the page."""

    name: str
    attacks: tuple[Attack, ...]
