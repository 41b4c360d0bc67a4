"""audit."""

from __future__ import annotations

from collections import Counter

import click

from tenants.cli import options, render
from tenants.core.errors import Pending
from tenants.core.units import counted
from tenants.usecases import audit as audits


@click.command()
@click.argument("tenant", nargs=-1, shell_complete=options.names)
@click.option("--fix", is_flag=True, help="Mend what can be mended without a person looking at it first.")
@click.option("--rules", is_flag=True, help="List the rules and what they mean.")
@options.as_json
def audit(tenant: tuple[str, ...], fix: bool, rules: bool, as_json: bool) -> int:
    """Check the separation of all tenants, or of those named. Exits with 3 if something is wrong."""
    if rules:
        found_rules = [
            {"id": r.id, "severity": r.severity, "kind": r.kind, "meaning": r.meaning} for r in audits.rules()
        ]
        if as_json:
            render.answer({"rules": found_rules})
        else:
            render.table(("RULE", "SEVERITY", "MEANS"), [(r["id"], r["severity"], r["meaning"]) for r in found_rules])
        return 0
    with options.access("audit") as access:
        repaired = audits.fix(access, tenant, render.Progress()) if fix else audits.Repaired([], [])
        mended, tried = repaired.mended, {(left.rule, left.object): left for left in repaired.left}
        findings = [tried.get((found.rule, found.object), found) for found in audits.audit(access, tenant)]
        passed_over = audits.passed_over(access)
    if as_json:
        render.answer(
            {
                "findings": [_document(f) for f in findings],
                "mended": [_document(f) for f in mended],
                "passed_over": passed_over,
            }
        )
    else:
        shown, more = _first(mended)
        for finding in shown:
            render.say(f"mended    {finding.rule.id}: {finding.object}")
        for words in more:
            render.say(f"mended    {words}")
        shown, more = _first(findings)
        for finding in shown:
            render.say(
                f"{finding.rule.severity:<9} {finding.tenant or 'database'}   {finding.rule.id}: {finding.object}"
            )
            render.say(f"          {finding.rule.meaning}")
            if finding.fix:
                render.say(f"          {finding.fix};")
            if finding.needs:
                render.say(f"          That takes {finding.needs}.")
        for words in more:
            render.say(f"more      {words}")
        if passed_over:
            render.say(
                f"passed over, since they read passwords, which takes a superuser: {', '.join(passed_over)}", err=True
            )
        if not findings:
            render.say("nothing is wrong")
    if not findings:
        return 0
    found = Pending(f"the audit has {counted(len(findings), 'finding')}", next=_next(findings, fix=fix))
    render.fail(found)
    return found.exit_code


LISTED = 20
"""Findings of one rule and one tenant that are listed; --json has all."""


def _first(findings: list[audits.Finding]) -> tuple[list[audits.Finding], list[str]]:
    """The findings that are listed, and words for those that are not."""
    counts: Counter[tuple[str, str]] = Counter()
    shown = []
    for finding in findings:
        counts[finding.tenant or "database", finding.rule.id] += 1
        if counts[finding.tenant or "database", finding.rule.id] <= LISTED:
            shown.append(finding)
    more = [
        f"{tenant}   {rule}: {counted(count - LISTED, 'finding')} more; all of them: tenants audit --json"
        for (tenant, rule), count in counts.items()
        if count > LISTED
    ]
    return shown, more


def _next(findings: list[audits.Finding], *, fix: bool) -> str:
    if not fix and any(f.fix and not f.needs and f.rule.kind != "ask" for f in findings):
        return "tenants audit --fix"
    if all(f.needs for f in findings):
        return "have the server's owner run the SQL; where nobody can, docs/design.md says what it means"
    return "look at each, and run its SQL as the admin"


def _document(finding: audits.Finding) -> dict[str, str | None]:
    return {
        "rule": finding.rule.id,
        "severity": finding.rule.severity,
        "tenant": finding.tenant,
        "object": finding.object,
        "meaning": finding.rule.meaning,
        "fix": finding.fix,
        "needs": finding.needs,
    }


COMMANDS = (audit,)
