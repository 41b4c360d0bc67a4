"""create, login, list, show, drop."""

from __future__ import annotations

import sys
from typing import Any

import click

from tenants.cli import options, render
from tenants.core.errors import UsageError
from tenants.core.names import printable
from tenants.usecases import provision
from tenants.usecases.provision import Created


@click.command()
@click.argument("name")
@click.option("--project", help="The folder of migrations that it runs (default: its own name).")
@options.as_json
def create(name: str, project: str | None, as_json: bool) -> None:
    """Make a tenant: schema, owner, and a login, whose DATABASE_URL is shown once.

    A second call changes nothing. What bears the name and is not ours is not taken over.
    """
    with options.access("create") as access:
        made = provision.create(access, name, project, render.Progress([name]))
    _answer(made, as_json=as_json)


@click.command()
@click.argument("name")
@options.as_json
def login(name: str, as_json: bool) -> None:
    """Make a further login for a tenant. Its DATABASE_URL is shown once."""
    with options.access("login") as access:
        made = provision.add_login(access, name)
    _answer(made, as_json=as_json)


def _answer(made: Created, *, as_json: bool) -> None:
    if as_json:
        render.answer(
            {
                "tenant": made.tenant,
                "project": made.project,
                "schema": made.tenant,
                "role": made.tenant,
                "login": made.login,
                "url": made.url.text if made.url else None,
            }
        )
        return
    if made.url:
        click.echo(f"DATABASE_URL={made.url.text}")
        click.echo("This is shown once. For the app: dokku config:set APP DATABASE_URL=…", err=True)
    elif not made.changed:
        click.echo(f"{made.tenant} is there already, nothing was changed; a further login: tenants login {made.tenant}")
    else:
        click.echo(f"{made.tenant}: {', '.join(made.changed)}")


@click.command("list")
@options.as_json
def list_(as_json: bool) -> None:
    """List the tenants."""
    with options.access("list") as access:
        found = provision.list_tenants(access)
    if as_json:
        render.answer({"tenants": found})
    elif not found:
        click.echo("no tenant yet\nNext:     tenants create NAME", err=True)
    else:
        render.table(
            ("TENANT", "PROJECT", "REVISION", "CREATED"),
            [(t["tenant"], t["project"], t["trouble"] or t["revision"], render.moment(t["created_at"])) for t in found],
        )


@click.command()
@click.argument("name")
@options.as_json
def show(name: str, as_json: bool) -> None:
    """Show one tenant: schema, logins, revision, last deploys."""
    with options.access("show") as access:
        found = provision.show(access, name)
    if as_json:
        render.answer(found)
        return
    click.echo(f"tenant    {found['tenant']}, created {render.moment(found['created_at'])}")
    click.echo(f"project   {found['project']}")
    click.echo(f"schema    {found['schema']}, owned by role {found['role']}")
    click.echo(f"logins    {', '.join(found['logins']) or 'none'}")
    click.echo(f"revision  {printable(found['trouble'] or found['revision'] or 'nothing yet')}")
    for aside in found["aside"]:
        click.echo(f"aside     {aside}: what was there before a restore")
    if found["deploys"]:
        click.echo()
        render.table(
            ("WHEN", "WHAT", "FROM", "TO", "OUTCOME", "SNAPSHOT BEFORE"), [_deploy_row(d) for d in found["deploys"]]
        )


def _deploy_row(found: dict[str, Any]) -> tuple[object, ...]:
    start, end = "+".join(found["from_heads"]) or "-", "+".join(found["to_heads"]) or "-"
    outcome = found["outcome"] + (", live" if found["live_at"] else "")
    return render.moment(found["recorded_at"]), found["kind"], start, end, outcome, found["snapshot"] or "-"


@click.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--no-snapshot", is_flag=True, help="Drop without a last snapshot: the data is gone then.")
@options.wait
@options.as_json
def drop(name: str, yes: bool, no_snapshot: bool, wait: float, as_json: bool) -> None:
    """Drop a tenant: its schema, its logins, its role. A last snapshot is taken first."""
    with options.access("drop") as access:
        access.require_admin(f"tenants drop {name}")
        access.entry(name)
        if not yes:
            if not sys.stdin.isatty():
                raise UsageError(
                    f"{name} was not dropped: nobody is there to be asked", next=f"tenants drop {name} --yes"
                )
            click.confirm(f"Drop {name}, its schema, its data and its logins?", abort=True, err=True)
        snapshot = provision.drop(access, name, render.Progress([name]), no_snapshot=no_snapshot, wait=wait)
    if as_json:
        render.answer({"tenant": name, "snapshot": snapshot})
    else:
        back = f" Undo: tenants create {name} && tenants restore {name} {snapshot}" if snapshot else ""
        click.echo(f"{name}   dropped.{back}")


COMMANDS = (create, login, list_, show, drop)
