"""audit, status."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

import click

from tenants.cli import options, render
from tenants.core.errors import Pending
from tenants.core.names import check_name
from tenants.core.units import age, counted, size
from tenants.usecases import audit as audits
from tenants.usecases import status as states
from tenants.usecases.status import Status


@click.command()
@click.argument("tenant", nargs=-1)
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
    for name in tenant:
        check_name(name)
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
        for finding in mended:
            click.echo(f"mended    {finding.rule.id}: {finding.object}")
        for finding in findings:
            click.echo(
                f"{finding.rule.severity:<9} {finding.tenant or 'database'}   {finding.rule.id}: {finding.object}"
            )
            click.echo(f"          {finding.rule.meaning}")
            if finding.fix:
                click.echo(f"          {finding.fix};")
            if finding.needs:
                click.echo(f"          That takes {finding.needs}.")
        if passed_over:
            click.echo(
                f"passed over, since they read passwords, which takes a superuser: {', '.join(passed_over)}", err=True
            )
        if not findings:
            click.echo("nothing is wrong")
    if not findings:
        return 0
    found = Pending(f"the audit has {counted(len(findings), 'finding')}", next=_next(findings, fix=fix))
    click.echo(render.failure(found), err=True)
    return found.exit_code


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


@click.command()
@click.option("--check", is_flag=True, help="Exit with 3 if somebody ought to look at something.")
@options.as_json
def status(check: bool, as_json: bool) -> int:
    """Show all tenants on one screen: sizes, revisions, last deploys, snapshots and proofs, findings of the audit."""
    with options.access("status") as access:
        found = states.status(access)
    worries = [f"{one.tenant}: {worry}" for one in found for worry in one.worries]
    if as_json:
        render.answer({"tenants": [{**asdict(one), "worries": one.worries} for one in found]})
    elif not found:
        click.echo("no tenant yet\nNext:     tenants create NAME", err=True)
    else:
        render.table(
            ("TENANT", "SIZE", "REVISION", "LAST", "LIVE", "SNAPSHOT", "PROVEN", "AUDIT"), [_line(one) for one in found]
        )
        for worry in worries:
            click.echo(render.folded(f"!  {worry}", "   "), err=True)
    if not worries or not check:
        return 0
    error = Pending(f"{counted(len(worries), 'thing')} to be looked at", next="each line says what to do")
    click.echo(render.failure(error), err=True)
    return error.exit_code


def _line(one: Status) -> tuple[object, ...]:
    def ago(moment: datetime | None) -> str:
        return age((datetime.now(UTC) - moment).total_seconds() if moment else None)

    deploy = one.deploy
    return (
        one.tenant + (" (suspended)" if one.suspended_at else ""),
        size(one.bytes),
        one.revision or "-",
        f"{deploy['outcome']} {ago(deploy['recorded_at'])} ago" if deploy else "-",
        ("yes" if deploy["live_at"] else "no") if deploy and deploy["kind"] == "deploy" else "-",
        ago(one.snapshot_at),
        ago(one.proven_at),
        one.findings or "-",
    )


COMMANDS = (audit, status)
