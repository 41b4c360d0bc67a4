"""nightly, agent."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from tenants.cli import options, render
from tenants.core import schedule as schedules
from tenants.core.units import counted
from tenants.usecases import agent as agents
from tenants.usecases import nightly as nights

schedule = click.option(
    "--schedule",
    default=schedules.DEFAULT,
    show_default=True,
    envvar="TENANTS_SCHEDULE",
    help="When it is due, as cron writes it.",
)


@click.command()
@schedule
@click.option("--again", is_flag=True, help="Do the work even if it was done in this period.")
@click.option(
    "--drill/--no-drill",
    "drills",
    default=True,
    show_default=True,
    envvar="TENANTS_DRILL",
    help="Prove each new snapshot by a restore into a scratch database.",
)
@options.as_json
def nightly(schedule: str, again: bool, drills: bool, as_json: bool) -> int:
    """Take a snapshot of every tenant, prove it, prune and clean up. Once in a period, however often it is called."""
    schedules.check(schedule)
    with options.access("nightly") as access:
        report = nights.nightly(access, schedule, render.Progress(dated=True), again=again, drills=drills)
    if as_json:
        render.answer(
            {
                "snapshots": report.snapshots,
                "failures": {name: error.message for name, error in report.failures.items()},
                "already": report.already,
                "proven": report.proven,
                "pruned": report.pruned,
            }
        )
    elif report.already:
        render.say(f"nightly was done at {render.moment(report.already)}; nothing to do")
    else:
        failed = f", {len(report.failures)} failed: {', '.join(report.failures)}" if report.failures else ""
        render.say(f"nightly: {counted(len(report.snapshots), 'snapshot')} taken, {len(report.proven)} proven{failed}")
    for name, error in report.failures.items():
        render.fail(error, lead=f"{name}   ")
    return next((error.exit_code for error in report.failures.values()), 0)


@click.command()
@schedule
def agent(schedule: str) -> None:
    """Stay, and run nightly when it is due. The control app's one process."""

    def say(text: str) -> None:
        render.say(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {text}")

    agents.agent(schedule, say)


COMMANDS = (nightly, agent)
