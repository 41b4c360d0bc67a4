"""undo."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import click

from tenants.cli import options, render
from tenants.core.errors import UsageError
from tenants.core.names import check_name
from tenants.core.results import Options
from tenants.core.units import seconds
from tenants.usecases import undo as undos


@click.command()
@click.argument("tenant", shell_complete=options.names)
@click.option(
    "--by", type=click.Choice(["downgrade", "snapshot"]), help="Insist on this way. [default: the better one]"
)
@click.option("--dry-run", is_flag=True, help="Say how, and what would be lost. Changes nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.identity
@options.wait
@options.as_json
def undo(
    tenant: str,
    by: Literal["downgrade", "snapshot"] | None,
    dry_run: bool,
    yes: bool,
    identity: Path | None,
    wait: float,
    as_json: bool,
) -> None:
    """Go back to before the last deploy, run or restore.

    After a restore, what it has set aside takes its place again. After a deploy, its revisions are taken back by their
    downgrade, if a copy shows that nothing is lost by it; else, and after a run, the snapshot from before is put back.
    It says which, and what would be lost, before it asks. What is there now is kept as a snapshot. Needs
    the admin's URL.
    """
    check_name(tenant)
    with options.access("undo", identity) as access:
        tell = render.Progress([tenant])
        way = undos.look(access, tenant, tell, by=by, timeout=Options.timeout, wait=wait)
        render.say(f"{tenant}   undo      {way}", err=True)
        if way.why:
            render.say(f"{render.INDENT}no downgrade: {way.why}", err=True)
        for words in way.lost:
            render.say(f"{render.INDENT}lost: {words}", err=True)
        for words in way.told:
            render.say(f"{render.INDENT}{words}", err=True)
        if not way.lost and way.how != "downgrade":
            render.say(f"{render.INDENT}no row was written since", err=True)
        document = {
            "tenant": tenant,
            "by": way.how,
            "to": "+".join(way.to) or None,
            "source": way.source,
            "why": way.why or None,
            "lost": list(way.lost),
        }
        if dry_run:
            if as_json:
                render.answer({**document, "undone": False})
            return
        if not yes:
            if not sys.stdin.isatty():
                raise UsageError("nothing was undone: nobody is there to be asked", next=f"tenants undo {tenant} --yes")
            click.confirm("Go back?", abort=True, err=True)
        done = undos.undo(access, way, tell, timeout=Options.timeout, wait=wait)
    if as_json:
        render.answer({**document, "undone": True, "before": done.before, "seconds": done.seconds})
        return
    render.say(f"{tenant}   back at {done.revision or 'no revision'} in {seconds(done.seconds)}.")
    if done.before:
        render.say(f"{render.INDENT}To take that back: tenants restore {tenant} {done.before}")
    if way.change.kind == "deploy":
        render.say(f"{render.INDENT}Before you push again, mend the revision or take it out: it would run anew.")
    if way.change.kind == "run":
        render.say(
            f"{render.INDENT}Before you push again, mend the migration or take it out: its tool would run it anew."
        )


COMMANDS = (undo,)
