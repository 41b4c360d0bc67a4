"""Audit: is the separation what it ought to be? Rules over PostgreSQL's catalogs, and the SQL that mends.

What a tenant is wanted to be is written down once, as these rules: those of kind `repair` are what `apply` brings
about, and what `create` leaves behind is what they find nothing wrong with.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence, Set
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import groupby
from typing import Literal, LiteralString, cast

from tenants.core.events import Event, Stage, Tell
from tenants.core.identity import Identity
from tenants.core.names import printable
from tenants.edges import catalog, postgres, sql
from tenants.edges.postgres import Connection, Row
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


TOGETHER = 200
"""Fixes that are run in one savepoint. Each savepoint holds a lock until its transaction ends."""
FAILURES = 5
"""Fixes of a tenant that can fail for what its sessions do, before the rest of its fixes wait for the next run."""


def _whose(finding: Finding) -> str:
    return finding.tenant or ""


def _run(connection: Connection, me: Identity, findings: Sequence[Finding]) -> dict[Finding, str]:
    """Run the fixes of one tenant, in the order of the rules. Returns what those that failed would take, in words."""
    failed: dict[Finding, str] = {}
    left = FAILURES
    for start in range(0, len(findings), TOGETHER):
        some = findings[start : start + TOGETHER]
        if len(some) > 1:
            try:
                _execute(connection, some)
            except postgres.DatabaseError as error:
                if postgres.ended(error, connection):
                    raise
            else:
                continue
        for finding in some:  # one of them fails: which?
            if not left:
                failed[finding] = "a run when the tenant's sessions do not change what is to be fixed"
                continue
            try:
                _execute(connection, [finding])
            except postgres.NotAllowed as error:
                failed[finding] = f"more than {me.role}'s rights ({printable(postgres.error_text(error))})"
            except postgres.LockNotToBeHad:
                failed[finding] = "a lock that somebody holds"
                left -= 1
            except postgres.DatabaseError as error:
                if postgres.ended(error, connection):
                    raise
                failed[finding] = f"somebody to look at it ({printable(postgres.error_text(error))})"
                left -= 1
    return failed


def _execute(connection: Connection, findings: Sequence[Finding]) -> None:
    fixes = "; ".join(finding.fix for finding in findings if finding.fix)
    postgres.again_if_concurrent(connection, partial(connection.execute, fixes))


def find(connection: Connection, me: Identity, wanted: Iterable[Rule], tenants: Set[str | None]) -> list[Finding]:
    """What the rules find. Those that read passwords need a superuser and are passed over without."""
    beginning = sql.statement("audit_ours")
    found: list[Finding] = []
    rows: list[Row] = []

    def look(query: LiteralString) -> None:
        rows[:] = postgres.dict_rows(connection, query)

    for rule in wanted:
        if rule.reads_passwords and not me.superuser:
            continue
        query = f"{beginning}\n{rule.query}"
        # an object that goes while the server describes it is an error of the server's, and the next look is without it
        postgres.again_if_concurrent(connection, partial(look, query))
        for row in rows:
            if not tenants or row["tenant"] in tenants:
                found.append(Finding(rule, row["tenant"], printable(row["object"]), row["fix"], row.get("needs")))
    return found


def repair(
    connection: Connection,
    me: Identity,
    tenants: Set[str | None],
    kinds: Iterable[Kind] = ("repair",),
    *,
    only: Set[str] | None = None,
) -> Repaired:
    """Run the fixes of those kinds for the tenants named (all, if none is), until the rules find nothing more. `only`:
    the ids of the rules, if not all.

    To be called within `roles_locked`. Effects are checked: PostgreSQL answers a REVOKE that has done nothing with a
    mere warning. A fix that is known to be out of the admin's reach is not tried. A tenant can keep us from its own
    fixes, by locks or by objects that come and go; it does not keep the others from theirs.
    """
    wanted = [rule for rule in rules() if rule.kind in kinds and (only is None or rule.id in only)]
    tried: dict[Finding, str] = {}
    for _ in range(3):  # a fix may uncover another one: a role that exists now has no settings yet
        found = find(connection, me, wanted, tenants)
        open_ = [finding for finding in found if finding.fix and not finding.needs and finding not in tried]
        tried.update(dict.fromkeys(open_, "somebody to look at it: nothing came of the fix"))
        for _, of_tenant in groupby(sorted(open_, key=_whose), key=_whose):
            tried.update(_run(connection, me, list(of_tenant)))
        if not open_:
            break
    else:
        found = find(connection, me, wanted, tenants)
    still = set(found)
    mended = [finding for finding in tried if finding not in still]
    left = [
        f if f.needs else replace(f, needs=tried.get(f, "somebody to look at it: it was not tried"))
        for f in found
        if f.fix
    ]
    return Repaired(mended, left)
