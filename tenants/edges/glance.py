"""Glance: everything that a push with nothing to do has to know of the database, in three statements through psql.

psql is a second way to open a session, and there for one reason: it is there in 10 ms, and the driver, which has to be
read first, in 100. So it gets the same settings, is started through the same door as each program, reads catalogs and
copies version tables as `postgres.read_heads` does, and writes nothing. What it answers is either all of it or
nothing: whoever gets nothing looks again with the driver, which has words for what is wrong.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any

from tenants.core.identity import Identity
from tenants.core.settings import DatabaseUrl
from tenants.edges import programs, session
from tenants.edges.sql import catalog_steps, statement

MAX_HEADS, MAX_LINE = 100, 1 << 20
LOCK_MS = 200
"""How long a version table that somebody has locked is waited for, before it is left to the driver."""


@dataclass(frozen=True)
class Tenant:
    """One of the catalog."""

    name: str
    project: str
    suspended: bool
    sound: bool
    """Whether its schema and its version table are what they have to be."""
    heads: tuple[str, ...]
    last: dict[str, Any] | None
    """What was done to it last and did not fail."""
    ran: tuple[tuple[list[str], list[str]], ...]
    """The heads before, and what was run: in the order of time, if that was asked for."""


@dataclass(frozen=True)
class Seen:
    me: Identity
    tenants: tuple[Tenant, ...]


@contextmanager
def begin(url: DatabaseUrl, *, order: bool) -> Iterator[Glance | None]:
    """Start to look, also at the `order` in which revisions have run; None where there is no psql."""
    program = programs.psql(os.environ.get("PATH", ""))
    if program is None:
        yield None
        return
    with programs.start(
        program, "psql", "-XAtqw", url=url, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        with suppress(BrokenPipeError):
            assert process.stdin
            process.stdin.write(_script(order).encode())
            process.stdin.close()
        yield Glance(process)


class Glance:
    """On its way: there is time for something else before the answer is asked for."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def answer(self) -> Seen | None:
        """None if there is anything that the driver should rather look at."""
        try:
            seen = _read(_lines(self._process.stdout))  # type: ignore[arg-type]
        except (ValueError, KeyError, TypeError, StopIteration, RecursionError):
            return None
        return seen if self._process.wait() == 0 else None


def _script(order: bool) -> str:
    """psql's input. It stops at the first error, and where schema `tenants` is not ours: what is in it then may be
    somebody's trap."""
    settings = "; ".join(f"SET {name} = '{value}'" for name, value in session.SETTINGS.items())
    values = {"names": "(SELECT array_agg(name) FROM tenants.tenants)", "owned": "true"}
    look = statement("glance")
    for part in ("identify", "schemas", "last_good", "runs"):
        text = statement(part).replace("%%", "%").strip().rstrip(";")
        for name, value in {**values, "table": "'alembic_version'", "column": "'version_num'"}.items():
            text = text.replace(f"%({name})s", value)
        look = look.replace(f"({part})", f"({text})")
    return rf"""
\set ON_ERROR_STOP on
\set order {str(order).lower()}
{settings};
{look.replace("MILLISECONDS", str(LOCK_MS))}
"""


def _lines(pipe: IO[bytes]) -> Iterator[str]:
    """Bounded, whatever a tenant has put into its tables."""
    rest = b""
    while piece := os.read(pipe.fileno(), 1 << 16):
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line.decode()
        if len(rest) > MAX_LINE:
            raise ValueError("a line without an end")
    if rest:
        raise ValueError("a line that breaks off")


def _read(lines: Iterator[str]) -> Seen:
    me = Identity(**json.loads(next(lines)))
    known = json.loads(next(lines))
    if known["version"] != len(catalog_steps()) or known["left"]:
        raise ValueError("something is to be done")
    rows = [json.loads(next(lines)) for _ in range(known["count"])]
    heads: dict[str, list[str]] = {}
    name, closed = "", False
    for line in lines:
        begun, tab, word = line.partition("\t")  # in a row of a version table COPY writes a tab otherwise
        if tab:
            name, closed = begun, word == "end"
            heads.setdefault(name, [])
        else:
            heads[name].append(line)
            if len(heads[name]) > MAX_HEADS or "\\" in line:
                raise ValueError("nothing that Alembic wrote")
    if not closed:
        raise ValueError("it breaks off")
    tenants = [
        Tenant(
            row["name"],
            row["project"],
            row["suspended"],
            row["sound"] and (not row["versioned"] or row["name"] in heads),
            tuple(sorted(filter(None, heads.get(row["name"], ())))),
            row["last"],
            tuple((before, applied) for before, applied in row["ran"] or ()),
        )
        for row in rows
    ]
    return Seen(me, tuple(tenants))
