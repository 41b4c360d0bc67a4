"""Options and beginnings that several commands share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import click

from tenants.core.settings import Settings
from tenants.usecases import locks
from tenants.usecases.access import Access, open_access

as_json = click.option("--json", "as_json", is_flag=True, help="Answer with one JSON document on standard output.")

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
