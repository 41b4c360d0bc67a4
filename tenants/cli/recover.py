"""recover, move: to another server."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tenants.cli import options, render
from tenants.core.errors import SnapshotError, UsageError
from tenants.core.manifest import is_server
from tenants.core.settings import DatabaseUrl
from tenants.core.units import counted
from tenants.usecases import move as moves
from tenants.usecases import recover as recovers
from tenants.usecases.recover import Recovered


@click.command()
@click.argument("tenant", nargs=-1, shell_complete=options.names)
@click.option("--server", metavar="SERVER", help="The server that is lost, where storage has several.")
@click.option("--dry-run", is_flag=True, help="Show what would come back. Changes nothing.")
@options.identity
@options.as_json
def recover(tenant: tuple[str, ...], server: str | None, dry_run: bool, identity: Path | None, as_json: bool) -> int:
    """Bring back every tenant of a server that is lost, from storage alone, on an empty one.

    Those named, or all that had not been dropped: roles, limits, extensions, schemas and data. Each gets a login, whose
    DATABASE_URL is shown once.
    """
    if server is not None and not is_server(server):
        raise UsageError(f"{server!r} is no server in storage", next="tenants recover --dry-run")
    with options.access("recover", identity) as access:
        if dry_run:
            found = recovers.survey(access, server, tenant)
            if as_json:
                newest = {name: manifest.id for name, manifest in found.newest.items()}
                lists = {"dropped": list(found.dropped), "damaged": list(found.damaged)}
                render.answer({"server": found.server, "snapshots": newest, **lists})
            else:
                rows = [
                    (m.id, name, m.revision, m.rows, m.reason, "was dropped" if name in found.dropped else "")
                    for name, m in found.newest.items()
                ]
                render.table(("SNAPSHOT", "TENANT", "REVISION", "ROWS", "TAKEN FOR", ""), rows)
            for name in found.damaged:
                render.say(f"{name}   would not come back: none of its manifests can be read", err=True)
            return SnapshotError.exit_code if found.damaged else 0
        done = recovers.recover(access, server, tenant, render.Progress(tenant))
    _answer(done, as_json=as_json)
    return next((error.exit_code for error in done.failures.values()), 0)


def _answer(done: Recovered, *, as_json: bool) -> None:
    if as_json:
        back = [
            {
                "tenant": name,
                "snapshot": manifest.id,
                "revision": manifest.revision,
                "login": created.login,
                "url": created.url.text if created.url else None,
            }
            for name, (manifest, created) in done.tenants.items()
        ]
        failures = {name: error.message for name, error in done.failures.items()}
        render.answer({"server": done.server, "recovered": back, "failures": failures, "dropped": list(done.dropped)})
        return
    for name, (manifest, created) in done.tenants.items():
        render.say(f"{name}   is back, as {manifest.id} has it")
        if created.url:
            render.say(f"DATABASE_URL={created.url.text}")
    for name in done.dropped:
        words = (
            f"Warning:  {name} had been dropped, says storage, and was left. To have it back: tenants recover {name}"
        )
        render.say(words, err=True, colour="yellow")
    if done.tenants:
        render.say("Each URL is shown once. For the apps: dokku config:set APP '<the line>'", err=True)
    for name, error in done.failures.items():
        render.fail(error, lead=f"{name}   ")


@click.command()
@click.argument("tenant", shell_complete=options.names)
@click.option(
    "--to",
    envvar="TENANTS_MOVE_TO",
    required=True,
    metavar="URL",
    help="The admin's URL of the other server; better in the variable TENANTS_MOVE_TO, where no process list shows it.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.wait
@options.as_json
def move(tenant: str, to: str, yes: bool, wait: float, as_json: bool) -> None:
    """Take a tenant to another server, a newer one, say.

    It is shut out here while it is copied, and rows and bytes are proven on both sides. Its new DATABASE_URL is shown
    once. Here it stays as it was, shut out, until you drop it, or let it in again with `tenants resume`.
    """
    target = DatabaseUrl.parse(to, "--to")
    with options.access("move") as access:
        entry = access.entry(tenant)
        if not yes:
            if not sys.stdin.isatty():
                raise UsageError(
                    f"{tenant} was not moved: nobody is there to be asked", next=f"tenants move {tenant} --yes"
                )
            where = access.settings.database.where
            click.confirm(f"{entry.name} will be shut out of {where} now. Go on?", abort=True, err=True)
        moved = moves.move(access, tenant, target, render.Progress([tenant]), wait=wait)
    if as_json:
        render.answer(
            {
                "tenant": tenant,
                "login": moved.login,
                "url": moved.url.text if moved.url else None,
                "tables": moved.tables,
                "rows": moved.rows,
                "seconds": moved.seconds,
            }
        )
    else:
        render.say(f"{tenant}   is at {target.where}, {counted(moved.rows, 'row')}. For the app, shown once:")
        render.say(f"DATABASE_URL={moved.url.text if moved.url else ''}")


COMMANDS = (recover, move)
