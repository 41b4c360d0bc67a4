"""recover."""

from __future__ import annotations

import click

from tenants.cli import options, render
from tenants.core.errors import SnapshotError, UsageError
from tenants.core.manifest import is_server
from tenants.usecases import recover as recovers
from tenants.usecases.recover import Recovered


@click.command()
@click.argument("tenant", nargs=-1)
@click.option("--server", metavar="SERVER", help="The server that is lost, where storage has several.")
@click.option("--dry-run", is_flag=True, help="Show what would come back. Changes nothing.")
@options.as_json
def recover(tenant: tuple[str, ...], server: str | None, dry_run: bool, as_json: bool) -> int:
    """Bring back every tenant of a server that is lost, from storage alone, on an empty one.

    Those named, or all that had not been dropped: roles, limits, extensions, schemas and data. Each gets a login, whose
    DATABASE_URL is shown once.
    """
    if server is not None and not is_server(server):
        raise UsageError(f"{server!r} is no server in storage", next="tenants recover --dry-run")
    with options.access("recover") as access:
        if dry_run:
            found = recovers.survey(access, server, tenant)
            if as_json:
                newest = {name: manifest.id for name, manifest in found.newest.items()}
                lists = {"dropped": list(found.dropped), "damaged": list(found.damaged)}
                render.answer({"server": found.server, "snapshots": newest, **lists})
            else:
                rows = [
                    (m.id, name, m.revision, m.rows, "was dropped" if name in found.dropped else "")
                    for name, m in found.newest.items()
                ]
                render.table(("SNAPSHOT", "TENANT", "REVISION", "ROWS", ""), rows)
            for name in found.damaged:
                click.echo(f"{name}   would not come back: none of its manifests can be read", err=True)
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
        click.echo(f"{name}   is back, as {manifest.id} has it")
        if created.url:
            click.echo(f"DATABASE_URL={created.url.text}")
    for name in done.dropped:
        click.echo(f"{name}   had been dropped and was left. To have it back: tenants recover {name}", err=True)
    if done.tenants:
        click.echo("Each URL is shown once. For the apps: dokku config:set APP DATABASE_URL=…", err=True)
    for name, error in done.failures.items():
        click.echo(render.failure(error, lead=f"{name}   "), err=True)


COMMANDS = (recover,)
