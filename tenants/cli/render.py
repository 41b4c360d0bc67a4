"""How things look: plain lines for a log, live progress on a terminal, one JSON document for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from tenants.core.errors import TenantsError
from tenants.core.events import Event
from tenants.core.names import printable

if TYPE_CHECKING:
    from tenants.core.compatibility import Finding

INDENT = " " * 10


NOTHING_YET = """nothing to do: there is no project and no tenant yet
Next:     add migrations/PROJECT/ with a first revision, and push; or: tenants create NAME"""


class Progress:
    """Events on standard error: a line for each; on a terminal the live ones on one line that they share."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._width = max((len(name) for name in names), default=0)
        self._live = sys.stderr.isatty()
        self._open = False

    def __call__(self, event: Event) -> None:
        if event.live and not self._live:
            return
        self._width = max(self._width, len(event.tenant))
        line = folded(f"{event.tenant:<{self._width}}   {event.stage:<9} {event.text}", "    ")
        if self._open:
            click.echo("\r\x1b[K", nl=False, err=True)
        if event.live:
            click.echo(click.style(line[: _columns() - 1], dim=True), nl=False, err=True)
        else:
            click.echo(click.style(line, fg="red") if event.failed else line, err=True)
        self._open = event.live


def findings(found: Sequence[Finding] | None) -> list[dict[str, str | None]] | None:
    """Null where nobody has looked."""
    return None if found is None else [finding.document() for finding in found]


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns


def answer(document: dict[str, Any]) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(document, indent=2, default=_plain))


def _plain(value: object) -> object:
    from tenants.core.manifest import rfc3339

    return rfc3339(value) if isinstance(value, datetime) else str(value)


def failure(error: TenantsError, *, lead: str = "Error:    ", release: str | None = None) -> str:
    """What happened, what state the data is in, what serves, what comes next."""
    lines = [folded(f"{lead}{error.message}", INDENT)] if lead else []
    if error.data:
        lines.append(folded(f"Data:     {error.data}", INDENT))
    if release:
        lines.append(f"Release:  {release}")
    if error.next:
        lines.append(folded(f"Next:     {error.next}", INDENT))
    return "\n".join(lines)


def folded(text: str, indent: str) -> str:
    """Text that may be somebody else's, as one entry of a log: lines after the first are set in, so that none of them
    looks like an entry of its own."""
    return printable(text).replace("\n", f"\n{indent}")


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns that line up, on standard output; nothing else, so that it can be cut and sorted."""
    cells = [list(columns), *([printable("" if c is None else str(c)).replace("\n", " ") for c in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    for row in cells:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def moment(value: datetime | None) -> str:
    return f"{value.astimezone():%Y-%m-%d %H:%M:%S}" if value else ""
