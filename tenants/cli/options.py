"""Options and beginnings that several commands share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import click

from tenants.core.settings import Settings
from tenants.usecases import locks
from tenants.usecases.access import Access, open_access

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
    default=locks.WAIT,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for somebody who is at work on the tenant.",
)


@contextmanager
def access(purpose: str) -> Iterator[Access]:
    """The settings of the environment, and a connection with them."""
    with open_access(Settings.read(os.environ), purpose) as opened:
        yield opened
