"""create, apply, login, rotate, reader, extension, suspend, resume, connect, list, show, drop."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import click

from tenants.cli import options, render
from tenants.core.errors import UsageError
from tenants.core.limits import DEFAULT, NUMBERS, Limits, check
from tenants.core.names import printable
from tenants.core.settings import REHEARSAL_URL, DatabaseUrl
from tenants.core.units import counted
from tenants.usecases import connect as connects
from tenants.usecases import inventory, logins, provision, room, sharing
from tenants.usecases import suspend as suspends
from tenants.usecases.access import Access
from tenants.usecases.logins import Created


@click.command()
@click.argument("name")
@click.option("--project", help="The folder of migrations that it runs (default: its own name).")
@click.option("--app-role/--no-app-role", default=None, help="Let the app run as a role that changes no definitions.")
@click.option("--connections", type=click.IntRange(1, NUMBERS["connections"]), help=f"[default: {DEFAULT.connections}]")
@click.option("--statement-timeout", metavar="TIME", help=f"[default: {DEFAULT.statement_timeout}]")
@click.option("--lock-timeout", metavar="TIME", help=f"[default: {DEFAULT.lock_timeout}]")
@click.option("--idle-timeout", metavar="TIME", help=f"For idle transactions. [default: {DEFAULT.idle_timeout}]")
@click.option("--temp-file-limit", metavar="SIZE", help=f"[default: {DEFAULT.temp_file_limit}]")
@click.option("--size", metavar="SIZE", help=f"Of its data; the audit tells when it is more. [default: {DEFAULT.size}]")
@click.option(
    "--objects",
    type=click.IntRange(1, NUMBERS["objects"]),
    help=f"Tables, indexes, functions and the like; the audit reports a tenant above it. [default: {DEFAULT.objects}]",
)
@click.option(
    "--rehearsal", is_flag=True, help="Make a place to rehearse in, too, for an app that deploys with its own URL."
)
@options.as_json
def create(
    name: str, project: str | None, app_role: bool | None, rehearsal: bool, as_json: bool, **limits: Any
) -> None:
    """Make a tenant: schema, owner, and a login, whose DATABASE_URL is shown once.

    A second call changes nothing, or what is asked for anew, and mends drift. What bears the name and is not ours is
    not taken over.
    """
    with options.access("create") as access:
        tell = render.Progress([name])
        made = provision.create(access, name, project, tell, limits=_limits(access, name, limits), app_role=app_role)
        place = room.prepare(access, name) if rehearsal else None
    _answer(made, as_json=as_json, place=place)


@click.command()
@click.argument("name", shell_complete=options.names)
@click.option("--owner", is_flag=True, help="One that may migrate, for a tenant whose app has a role of its own.")
@options.as_json
def login(name: str, owner: bool, as_json: bool) -> None:
    """Make a further login for a tenant. Its DATABASE_URL is shown once."""
    with options.access("login") as access:
        made = logins.add(access, name, owner=owner)
    _answer(made, as_json=as_json)


@click.command()
@click.argument("name", shell_complete=options.names)
@click.option("--retire", is_flag=True, help="Remove the logins that were rotated away, and end their sessions.")
@options.as_json
def rotate(name: str, retire: bool, as_json: bool) -> None:
    """Give a tenant a new login in place of the old one, which goes when no session uses it any more."""
    with options.access("rotate") as access:
        if retire:
            gone = logins.retire(access, name, render.Progress([name]))
        else:
            made = logins.rotate(access, name)
    if not retire:
        _answer(made, as_json=as_json)
        render.say(f"The old login goes on. When the app has the new one: tenants rotate {name} --retire", err=True)
    elif as_json:
        render.answer({"tenant": name, "retired": gone})
    else:
        render.say(f"{name}   retired {', '.join(gone)}")


@click.command()
@click.argument("name")
@click.option("--of", "of", metavar="TENANT,…", help="The tenants to read. With --drop, the default is all.")
@click.option("--rotate", is_flag=True, help="Give logins that exist a new password. Open sessions go on.")
@click.option("--drop", is_flag=True, help="Drop the reader's logins, and end their sessions.")
@options.as_json
def reader(name: str, of: str | None, rotate: bool, drop: bool, as_json: bool) -> None:
    """Make read-only logins, one for each tenant.

    They are for a person or a dashboard. Each login reads the tables and views of its tenant, and reaches nothing of
    the other tenants. So one session reads one tenant, and no query joins tables of two: code of a tenant can run in a
    query that reads it. Run again, the command makes the logins that are missing, and drops the login of an older
    version that reads several tenants.
    """
    tenants = [tenant for tenant in (of or "").split(",") if tenant]
    if drop and rotate:
        raise UsageError("--drop and --rotate exclude each other", next=f"tenants reader {name} --drop")
    with options.access("reader") as access:
        if drop:
            made = sharing.Reader((), tuple(sharing.drop_reader(access, name, tenants)))
        else:
            made = sharing.reader(access, name, tenants, rotate=rotate)
    if as_json:
        logins = [
            {"tenant": one.tenant, "login": one.role, "url": one.url.text if one.url else None} for one in made.logins
        ]
        render.answer({"reader": name, "logins": logins, "dropped": made.dropped})
        return
    for one in made.logins:
        render.say(f"{one.tenant}   {f'DATABASE_URL={one.url.text}' if one.url else f'login {one.role} exists'}")
    for role in made.dropped:
        render.say(f"{name}   dropped login {role}", err=not drop)
    if any(one.url for one in made.logins):
        render.say("Passwords are shown once.", err=True)
    elif made.logins:
        render.say(f"For new passwords: tenants reader {name} --of {','.join(tenants)} --rotate", err=True)


@click.command()
@click.argument("name", shell_complete=options.names)
@click.argument("extension")
@options.as_json
def extension(name: str, extension: str, as_json: bool) -> None:
    """Make an extension of PostgreSQL available to a tenant."""
    with options.access("extension") as access:
        changed = sharing.extension(access, name, extension)
    if as_json:
        render.answer({"tenant": name, "extension": extension, "changed": changed})
    else:
        render.say(f"{name}   {extension} {'can be used now' if changed else 'was there already'}")


def _limits(access: Access, name: str, given: dict[str, Any]) -> Limits | None:
    """What was asked for, on top of what the tenant has; None if nothing was."""
    asked = {name: value for name, value in given.items() if value is not None}
    for limit, value in asked.items():
        if limit not in NUMBERS:
            check(limit, value)
    known = access.entries().get(name)
    return replace(known.limits if known else DEFAULT, **asked) if asked else None


@click.command()
@click.argument("name", nargs=-1, shell_complete=options.names)
@options.as_json
def apply(name: tuple[str, ...], as_json: bool) -> None:
    """Bring all tenants, or those named, to what is wanted of them. A second call changes nothing."""
    with options.access("apply") as access:
        for one in name:
            access.entry(one)
        changed = provision.apply(access, name, render.Progress(name))
    if as_json:
        render.answer({"changed": changed})
        return
    for tenant, what in changed.items():
        render.say(f"{tenant}   {counted(len(what), 'change') if what else 'as it ought to be'}")


def _answer(made: Created, *, as_json: bool, place: DatabaseUrl | None = None) -> None:
    if as_json:
        document = {
            "tenant": made.tenant,
            "project": made.project,
            "schema": made.tenant,
            "role": made.tenant,
            "login": made.login,
            "url": made.url.text if made.url else None,
        }
        render.answer({**document, **({"rehearsal_url": place.text} if place else {})})
        return
    if place:
        render.say(f"{REHEARSAL_URL}={place.text}")
    if made.url:
        render.say(f"DATABASE_URL={made.url.text}")
        render.say("This is shown once. For the app: dokku config:set APP '<the line>'", err=True)
    elif not made.changed:
        render.say(f"{made.tenant} is there already, nothing was changed; a further login: tenants login {made.tenant}")
    else:
        render.say(f"{made.tenant}: {', '.join(made.changed)}")


@click.command()
@click.argument("name", shell_complete=options.names)
@options.as_json
def suspend(name: str, as_json: bool) -> None:
    """Shut a tenant out at once: its logins, its sessions, what it has prepared. Its data stays."""
    with options.access("suspend") as access:
        new = suspends.suspend(access, name, render.Progress([name]))
    if as_json:
        render.answer({"tenant": name, "suspended": True, "changed": new})
    else:
        render.say(f"{name}   {'is' if new else 'was already'} suspended. Undo: tenants resume {name}")


@click.command()
@click.argument("name", shell_complete=options.names)
@options.as_json
def resume(name: str, as_json: bool) -> None:
    """Let a tenant in again that was suspended."""
    with options.access("resume") as access:
        new = suspends.resume(access, name)
    if as_json:
        render.answer({"tenant": name, "suspended": False, "changed": new})
    else:
        render.say(f"{name}   {'may log in again' if new else 'was not suspended'}")


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("name", shell_complete=options.names)
@click.argument("arguments", nargs=-1, metavar="[PSQL ARGUMENT]...")
def connect(name: str, arguments: tuple[str, ...]) -> int:
    """Open psql as a tenant, in its schema. It exits as psql does."""
    with options.access("connect") as access:
        return connects.connect(access, name, arguments)


@click.command("list")
@options.as_json
def list_(as_json: bool) -> None:
    """List the tenants."""
    with options.access("list") as access:
        found = provision.list_tenants(access)
        new = None if found or as_json else inventory.of_another_server(access)
    if as_json:
        render.answer({"tenants": found})
    elif not found:
        render.no_tenant(new)
    else:
        render.table(
            ("TENANT", "PROJECT", "REVISION", "CREATED"),
            [(t["tenant"], t["project"], t["trouble"] or t["revision"], render.moment(t["created_at"])) for t in found],
        )


@click.command()
@click.argument("name", shell_complete=options.names)
@options.as_json
def show(name: str, as_json: bool) -> None:
    """Show one tenant: schema, logins, revision, last deploys."""
    with options.access("show") as access:
        found = provision.show(access, name)
    if as_json:
        render.answer(found)
        return
    render.say(f"tenant    {found['tenant']}, created {render.moment(found['created_at'])}")
    if found["suspended_at"]:
        render.say(f"suspended since {render.moment(found['suspended_at'])}: tenants resume {found['tenant']}")
    render.say(f"project   {found['project']}")
    render.say(f"schema    {found['schema']}, owned by role {found['role']}")
    render.say(f"logins    {', '.join(found['logins']) or 'none'}")
    render.say(f"revision  {printable(found['trouble'] or found['revision'] or 'nothing yet')}")
    for aside in found["aside"]:
        render.say(f"aside     {aside}: what was there before a restore")
    if found["deploys"]:
        render.say()
        render.table(
            ("WHEN", "WHAT", "FROM", "TO", "OUTCOME", "SNAPSHOT BEFORE"), [_deploy_row(d) for d in found["deploys"]]
        )


def _deploy_row(found: dict[str, Any]) -> tuple[object, ...]:
    start, end = "+".join(found["from_heads"]) or "-", "+".join(found["to_heads"]) or "-"
    outcome = found["outcome"] + (", live" if found["live_at"] else "")
    return render.moment(found["recorded_at"]), found["kind"], start, end, outcome, found["snapshot"] or "-"


@click.command()
@click.argument("name", shell_complete=options.names)
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
        render.say(f"{name}   dropped.{back}")


COMMANDS = (create, apply, login, rotate, reader, extension, suspend, resume, connect, list_, show, drop)
