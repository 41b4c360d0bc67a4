"""Audit: is the separation what it ought to be? Rules over PostgreSQL's catalogs, and the SQL that mends.

What a tenant is wanted to be is written down once, as these rules: those of kind `repair` are what `apply` brings
about, and what `create` leaves behind is what they find nothing wrong with.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Set
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Literal, LiteralString, cast

from tenants.core.events import Event, Stage, Tell
from tenants.core.identity import Identity
from tenants.core.names import printable
from tenants.edges import catalog, postgres, sql
from tenants.edges.postgres import Connection
from tenants.usecases.access import Access

Severity = Literal["critical", "high", "medium", "low"]
Kind = Literal["repair", "safe", "ask"]


@dataclass(frozen=True)
class Rule:
    id: str
    severity: Severity
    kind: Kind
    """repair: `apply` does it. safe: `audit --fix` does it too. ask: a person has to look first."""
    meaning: str
    query: str

    @property
    def reads_passwords(self) -> bool:
        """Only a superuser may."""
        return "rolpassword" in self.query


@dataclass(frozen=True)
class Finding:
    rule: Rule
    tenant: str | None
    object: str
    fix: str | None
    needs: str | None = None
    """Who can run the fix, in words, where the admin may not."""


@dataclass(frozen=True)
class Repaired:
    """What became of the findings that have a fix."""

    mended: list[Finding]
    left: list[Finding]
    """Those whose fix the admin may not run; each says who can."""


@cache
def rules() -> tuple[Rule, ...]:
    """All rules, in the order of the file."""
    found = []
    for name, text in sql.statements("rule_").items():
        head, _, query = text.strip().partition("\n")
        match = re.fullmatch(r"-- (critical|high|medium|low) (repair|safe|ask): (.+)", head)
        assert match, f"rule {name} has no line that says what it means"
        id_ = name.removeprefix("rule_").replace("_", "-")
        found.append(Rule(id_, cast("Severity", match[1]), cast("Kind", match[2]), match[3], query))
    return tuple(found)


def audit(access: Access, tenants: Collection[str] = ()) -> list[Finding]:
    """Everything that is not as it ought to be: of the tenants named, or of all and of the database. Writes nothing but
    a newer version of the catalog. Raises UnknownName."""
    access.require_admin("tenants audit")
    for name in tenants:
        access.entry(name)
    if not catalog.version(access.connection):
        return []
    catalog.ensure(access.connection)
    return find(access.connection, access.me, rules(), set(tenants))


def passed_over(access: Access) -> list[str]:
    """The rules that nobody has looked at: those that read passwords, where the admin is no superuser."""
    return [] if access.me.superuser else [rule.id for rule in rules() if rule.reads_passwords]


def fix(access: Access, tenants: Collection[str], tell: Tell) -> Repaired:
    """Mend what needs no person, of the tenants named, or of all and of the database. Raises UnknownName."""
    access.require_admin("tenants audit --fix")
    for name in tenants:
        access.entry(name)
    catalog.ensure(access.connection)
    wanted = set(tenants)
    with postgres.roles_locked(access.connection):
        if not wanted:
            tell_ways_in(access, "audit", tell)
        return repair(access.connection, access.me, wanted, ("repair", "safe"))


def tell_ways_in(access: Access, stage: Stage, tell: Tell) -> None:
    """Before PUBLIC loses its reach: who comes in through it alone, what that opens, and that it is kept by name."""
    rule = [rule for rule in rules() if rule.id == "public-ways-in"]
    for finding in find(access.connection, access.me, rule, set()):
        tell(Event("PUBLIC", stage, f"loses its reach, but by name this is kept: {finding.object}"))


def mend(access: Access, *tenants: str) -> list[Finding]:
    """Bring tenants back to what the catalog wants of them, after their tables have changed."""
    with postgres.roles_locked(access.connection):
        return repair(access.connection, access.me, set(tenants)).mended


def find(connection: Connection, me: Identity, wanted: Iterable[Rule], tenants: Set[str | None]) -> list[Finding]:
    """What the rules find. Those that read passwords need a superuser and are passed over without."""
    beginning = sql.statement("audit_ours")
    found = []
    for rule in wanted:
        if rule.reads_passwords and not me.superuser:
            continue
        for row in postgres.dict_rows(connection, f"{beginning}\n{rule.query}"):
            if not tenants or row["tenant"] in tenants:
                found.append(Finding(rule, row["tenant"], printable(row["object"]), row["fix"], row.get("needs")))
    return found


def repair(
    connection: Connection, me: Identity, tenants: Set[str | None], kinds: Iterable[Kind] = ("repair",)
) -> Repaired:
    """Run the fixes of those kinds for the tenants named (all, if none is), until the rules find nothing more.

    To be called within `roles_locked`. Effects are checked: PostgreSQL answers a REVOKE that has done nothing with a
    mere warning. A fix that is known to be out of the admin's reach is not tried; one that the tenant itself keeps us
    from, by a lock on what is to be mended, does not keep the others from being mended.
    """
    wanted = [rule for rule in rules() if rule.kind in kinds]
    tried: dict[Finding, str] = {}
    for _ in range(3):  # a fix may uncover another one: a role that exists now has no settings yet
        found = find(connection, me, wanted, tenants)
        open_ = [finding for finding in found if finding.fix and not finding.needs and finding not in tried]
        for finding in open_:
            tried[finding] = "somebody to look at it: nothing came of the fix"
            try:
                fix = cast("LiteralString", finding.fix)
                postgres.again_if_concurrent(connection, partial(connection.execute, fix))
            except postgres.NotAllowed as error:
                tried[finding] = f"more than {me.role}'s rights ({printable(postgres.error_text(error))})"
            except postgres.LockNotToBeHad:
                tried[finding] = "a lock that somebody holds"
        if not open_:
            break
    else:
        found = find(connection, me, wanted, tenants)
    mended = [finding for finding in tried if finding not in found]
    left = [
        f if f.needs else replace(f, needs=tried.get(f, "somebody to look at it: it was not tried"))
        for f in found
        if f.fix
    ]
    return Repaired(mended, left)
