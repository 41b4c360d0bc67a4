"""deploy: what every push runs. Whatever it takes to migrate is read when there is something to migrate."""

from __future__ import annotations

import os
from typing import Any

import click

from tenants.cli import options, render
from tenants.core.errors import HistoryError
from tenants.core.policy import Policy
from tenants.core.results import DeployOptions, DeployResult, Options
from tenants.core.settings import Settings
from tenants.usecases import glance


@click.command()
@click.argument("tenant", nargs=-1, shell_complete=options.names)
@options.of_pipeline
@options.incompatible
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    envvar="TENANTS_JOBS",
    metavar="N",
    help="How many tenants of one project are migrated at once. [default: one for each processor, 4 at most]",
)
@click.option(
    "--max-failures",
    type=click.IntRange(min=1),
    envvar="TENANTS_MAX_FAILURES",
    default=DeployOptions.max_failures,
    show_default=True,
    metavar="N",
    help="How many may fail before no further one is begun.",
)
@options.as_json
def deploy(
    tenant: tuple[str, ...],
    wanted: Options,
    incompatible: Policy | None,
    jobs: int | None,
    max_failures: int,
    as_json: bool,
) -> int:
    """Migrate all tenants with something pending, or those named.

    For each: a snapshot first, then a rehearsal on a copy of it, then all pending revisions in one transaction, in the
    tenant's own schema as the tenant, then the proof. When anything fails, the schema is as it was and the exit code
    stops Dokku's deploy.
    """
    of_deploy = DeployOptions(**vars(wanted), incompatible=incompatible, jobs=jobs, max_failures=max_failures)
    tell = render.Progress(tenant)
    own = new = None
    results = glance.nothing_pending(Settings.read(os.environ), tell) if not tenant else None
    if results is None:
        from tenants.usecases import deploy as deploys
        from tenants.usecases import inventory

        with options.access("deploy") as access:
            try:
                results, own = deploys.deploy(access, tenant, of_deploy, tell), access.own
                new = None if results or as_json else inventory.hint_of_another_server(access)
            except HistoryError as error:  # of what was pushed, before anything is done
                error.data = "untouched"
                if as_json:
                    raise
                render.fail(error, release=render.SERVES)
                return error.exit_code
    if as_json:
        render.answer({"deploys": [_document(result) for result in results]})
    else:
        for result in results:
            _show(result, own=bool(own))
        if not results:
            render.nothing_yet(new)
    failed = [result.error for result in results if result.error]
    if not as_json:
        for result in [result for result in results if result.error][:-1]:  # the last one is told in full
            if result.error and result.error.next and result.error.next != failed[-1].next:
                render.say(render.folded(f"{result.tenant}   next: {result.error.next}", render.INDENT), err=True)
    if failed and not as_json:
        render.fail(failed[-1], lead="", release=render.SERVES)
    return failed[0].exit_code if failed else 0


def _document(result: DeployResult) -> dict[str, Any]:
    error = result.error.message if result.error else result.why or None
    return {
        "tenant": result.tenant,
        "from": result.start,
        "to": result.end,
        "applied": list(result.applied),
        "snapshot": result.snapshot,
        "outcome": result.outcome,
        "seconds": result.seconds,
        "incompatible": render.findings(result.incompatible),
        "error": error if result.outcome in ("failed", "skipped") else None,
    }


def _show(result: DeployResult, *, own: bool) -> None:
    name = result.tenant
    if result.outcome == "migrated":
        how = "Undo, with the admin's URL and this store" if own else "Undo"
        undo = f" {how}: tenants undo {name}" if result.snapshot else ""
        render.say(f"{name}   migrated to {result.end} in {result.seconds:.1f} s.{undo}", colour="green")
    elif result.outcome == "skipped" and result.why.startswith("not tried"):
        render.say(f"{name}   {result.why}; it is at {result.end or 'nothing yet'}")
    if result.created and result.outcome != "failed":
        render.say(f"{name}   has no login yet. The app's DATABASE_URL comes from: tenants login {name}")


COMMANDS = (deploy,)
