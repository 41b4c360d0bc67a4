"""snapshot, snapshots, restore."""

from __future__ import annotations

from typing import Any

import click

from tenants.cli import options, render
from tenants.core.errors import UsageError
from tenants.core.manifest import Manifest, is_id
from tenants.core.names import check_name
from tenants.core.units import seconds, size
from tenants.usecases import locks
from tenants.usecases import restore as restores
from tenants.usecases import snapshots as taking


@click.command()
@click.argument("tenant")
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
        click.echo(f"{tenant}   {taken.id}. To put it back: tenants restore {tenant} {taken.id}")


@click.command()
@click.argument("tenant", required=False)
@options.as_json
def snapshots(tenant: str | None, as_json: bool) -> int:
    """List the snapshots in storage, of all tenants or of one; the oldest first."""
    if tenant is not None:
        check_name(tenant)
    with options.access("snapshots") as access:
        found, damaged = taking.list_snapshots(access, tenant)
    if as_json:
        render.answer({"snapshots": [_document(manifest) for manifest in found]})
    elif not found and not damaged:
        click.echo("no snapshot yet\nNext:     tenants snapshot NAME", err=True)
    elif found:
        render.table(
            ("SNAPSHOT", "TENANT", "TAKEN", "REVISION", "SIZE", "REASON", "VERIFIED"),
            [
                (
                    m.id,
                    m.tenant,
                    render.moment(m.created_at),
                    m.revision,
                    size(m.size),
                    m.reason,
                    render.moment(m.verified_at),
                )
                for m in found
            ],
        )
    for error in damaged:
        click.echo(render.failure(error), err=True)
    return damaged[0].exit_code if damaged else 0


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
@click.argument("tenant")
@click.argument("snapshot", required=False)
@options.wait
@options.as_json
def restore(tenant: str, snapshot: str | None, wait: float, as_json: bool) -> None:
    """Put a snapshot back, the newest one if none is named, with the app running.

    What is there now is kept twice: as a snapshot, and as a schema that is set aside. Needs the admin's URL.
    """
    if snapshot is not None and not is_id(snapshot):
        raise UsageError(f"{snapshot!r} is not the id of a snapshot", next=f"see them: tenants snapshots {tenant}")
    with options.access("restore") as access:
        done = restores.restore(access, tenant, snapshot, render.Progress([tenant]), wait=wait)
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
    undo = f" Undo: tenants restore {tenant} {done.undo}" if done.undo else ""
    click.echo(
        f"{tenant}   restored to {done.snapshot}, at {done.revision or 'no revision'},"
        f" in {seconds(done.seconds)}.{undo}"
    )
    if done.without_login:
        click.echo(f"{tenant}   has no login. The app's DATABASE_URL comes from: tenants login {tenant}")


COMMANDS = (snapshot, snapshots, restore)
