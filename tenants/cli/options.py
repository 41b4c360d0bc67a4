"""Options and beginnings that several commands share."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tenants.cli import screen
from tenants.core.errors import UsageError
from tenants.core.names import printable
from tenants.core.near import did_you_mean
from tenants.core.policy import Policy
from tenants.core.results import Options
from tenants.core.settings import LOCK_WAIT, MIGRATION_SECONDS, Settings
from tenants.core.units import bytes_in

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

TAB_SECONDS = 2
"""Who presses Tab does not wait longer."""


def names(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """The names of tenants, for a shell that completes one; none where they cannot be had at once, without a word."""
    from tenants.edges import postgres
    from tenants.usecases.access import recognise

    with suppress(Exception):
        settings = Settings.read(os.environ)
        with postgres.connect(settings.database, "tenants completes", seconds=TAB_SECONDS) as connection:
            return [name for name in recognise(settings, connection).entries() if name.startswith(incomplete)]
    return []


wait = click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=LOCK_WAIT,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for somebody who is at work on the tenant.",
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
        known = f"{', '.join(Policy)}{did_you_mean(value or '', Policy)}"
        raise click.BadParameter(f"{value!r}, which may come from TENANTS_INCOMPATIBLE, is none of {known}") from None


incompatible = click.option(
    "--incompatible",
    envvar="TENANTS_INCOMPATIBLE",
    metavar="off|warn|stop",
    callback=_policy,
    help="What to do when the old release may not live with a pending revision: say nothing, say it, or stop."
    " [default: warn]",
)


def _bytes(_context: click.Context, _option: click.Parameter, value: str | None) -> int | None:
    if value is not None and (found := bytes_in(value)) is None:
        raise UsageError(f"{value!r} is no size", next="write it as 500MB or 5GB: --rehearsal-limit 5GB")
    return found if value is not None else None


timeout_of_migrations = click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=MIGRATION_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long the migrations of one tenant may take.",
)

_PIPELINE = (
    click.option("--no-snapshot", is_flag=True, help="Migrate without a snapshot before: there is no way back then."),
    click.option(
        "--rehearsal/--no-rehearsal",
        "rehearse",
        default=True,
        envvar="TENANTS_REHEARSAL",
        help="Run the revisions on a copy of today's data first, where one can be made. [default: yes]",
    ),
    click.option(
        "--rehearsal-limit",
        envvar="TENANTS_REHEARSAL_LIMIT",
        metavar="SIZE",
        callback=_bytes,
        help="Do not, where the snapshot holds more than this: 5GB. [default: no limit]",
    ),
    click.option(
        "--rehearsal-timeout",
        type=click.FloatRange(min=1),
        envvar="TENANTS_REHEARSAL_TIMEOUT",
        metavar="SECONDS",
        help="How long making the copy may take, and the revisions there. [default: that of --timeout]",
    ),
    click.option("--from-scratch", is_flag=True, help="Accept that a schema which held something is now empty."),
    timeout_of_migrations,
    wait,
)


def of_pipeline(command: Callable[..., int]) -> Callable[..., int]:
    """The options of whatever goes through the pipeline. The command gets them as one, `wanted`."""

    @wraps(command)
    def gathered(*arguments: Any, **said: Any) -> int:
        common = {field.name: said.pop(field.name) for field in fields(Options)}
        return command(*arguments, wanted=Options(**common), **said)

    for option in reversed(_PIPELINE):
        gathered = option(gathered)
    return gathered


class _Shown(logging.Handler):
    """What the library logs, on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        screen.say(f"Warning:  {printable(record.getMessage())}", err=True, colour="yellow")


def _show_log() -> None:
    logger = logging.getLogger("tenants")
    if not logger.handlers:
        logger.addHandler(_Shown())
        logger.propagate = False


@contextmanager
def access(purpose: str, identity: Path | None = None) -> Iterator[Access]:
    """The settings of the environment, and a connection with them."""
    from tenants.usecases.access import open_access  # with the driver, which a push may not need

    settings = Settings.read(os.environ)
    _show_log()
    with open_access(replace(settings, identity=identity or settings.identity), purpose) as opened:
        try:
            yield opened
        finally:
            screen.settle()
