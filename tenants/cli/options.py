"""Options and beginnings that several commands share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tenants.core.policy import Policy
from tenants.core.settings import LOCK_WAIT, MIGRATION_SECONDS, Settings

if TYPE_CHECKING:
    from tenants.usecases.access import Access

as_json = click.option("--json", "as_json", is_flag=True, help="Answer with one JSON document on standard output.")


def _moment(_: click.Context, __: click.Parameter, value: str | None) -> datetime | None:
    """A time as RFC 3339 writes it, or without a zone: then it is this machine's."""
    try:
        return datetime.fromisoformat(value).astimezone() if value is not None else None
    except (ValueError, OverflowError):
        raise click.BadParameter(f"{value!r} is no time; write it as 2026-11-23T18:00, or 2026-11-23T17:00Z") from None


at = click.option("--at", callback=_moment, metavar="TIME", help="The newest snapshot that was there at that time.")

wait = click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=LOCK_WAIT,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for somebody who is at work on the tenant.",
)


timeout = click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=MIGRATION_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long the migrations of one tenant may take.",
)

identity = click.option(
    "--identity",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help="age's identity file, where snapshots are encrypted; - is standard input. [default: $TENANTS_AGE_IDENTITY]",
)


def _policy(_: click.Context, __: click.Parameter, value: str | None) -> Policy | None:
    try:
        return Policy(value.strip().lower()) if value else None
    except ValueError:
        known = ", ".join(Policy)
        raise click.BadParameter(f"{value!r}, which may come from TENANTS_INCOMPATIBLE, is none of {known}") from None


incompatible = click.option(
    "--incompatible",
    envvar="TENANTS_INCOMPATIBLE",
    metavar="off|warn|stop",
    callback=_policy,
    help="What to do when the old release may not live with a pending revision: say nothing, say it, or stop."
    " [default: warn]",
)


@contextmanager
def access(purpose: str, identity: Path | None = None) -> Iterator[Access]:
    """The settings of the environment, and a connection with them."""
    from tenants.usecases.access import open_access  # with the driver, which a push may not need

    settings = Settings.read(os.environ)
    with open_access(replace(settings, identity=identity or settings.identity), purpose) as opened:
        yield opened
