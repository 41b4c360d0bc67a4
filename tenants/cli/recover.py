"""recover, move: to another server."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tenants.cli import options, render
from tenants.core.errors import SnapshotError, UsageError
from tenants.core.ledger import is_fingerprint
from tenants.core.manifest import is_server
from tenants.core.settings import DatabaseUrl
from tenants.core.units import counted
from tenants.usecases import move as moves
from tenants.usecases import recover as recovers
from tenants.usecases.access import Access
from tenants.usecases.lostserver import Found, Stored, Trust
from tenants.usecases.recover import Recovered


@click.command()
@click.argument("tenant", nargs=-1, shell_complete=options.names)
@click.option("--server", metavar="SERVER", help="The server that is lost, where storage has several.")
@click.option(
    "--trust",
    multiple=True,
    metavar="KEY",
    help="Fingerprint of the lost server's signing key, as `tenants doctor` printed it there.",
)
@click.option("--unsigned", is_flag=True, help="Also bring back tenants that no key vouches for.")
@click.option("--dry-run", is_flag=True, help="Show keys and snapshots, and what would come back. Changes nothing.")
@options.identity
@options.as_json
def recover(
    tenant: tuple[str, ...],
    server: str | None,
    trust: tuple[str, ...],
    unsigned: bool,
    dry_run: bool,
    identity: Path | None,
    as_json: bool,
) -> int:
    """Bring back every tenant of a lost server.

    From storage alone, on an empty server: those named, or all that had not been dropped, with roles, limits,
    extensions, schemas and data. Each gets a login, whose DATABASE_URL is shown once. Only snapshots come back that the
    lost server signed: name its key with --trust, or confirm it on a terminal. --unsigned is for snapshots that an
    earlier version took.
    """
    if server is not None and not is_server(server):
        raise UsageError(f"{server!r} is no server in storage", next="tenants recover --dry-run")
    for key in trust:
        if not is_fingerprint(key):
            raise UsageError(
                f"{key!r} is no fingerprint: it has 32 hexadecimal digits",
                next="tenants recover --dry-run shows the keys",
            )
    with options.access("recover", identity) as access:
        access.require_admin("tenants recover")
        given = Trust(frozenset(trust) | recovers.trusted(access), unsigned)
        stored = recovers.inspect(access, server, given)
        if dry_run:
            return _show(access, stored, given, tenant, as_json=as_json)
        chosen = given if trust or unsigned else _ask(stored, given)
        found = recovers.choose(access, stored, chosen, tenant)
        for key in sorted({key for key in found.signed_by.values() if key}):
            names = [name for name, by in found.signed_by.items() if by == key]
            render.say(f"server {stored.server}, signed by {key}: {', '.join(names)}", err=True)
        if names := [name for name, by in found.signed_by.items() if by is None]:
            render.say(f"server {stored.server}, not signed: {', '.join(names)}", err=True)
        done = recovers.recover(access, stored, found, tenant, render.Progress(tenant))
    _answer(done, as_json=as_json)
    return next((error.exit_code for error in done.failures.values()), 0)


def _ask(stored: Stored, given: Trust) -> Trust:
    """What the person at the terminal trusts. Raises UsageError where there is nobody to ask, or several keys."""
    keys = sorted(stored.keys)
    if given.keys & stored.keys.keys():
        return given
    told = "; ".join(f"{key} signed {', '.join(stored.tenants_of(key))}" for key in keys)
    if len(keys) > 1:
        raise UsageError(
            f"the ledgers of server {stored.server} are signed by several keys: {told}",
            next="use the fingerprint that you kept: tenants recover --trust KEY",
        )
    if keys:
        question, flag = (
            f"Server {stored.server}: key {told}. Is that the fingerprint that you kept?",
            f"--trust {keys[0]}",
        )
        chosen = Trust(given.keys | {keys[0]})
    else:
        question = (
            f"Server {stored.server}: no snapshot is signed. An earlier version took them, or someone else wrote them "
            "into the bucket. Bring them back?"
        )
        flag, chosen = "--unsigned", Trust(given.keys, unsigned=True)
    if not sys.stdin.isatty():
        raise UsageError(
            f"not confirmed: {question} Standard input is not a terminal",
            next=f"tenants recover {flag}",
        )
    click.confirm(question, abort=True, err=True)
    return chosen


def _show(access: Access, stored: Stored, given: Trust, names: tuple[str, ...], *, as_json: bool) -> int:
    """The dry run. Where nothing says which keys to trust, it shows what each of them vouches for."""
    keys = sorted(stored.keys)
    undecided = not (given.unsigned or given.keys & stored.keys.keys())
    trust = Trust(frozenset(keys), unsigned=not keys) if undecided and len(keys) < 2 else given
    found = recovers.choose(access, stored, trust, names)
    lists = {"dropped": list(found.dropped), "damaged": list(found.damaged), "untrusted": list(found.untrusted)}
    if as_json:
        newest = {name: manifest.id for name, manifest in found.newest.items()}
        signers = {key: stored.tenants_of(key) for key in keys}
        signed = {"keys": signers, "signed_by": dict(found.signed_by)}
        render.answer({"server": found.server, "snapshots": newest, **signed, **lists})
    else:
        rows = [
            (m.id, name, m.revision, m.rows, m.reason, found.signed_by[name] or "no key", _state(name, found))
            for name, m in found.newest.items()
        ]
        render.table(("SNAPSHOT", "TENANT", "REVISION", "ROWS", "TAKEN FOR", "SIGNED BY", ""), rows)
    if undecided and len(keys) > 1 and not as_json:
        render.table(("KEY", "SIGNED THE LEDGERS OF"), [(key, ", ".join(stored.tenants_of(key))) for key in keys])
        render.say("Next:     use the fingerprint that you kept: tenants recover --dry-run --trust KEY", err=True)
    for name in found.damaged:
        render.say(f"{name}   would not come back: none of its manifests can be read", err=True)
    for name in found.untrusted:
        render.say(f"{name}   would not come back: no trusted key has signed its ledger", err=True)
    for name, note in found.notes.items():
        render.say(f"{name}   {note}", err=True)
    return SnapshotError.exit_code if found.damaged else 0


def _state(name: str, found: Found) -> str:
    return "was dropped" if name in found.dropped else ""


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
