"""Compatibility: what of the pending revisions the old release may not live with is told before anything is done.

With the admin's URL or a tenant's own; of a tenant that has something already: a first deploy meets no old release.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tenants.core import compatibility
from tenants.core.compatibility import Finding, Lint
from tenants.core.errors import Incompatible, ProgramError, Refused, SettingsError
from tenants.core.events import Event, Tell
from tenants.core.history import Revision
from tenants.core.plan import Action, Plan
from tenants.core.policy import Policy
from tenants.edges import squawk
from tenants.usecases import revisions
from tenants.usecases.access import Access

VARIABLE = "TENANTS_INCOMPATIBLE"
MISSING = f"nobody looks at what the old release may not live with; to have that: {squawk.HOW_TO_GET_IT}"

_SECONDS = 60.0
"""How long a tenant's revisions may take to say their SQL."""
_LONGEST = 1 << 20
_MOST_TOLD = 20

Findings = tuple[Finding, ...]
_found: dict[tuple[Path, tuple[str, ...], str | None], Findings] = {}
"""What was found on the way from one revision to another: it is the same for all tenants of a project."""


def look(access: Access, plan: Plan, folder: Path, policy: Policy | None, text: str | None = None) -> Findings | None:
    """What there is to be told; None where nobody looks: the policy is off, or squawk is not installed.

    Nothing is started where nothing is pending, or nothing is there yet. `text` is the SQL, where it is known. A policy
    of None is that nobody has asked, and means to warn. Raises SettingsError if the policy is to stop, and there is no
    squawk: then nobody could tell when.
    """
    if policy is Policy.OFF:
        return None
    if plan.action is not Action.MIGRATE or plan.empty:
        return ()
    program = squawk.find(os.environ.get("PATH", ""))
    if program is None:
        if policy is Policy.STOP:
            raise SettingsError(
                f"{VARIABLE} is stop, which needs the extra 'lint', and that is not installed",
                next=squawk.HOW_TO_GET_IT,
            )
        return None
    key = _way(plan, folder)
    why: str | None = None
    if text is None and key in _found:
        return _found[key]
    if text is None:
        try:
            text, error = revisions.render(access, plan, folder, seconds=_SECONDS)
            why = error.message if error else None
        except Refused as error:  # project code cannot run here at all
            text, why = "", error.message
    found = _judge(access, plan, text, why, program)
    learn(plan, found, folder)
    return found


def learn(plan: Plan, found: Findings, folder: Path) -> None:
    """Keep what was found on the way of a tenant, for others with the same. What could not be looked at is not kept."""
    if not plan.empty and all(finding.rule for finding in found):
        _found[_way(plan, folder)] = found


def _way(plan: Plan, folder: Path) -> tuple[Path, tuple[str, ...], str | None]:
    return (folder, plan.current, plan.target)


def _judge(access: Access, plan: Plan, text: str, why: str | None, program: Path) -> Findings:
    parts = compatibility.split(text, plan.pending)
    seen, blind = list[tuple[Revision, str, Sequence[Lint]]](), list[Finding]()
    for revision, written in parts:
        sql = compatibility.without_rows(written)
        try:
            found = _lints(program, sql, access.me.version // 10000)
            seen.append((revision, sql, found))
        except ProgramError as error:
            blind.append(compatibility.unseen(revision, error.message))
    missed = plan.pending[len(parts) - bool(why and parts) :]
    if missed:
        rest = f", nor that of the {len(missed) - 1} after it" if len(missed) > 1 else ""
        blind.append(compatibility.unseen(missed[0], why or "it is too long", rest))
    return (*compatibility.judge(seen, plan.tenant), *blind)


def _lints(program: Path, sql: str, server_major: int) -> tuple[Lint, ...]:
    """Raises ProgramError if there is nothing to be found out."""
    if len(sql) > _LONGEST:
        raise ProgramError("it is too long")
    answer = squawk.ask(program, sql, include=compatibility.INCLUDED, server_major=server_major)
    try:
        found = compatibility.lints(answer, sql)
    except ValueError as error:
        raise ProgramError(str(error)) from None
    if why := compatibility.unreadable(found, sql):
        raise ProgramError(why)
    return found


def tell_of(plan: Plan, policy: Policy | None, findings: Findings | None, tell: Tell) -> None:
    """A line for each, where they are not what stops. That nobody looks is told to those who have asked for it."""
    if findings is None and policy is Policy.WARN:
        tell(Event(plan.tenant, "plan", MISSING, warning=True))
    if policy is not Policy.STOP:
        for line in lines(findings or ()):
            tell(Event(plan.tenant, "plan", line, warning=True))


def lines(findings: Findings) -> list[str]:
    """In words, as many as one reads."""
    more = len(findings) - _MOST_TOLD
    return [*map(str, findings[:_MOST_TOLD]), *([f"and {more} more like these"] if more > 0 else [])]


def refusal(plan: Plan, policy: Policy | None, findings: Findings | None) -> Incompatible | None:
    """What stops a deploy, if the policy is to stop. What could not be looked at stops it as well."""
    if policy is not Policy.STOP or not findings:
        return None
    told = "\n".join(lines(findings))
    expand = "only add in this push, and take away in a later one, when no release uses it any more"
    if all(finding.rule is None for finding in findings):
        expand = "look yourself whether the old release can live with it"
    return Incompatible(
        f"the old release may not live with what is pending, and {VARIABLE} is stop:\n{told}",
        data=f"untouched, at {plan.start or 'nothing yet'}",
        next=f"{expand}; to let this push through: {VARIABLE}=warn   (or: tenants deploy --incompatible warn)",
    )
