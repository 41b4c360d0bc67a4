"""How things look: plain lines for a log, live progress on a terminal, one JSON document for scripts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tenants.cli import screen
from tenants.cli.screen import Progress as Progress
from tenants.cli.screen import say as say
from tenants.core.errors import TenantsError
from tenants.core.names import printable

if TYPE_CHECKING:
    from tenants.core.compatibility import Finding

INDENT = " " * 10
SERVES = "the old one goes on serving"
"""Of the release, where a deploy has stopped."""


NOTHING_YET = """nothing to do: there is no project and no tenant yet
Next:     add migrations/PROJECT/ with a first revision, and push; or: tenants create NAME"""


def nothing_yet(new: str | None) -> None:
    """Where there is neither a project nor a tenant; `new` as in `no_tenant`."""
    if new:
        no_tenant(new)
    else:
        say(NOTHING_YET)


def no_tenant(new: str | None) -> None:
    """On standard error; `new` is what there is to say of a server that has come into the place of another."""
    say(f"{new}\nNext:     tenants recover" if new else "no tenant yet\nNext:     tenants create NAME", err=True)


def findings(found: Sequence[Finding] | None) -> list[dict[str, str | None]] | None:
    """Null where nobody has looked."""
    return None if found is None else [finding.document() for finding in found]


def answer(document: dict[str, Any], *, in_a_line: bool = False) -> None:
    """One JSON document on standard output; in a line for who reads lines."""
    say(json.dumps(document, indent=None if in_a_line else 2, default=_plain))


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
    """Columns that line up, on standard output; nothing else, so that it can be cut and sorted. On a terminal that is
    too narrow for them, each row is a paragraph."""
    cells = [list(columns), *([printable("" if c is None else str(c)).replace("\n", " ") for c in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    if screen.on_terminal(err=False) and sum(widths) + 2 * (len(widths) - 1) > screen.columns():
        title = max(map(len, columns))
        for row in cells[1:]:
            say("\n".join(f"{name:<{title}}  {cell}" for name, cell in zip(columns, row, strict=True) if cell) + "\n")
        return
    for row in cells:
        say("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def fail(error: TenantsError, *, lead: str = "Error:    ", release: str | None = None) -> None:
    """Say that on standard error."""
    say(failure(error, lead=lead, release=release), err=True, colour="red" if lead else None, upto=len(lead))


def moment(value: datetime | None) -> str:
    return f"{value.astimezone():%Y-%m-%d %H:%M:%S}" if value else ""
