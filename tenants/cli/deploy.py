"""plan, rehearse, live."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import click

from tenants.cli import options, render
from tenants.core.errors import Pending, TenantsError
from tenants.core.events import Event
from tenants.core.names import printable
from tenants.core.plan import Action, Plan
from tenants.core.policy import Policy
from tenants.core.units import counted
from tenants.usecases import compatibility, inventory, planning, revisions
from tenants.usecases import live as lives
from tenants.usecases import rehearse as rehearsals
from tenants.usecases.compatibility import Findings
from tenants.usecases.rehearse import Rehearsed


@click.command()
@click.argument("tenant", nargs=-1, shell_complete=options.names)
@click.option("--sql", is_flag=True, help="Print the SQL of the pending revisions.")
@click.option("--check", is_flag=True, help="Exit with 3 if something is pending.")
@options.incompatible
@options.as_json
def plan(tenant: tuple[str, ...], sql: bool, check: bool, incompatible: Policy | None, as_json: bool) -> int:
    """Show what a deploy would do. Changes nothing."""
    with options.access("plan") as access:
        survey = planning.survey(access, tenant)
        new = None if survey.plans or as_json else inventory.hint_of_another_server(access)
        texts, told = dict[str, str](), dict[str, Findings | None]()
        for found in survey.plans:
            if found.pending:
                folder = survey.folders[found.project]
                if sql:
                    texts[found.tenant] = revisions.as_sql(access, found, folder)
                told[found.tenant] = compatibility.look(access, found, folder, incompatible, texts.get(found.tenant))
    if as_json:
        answers = [_plan_document(found, texts.get(found.tenant), told.get(found.tenant, ())) for found in survey.plans]
        render.answer({"plans": answers})
    elif not survey.plans:
        render.nothing_yet(new)
    else:
        _show_plans(survey.plans, texts if sql else None, told)
        if incompatible is not Policy.OFF and None in told.values():
            render.say(compatibility.MISSING, err=True)
    errors = [
        found.error or compatibility.refusal(found, incompatible, told.get(found.tenant)) for found in survey.plans
    ]
    error = next(filter(None, errors), None)
    pending = [found.tenant for found in survey.plans if found.action in (Action.MIGRATE, Action.CREATE)]
    if check and pending and not error:
        error = Pending(f"something is pending for {', '.join(pending)}", next="tenants deploy")
    if error:
        render.fail(error)
    return error.exit_code if error else 0


def _show_plans(plans: Sequence[Plan], texts: Mapping[str, str] | None, told: Mapping[str, Findings | None]) -> None:
    """A row for each tenant, and one for each thing that its old release may not live with; or the SQL, with those as
    comments before it."""
    rows = list[tuple[str, object]]()
    for found in plans:
        lines = compatibility.lines(told.get(found.tenant) or ())
        rows += [(found.tenant, text) for text in (found, *lines)]
        if texts and found.tenant in texts:
            head = "\n".join(f"-- {render.folded(line, '-- ')}" for line in (f"tenant {found.tenant}", *lines))
            render.say(f"{head}\n{printable(texts[found.tenant])}")
    if texts is None:
        render.table(("TENANT", "PLAN"), rows)


def _plan_document(found: Plan, sql: str | None, told: Findings | None) -> dict[str, Any]:
    document: dict[str, Any] = {
        "tenant": found.tenant,
        "project": found.project,
        "action": found.action.value,
        "from": found.start,
        "to": found.target if found.pending else found.start,
        "pending": [{"revision": r.id, "file": r.file, "message": r.message} for r in found.pending],
        "incompatible": render.findings(told),
        "error": found.error.message if found.error else None,
    }
    return {**document, "sql": sql} if sql is not None else document


@click.command()
@click.argument("tenant", nargs=-1, shell_complete=options.names)
@options.incompatible
@options.timeout_of_migrations
@options.wait
@options.as_json
def rehearse(tenant: tuple[str, ...], incompatible: Policy | None, timeout: float, wait: float, as_json: bool) -> int:
    """Run the pending revisions on a copy of today's data, and nowhere else.

    The folder need not be pushed yet. Of all tenants with something pending, or of those named. No snapshot is taken,
    and the live schema is not touched. Needs the admin's URL.
    """
    answers, failed = [], list[TenantsError]()
    with options.access("rehearse") as access:
        access.require_admin("tenants rehearse")
        survey, tell = planning.survey(access, tenant), render.Progress(tenant)
        for found in survey.plans:
            tell(Event(found.tenant, "plan", str(found), failed=found.error is not None))
            outcome, error, seen = "nothing-pending", found.error, Rehearsed()
            told: Findings | None = ()
            if found.action is Action.MIGRATE:
                told = compatibility.look(access, found, survey.folders[found.project], incompatible)
                compatibility.tell_of(found, incompatible, told, tell)
                error = compatibility.refusal(found, incompatible, told)
            if found.action is Action.MIGRATE and not found.empty and not error:
                folder = survey.folders[found.project]
                seen = rehearsals.alone(access, found, folder, tell, timeout=timeout, wait=wait)
                outcome, error = "passed", seen.error
            elif found.pending:
                outcome = "nothing-there"  # a first deploy: no row that could be in the way
            if error:
                outcome = "failed"
                failed.append(error)
            answers.append(
                {
                    "tenant": found.tenant,
                    "from": found.start,
                    "to": found.target,
                    "outcome": outcome,
                    "incompatible": render.findings(told),
                    "error": error.message if error else None,
                    "revisions": [asdict(effects) for effects in seen.effects],
                }
            )
    if as_json:
        render.answer({"rehearsals": answers})
    for error in failed:
        render.fail(error)
    return failed[0].exit_code if failed else 0


@click.command()
@click.argument("tenant", required=False, shell_complete=options.names)
@options.as_json
def live(tenant: str | None, as_json: bool) -> None:
    """Note that the release of GIT_REV is serving (Dokku's postdeploy), and the app of the tenant named.

    With a tenant's own URL it is that tenant. What an adoption has left in the place of its tables stays for now: the
    release before may still be at work.
    """
    with options.access("live") as access:
        marked = lives.mark(access, tenant)
        named = tenant or access.own
        standing = lives.standing(access, named) if named else 0
    if as_json:
        render.answer({"live": marked})
    revision = access.settings.git_rev
    for name in [] if as_json else marked:
        render.say(f"{name}   is live{f' with {revision}' if revision else ''}")
    if standing:
        render.say(
            f"{named}   {counted(standing, 'view')} in the place of its tables stay: the release before may still be at"
            f" work. A migration in ten minutes takes them down, or the night; at once: tenants adopt {named} --finish",
            err=True,
        )


COMMANDS = (plan, rehearse, live)
