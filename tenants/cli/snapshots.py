"""snapshot, snapshots, restore, fetch, drill, prune."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext, suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from tenants.cli import options, render, screen
from tenants.core.errors import NoSnapshot, SnapshotError, TenantsError, UsageError
from tenants.core.manifest import Manifest, is_id
from tenants.core.names import check_name
from tenants.core.units import counted, seconds, size
from tenants.usecases import copies, inventory, locks
from tenants.usecases import drill as drills
from tenants.usecases import prune as prunes
from tenants.usecases import restore as restores
from tenants.usecases import snapshots as taking
from tenants.usecases.drill import Drilled
from tenants.usecases.prune import Pruned

SHOWN = 100
"""Objects that are named at most: anyone who can write to the bucket can put more there."""


@click.command()
@click.argument("tenant", shell_complete=options.names)
@options.wait
@options.as_json
def snapshot(tenant: str, wait: float, as_json: bool) -> None:
    """Take a snapshot of a tenant now."""
    with options.access("snapshot") as access:
        entry = access.entry(tenant)
        tell = render.Progress([tenant])
        with locks.tenant_lock(access, tenant, "snapshot", tell, wait):
            with access.acting_as(tenant) as url:
                taken = taking.take(access, url, entry, "manual", tell)
    if as_json:
        render.answer(_document(taken))
    else:
        render.say(f"{tenant}   {taken.id}. To put it back: tenants restore {tenant} {taken.id}")


@click.command()
@click.argument("tenant", required=False, shell_complete=options.names)
@options.as_json
def snapshots(tenant: str | None, as_json: bool) -> int:
    """List the snapshots in storage, of all tenants or of one; the oldest first."""
    if tenant is not None:
        check_name(tenant)
    with options.access("snapshots") as access:
        listing = inventory.list_snapshots(access, tenant)
        nothing = not (listing.found or listing.damaged or listing.gone)
        new = inventory.of_another_server(access) if nothing and not as_json else None
        if tenant is not None and nothing and not new:
            access.entry(tenant)  # storage may know one that is gone; what nobody knows is no tenant without snapshots
    found, damaged = listing.found, listing.damaged
    if as_json:
        documents = [{**_document(manifest), "proven": manifest.id in listing.proven} for manifest in found]
        gone = [{"id": one.id, "tenant": one.tenant} for one in listing.gone]
        render.answer({"snapshots": documents, "gone": gone, "unknown": list(listing.unknown[:SHOWN])})
    elif new:
        render.no_tenant(new)
    elif nothing:
        render.say(f"no snapshot yet\nNext:     tenants snapshot {tenant or 'NAME'}", err=True)
    elif found:
        render.table(
            ("SNAPSHOT", "TENANT", "TAKEN", "REVISION", "SIZE", "ROWS", "REASON", "VERIFIED", "PROVEN"),
            [
                (
                    m.id,
                    m.tenant,
                    render.moment(m.created_at),
                    m.revision,
                    "unchanged" if m.archive else size(m.size),
                    m.rows,
                    m.reason,
                    render.moment(m.verified_at),
                    "yes" if m.id in listing.proven else "",
                )
                for m in found
            ],
        )
    for error in damaged:
        render.fail(error)
    for one in listing.gone[:SHOWN]:
        render.say(f"Error:    snapshot {one.id} of {one.tenant} is gone from storage", err=True, colour="red", upto=6)
    if listing.unknown:
        some = ", ".join(listing.unknown[:3])
        render.say(
            f"Warning:  {counted(len(listing.unknown), 'object')} in storage look like snapshots of this server, and "
            f"this server has not taken them: {some}\n          No command restores, counts, proves or removes them.",
            err=True,
            colour="yellow",
            upto=8,
        )
    return SnapshotError.exit_code if damaged or listing.gone else 0


def _document(manifest: Manifest) -> dict[str, Any]:
    return {
        "id": manifest.id,
        "tenant": manifest.tenant,
        "created_at": manifest.created_at,
        "revision": manifest.revision,
        "bytes": manifest.size,
        "sha256": manifest.sha256,
        "verified_at": manifest.verified_at,
        "reason": manifest.reason,
    }


@click.command()
@click.argument("tenant", shell_complete=options.names)
@click.argument("snapshot", required=False)
@options.at
@click.option("--table", "tables", multiple=True, metavar="TABLE", help="This table alone; may be given several times.")
@click.option("--into", metavar="OTHER", help="Into another tenant, which is made, instead: a copy.")
@click.option("--file", type=click.Path(path_type=Path), metavar="FILE", help="From an archive of pg_dump instead.")
@click.option("--from", "schema", metavar="SCHEMA", help="With --file: the schema in it that is meant.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.identity
@options.wait
@options.as_json
def restore(
    tenant: str,
    snapshot: str | None,
    at: datetime | None,
    tables: tuple[str, ...],
    into: str | None,
    file: Path | None,
    schema: str | None,
    yes: bool,
    identity: Path | None,
    wait: float,
    as_json: bool,
) -> None:
    """Put a snapshot back, the newest one if none is named, with the app running.

    What is there now is kept twice: as a snapshot, and as a schema that is set aside. A single --table changes nothing
    that is there: one that is gone comes back, and the rows of one that is not come into a table beside it. --into
    makes a copy. --file takes what pg_dump or dokku-postgres wrote. On a terminal it asks before a snapshot takes the
    schema to another revision. Needs the admin's URL.
    """
    _check(tenant, snapshot, at)
    chosen = [option for option in (tables, into, file) if option]
    if len(chosen) > 1 or (file and (snapshot or at)) or (schema and not file):
        raise UsageError("these options do not go together", next="tenants restore --help")
    with options.access("restore", identity) as access:
        tell = render.Progress([into or tenant])
        if tables:
            back = copies.tables(access, tenant, snapshot, tables, tell, at=at, wait=wait)
            if as_json:
                render.answer(asdict(back))
            return
        if file:
            done = copies.from_file(access, tenant, file, schema, tell, wait=wait)
        elif into is not None:
            done = copies.into(access, tenant, snapshot, into, tell, at=at, wait=wait)
        else:
            if not yes and sys.stdin.isatty():
                access.require_admin(f"tenants restore {tenant}")
                snapshot, goes = restores.look(access, tenant, snapshot, at)
                if goes:
                    click.confirm(f"Snapshot {snapshot} {goes}. Put it back?", abort=True, err=True)
            done = restores.restore(access, tenant, snapshot, tell, at=at, wait=wait)
    if as_json:
        render.answer(
            {
                "tenant": done.tenant,
                "snapshot": done.snapshot,
                "revision": done.revision,
                "aside": done.aside,
                "undo": done.undo,
                "seconds": done.seconds,
            }
        )
        return
    undo = f" Undo: tenants restore {done.tenant} {done.undo}" if done.undo else ""
    what = file.name if file else f"a copy of {tenant}" if into else done.snapshot
    render.say(
        f"{done.tenant}   restored to {what}, at {done.revision or 'no revision'}, in {seconds(done.seconds)}.{undo}"
    )
    if done.without_login:
        render.say(f"{done.tenant}   has no login. The app's DATABASE_URL comes from: tenants login {done.tenant}")


def _check(tenant: str, snapshot: str | None, at: datetime | None) -> None:
    if snapshot is not None and not is_id(snapshot):
        raise UsageError(f"{snapshot!r} is not the id of a snapshot", next=f"see them: tenants snapshots {tenant}")
    if snapshot is not None and at is not None:
        raise UsageError("one snapshot, or one time: not both", next=f"see them: tenants snapshots {tenant}")


@click.command()
@click.argument("tenant", shell_complete=options.names)
@click.argument("snapshot", required=False)
@options.at
@click.option("--output", metavar="FILE", help="Where to; - for standard output. [default: TENANT-SNAPSHOT.dump]")
@options.identity
@options.as_json
def fetch(
    tenant: str,
    snapshot: str | None,
    at: datetime | None,
    output: str | None,
    identity: Path | None,
    as_json: bool,
) -> None:
    """Write a snapshot, the newest one if none is named, as a plain archive for pg_restore, for a laptop, say."""
    _check(tenant, snapshot, at)
    if output == "-" and as_json:
        raise UsageError("the archive and --json cannot share standard output", next="--output FILE")
    with options.access("fetch", identity) as access:
        manifest, tell = inventory.choose(access, tenant, snapshot, at), render.Progress([tenant])
        if output == "-":
            try:
                taking.fetch(access, manifest, sys.stdout.buffer, tell)
            except BrokenPipeError:
                raise screen.NobodyReadsError from None
            return
        target = Path(output or f"{tenant}-{manifest.id}.dump")
        if target.exists():
            raise UsageError(f"{target} is there already", next="--output FILE names another one")
        partial = target.with_name(f"{target.name}.partial")
        try:
            with open(partial, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                count = taking.fetch(access, manifest, file, tell)
            partial.rename(target)
        except OSError as error:
            raise UsageError(f"{target} cannot be written: {error.strerror}", next="--output FILE") from None
        finally:
            with suppress(OSError):
                partial.unlink()
    if as_json:
        render.answer({"tenant": tenant, "snapshot": manifest.id, "file": str(target), "bytes": count})
    else:
        schema = manifest.schema or tenant
        render.say(f"{tenant}   {manifest.id} is in {target}, {size(count)}. Into a database without schema {schema}:")
        render.say(f"          pg_restore --no-owner --no-privileges --dbname=URL {target}")


@click.command()
@click.argument("tenant", nargs=-1, shell_complete=options.names)
@click.option("--snapshot", metavar="SNAPSHOT", help="This one, instead of the newest.")
@click.option("--again", is_flag=True, help="Also where its archive was proven before.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=drills.TIMEOUT,
    show_default=True,
    metavar="SECONDS",
    help="How long the replay of one snapshot may take.",
)
@options.identity
@options.wait
@options.as_json
def drill(
    tenant: tuple[str, ...],
    snapshot: str | None,
    again: bool,
    timeout: float,
    identity: Path | None,
    wait: float,
    as_json: bool,
) -> int:
    """Prove that snapshots restore: into a scratch database, and compare every table. The live schema is not touched.

    Of all tenants, or of those named, the newest snapshot each; what was proven before is not done again.
    """
    if snapshot is not None and (len(tenant) != 1 or not is_id(snapshot)):
        raise UsageError(f"which tenant's snapshot is {snapshot!r}?", next="tenants drill NAME --snapshot SNAPSHOT")
    done: list[tuple[str, Drilled]] = []
    failures: dict[str, TenantsError] = {}
    with options.access("drill", identity) as access:
        access.require_admin("tenants drill")
        for name in tenant:
            access.entry(name)
        tell = render.Progress(tenant)

        def work(name: str, _: locks.Lock) -> None:
            with nullcontext() if tenant else suppress(NoSnapshot):
                done.append((name, drills.drill(access, name, snapshot, tell, again=again, timeout=timeout)))

        locks.each(access, tenant or access.entries(), "drill", tell, work, failures.__setitem__, wait=wait)
    if as_json:
        drilled = [{"tenant": name, **asdict(one)} for name, one in done]
        render.answer({"drilled": drilled, "failures": {name: error.message for name, error in failures.items()}})
    return _told(failures)


def _told(failures: dict[str, TenantsError]) -> int:
    """Returns the exit code."""
    for name, failure in failures.items():
        render.fail(failure, lead=f"{name}   ")
    return next((failure.exit_code for failure in failures.values()), 0)


@click.command()
@click.argument("tenant", nargs=-1, shell_complete=options.names)
@click.option("--dry-run", is_flag=True, help="Show what would be kept, by which rule, and what would go.")
@options.wait
@options.as_json
def prune(tenant: tuple[str, ...], dry_run: bool, wait: float, as_json: bool) -> int:
    """Remove the snapshots that TENANTS_KEEP and TENANTS_KEEP_CHANGES do not keep, of all tenants or of those named.

    The newest one of each tenant stays, and the newest that a drill has proven.
    """
    done: dict[str, Pruned] = {}
    failures: dict[str, TenantsError] = {}
    with options.access("prune") as access:
        access.require_admin("tenants prune")
        for name in tenant:
            access.entry(name)
        tell = render.Progress(tenant)

        def work(name: str, _: locks.Lock) -> None:
            done[name] = prunes.prune(access, name, tell, dry_run=dry_run)

        locks.each(access, tenant or access.entries(), "prune", tell, work, failures.__setitem__, wait=wait)
    if as_json:
        render.answer({"tenants": {name: _verdicts(found) for name, found in done.items()}})
    else:
        rows = [
            (v.snapshot.id, name, v.snapshot.reason, ", ".join(v.why) or ("would go" if dry_run else "gone"))
            for name, found in done.items()
            for v in found.verdicts
        ]
        render.table(("SNAPSHOT", "TENANT", "REASON", "KEPT BY"), rows)
    return _told(failures)


def _verdicts(found: Pruned) -> dict[str, Any]:
    return {
        "kept": {v.snapshot.id: list(v.why) for v in found.verdicts if v.why},
        "going": [v.snapshot.id for v in found.verdicts if not v.why],
        "removed": list(found.removed),
        "locked": list(found.locked),
    }


COMMANDS = (snapshot, snapshots, restore, fetch, drill, prune)
