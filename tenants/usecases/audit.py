"""Audit: is the separation what it ought to be? Rules over PostgreSQL's catalogs, and the SQL that mends.

What a tenant is wanted to be is written down once, as these rules: those of kind `repair` are what `apply` brings
about, and what `create` leaves behind is what they find nothing wrong with.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Set
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Literal, LiteralString, cast

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


@dataclass(frozen=True)
class Finding:
    rule: Rule
    tenant: str | None
    object: str
    fix: str | None


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


def audit(access: Access, tenants: Iterable[str] = ()) -> list[Finding]:
    """Everything that is not as it ought to be: of the tenants named, or of all and of the database. Writes nothing but
    a newer version of the catalog."""
    access.require_admin("tenants audit")
    if not catalog.version(access.connection):
        return []
    catalog.ensure(access.connection)
    return find(access.connection, access.me.superuser, rules(), set(tenants))


def fix(access: Access, tenants: Iterable[str] = ()) -> list[Finding]:
    """Mend what needs no person, of the tenants named, or of all and of the database. Returns what was mended."""
    access.require_admin("tenants audit --fix")
    catalog.ensure(access.connection)
    with postgres.roles_locked(access.connection):
        return repair(access.connection, access.me.superuser, set(tenants), ("repair", "safe"))


def mend(access: Access, tenant: str) -> list[Finding]:
    """Bring one tenant back to what the catalog wants of it, after its tables have changed."""
    with postgres.roles_locked(access.connection):
        return repair(access.connection, access.me.superuser, {tenant})


def find(connection: Connection, superuser: bool, wanted: Iterable[Rule], tenants: Set[str | None]) -> list[Finding]:
    """What the rules find. Those that read passwords need a superuser and are passed over without."""
    beginning = sql.statement("audit_ours")
    found = []
    for rule in wanted:
        if "pg_authid" in rule.query and not superuser:
            continue
        for row in postgres.dict_rows(connection, f"{beginning}\n{rule.query}"):
            if not tenants or row["tenant"] in tenants:
                found.append(Finding(rule, row["tenant"], printable(row["object"]), row["fix"]))
    return found


def repair(
    connection: Connection, superuser: bool, tenants: Set[str | None], kinds: Iterable[Kind] = ("repair",)
) -> list[Finding]:
    """Run the fixes of those kinds for the tenants named (all, if none is), until the rules find nothing more.

    To be called within `roles_locked`. Returns what was mended. Effects are checked: what the rules still find after
    their fixes ran could not be mended, and stays for `audit`; be it that we may not, or that the tenant itself holds a
    lock on it, which must not keep the others from being mended.
    """
    wanted = [rule for rule in rules() if rule.kind in kinds]
    mended: list[Finding] = []
    for _ in range(3):  # a fix may uncover another one: a role that exists now has no settings yet
        open_ = [f for f in find(connection, superuser, wanted, tenants) if f.fix and f not in mended]
        for finding in open_:
            with suppress(postgres.NotAllowed, *postgres.LockNotToBeHad), connection.transaction():
                connection.execute(cast("LiteralString", finding.fix))
        mended += open_
        if not open_:
            break
    left = find(connection, superuser, wanted, tenants)
    return [finding for finding in mended if finding not in left]
