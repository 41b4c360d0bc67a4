"""status."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click

from tenants.cli import options, render
from tenants.core.errors import Pending
from tenants.core.units import age, counted, size
from tenants.usecases import inventory
from tenants.usecases import status as states
from tenants.usecases.status import Status

COLUMNS = ("TENANT", "SIZE", "DAY", "WEEK", "REVISION", "PENDING", "LAST", "LIVE", "SNAPSHOT", "PROVEN", "AUDIT")


@click.command()
@click.option("--check", is_flag=True, help="Exit with 3 if somebody ought to look at something.")
@options.as_json
def status(check: bool, as_json: bool) -> int:
    """Show all tenants on one screen, and first what somebody ought to look at.

    How large each is and how much its snapshots have grown in a day and a week, where it is and what is pending, its
    last deploy and whether that went live, how old its last snapshot and the last proven one are, and what the audit
    finds.
    """
    with options.access("status") as access:
        found, besides = states.status(access)
        new = None if found or as_json else inventory.of_another_server(access)
    worries = [f"{one.tenant}: {worry}" for one in found for worry in one.worries]
    if found and besides:
        worries.append(f"{counted(besides, 'finding')} of the database: tenants audit")
    if as_json:
        render.answer({"tenants": [_document(one) for one in found], "database_findings": besides})
    elif not found:
        render.no_tenant(new)
    else:
        for worry in worries:
            render.say(render.folded(f"!  {worry}", "   "), err=True, colour="yellow")
        render.table(COLUMNS, [_line(one) for one in sorted(found, key=lambda one: not one.worries)])
    if not worries or not check:
        return 0
    error = Pending(f"{counted(len(worries), 'thing')} to be looked at", next="each line says what to do")
    render.fail(error)
    return error.exit_code


def _document(one: Status) -> dict[str, object]:
    return {**{name: value for name, value in asdict(one).items() if name != "stop"}, "worries": one.worries}


def _grown(value: int | None) -> str:
    return "-" if value is None else "same" if value == 0 else f"{'+' if value > 0 else '-'}{size(abs(value))}"


def _live(deploy: dict[str, Any]) -> str:
    """Only a deploy has a release that ought to serve."""
    return "yes" if deploy["live_at"] else "no" if deploy["kind"] == "deploy" else "-"


def _line(one: Status) -> tuple[object, ...]:
    def ago(moment: datetime | None) -> str:
        return age((datetime.now(UTC) - moment).total_seconds() if moment else None)

    deploy = one.deploy
    return (
        one.tenant + (" (suspended)" if one.suspended_at else ""),
        size(one.bytes),
        _grown(one.growth["day"]),
        _grown(one.growth["week"]),
        one.revision or "-",
        "-" if one.pending is None else "stop" if one.stop else len(one.pending),
        f"{deploy['outcome']} {ago(deploy['recorded_at'])} ago" if deploy else "-",
        _live(deploy) if deploy else "-",
        ago(one.snapshot_at),
        ago(one.proven_at),
        one.findings or "-",
    )


COMMANDS = (status,)
