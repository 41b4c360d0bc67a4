"""log."""

from __future__ import annotations

from typing import Any

import click

from tenants.cli import options, render
from tenants.core.names import check_name
from tenants.usecases import history


@click.command()
@click.argument("tenant")
@click.option("--count", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many, at most.")
@options.as_json
def log(tenant: str, count: int, as_json: bool) -> None:
    """Show what was done to a tenant: deploys, restores and the like, and how they ended; the newest last.

    What was done to one that is gone, too.
    """
    check_name(tenant)
    with options.access("log") as access:
        found = history.of(access, tenant, count)
    if as_json:
        render.answer({"log": [{"tenant": tenant, **entry} for entry in found]})
    elif not found:
        click.echo(f"nothing was done to {tenant} yet, for all that is known", err=True)
    else:
        render.table(("WHEN", "WHAT", "FROM", "TO", "OUTCOME", "COMMIT", "SNAPSHOT"), [_row(entry) for entry in found])
        for entry in found[-1:]:
            if entry["error"]:
                click.echo(render.folded(f"The last one failed: {entry['error']}", render.INDENT), err=True)


def _row(entry: dict[str, Any]) -> tuple[object, ...]:
    return (
        render.moment(entry["recorded_at"]),
        entry["kind"],
        "+".join(entry["from_heads"]) or "-",
        "+".join(entry["to_heads"]) or "-",
        entry["outcome"] + (", live" if entry["live_at"] else ""),
        (entry["git_rev"] or "-")[:10],
        entry["snapshot"] or "-",
    )


COMMANDS = (log,)
