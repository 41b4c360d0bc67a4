"""run."""

from __future__ import annotations

import base64
import json
import os
import select
import sys
import time
from collections.abc import Mapping
from typing import Any

import click

from tenants.cli import options, render
from tenants.core.errors import UsageError
from tenants.core.results import Options as CommonOptions
from tenants.usecases import run as runs
from tenants.usecases.run import Answer, Options, Result, Where

LINE = 8 << 20
"""Bytes that one answer of somebody elsewhere may have."""


class _BehindDashes(click.Command):
    """What stands behind `--` is the command, whatever it looks like."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        mark = args.index("--") if "--" in args else len(args)
        ctx.meta["command"] = tuple(args[mark + 1 :])
        return super().parse_args(ctx, args[:mark])

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "-- COMMAND ..."]


@click.command(cls=_BehindDashes)
@click.argument("tenant", nargs=-1, shell_complete=options.names)
@options.of_pipeline
@click.option(
    "--lock-timeout",
    type=click.FloatRange(min=0.1),
    default=Options.lock_seconds,
    show_default=True,
    metavar="SECONDS",
    help="How long its sessions wait for a lock; the app's queries queue up behind them.",
)
@click.option("--schema-in-url", is_flag=True, help="Let DATABASE_URL end in ?schema=NAME, which Prisma needs.")
@click.option("--elsewhere", is_flag=True, help="Start no command: print where it is to be run, and read how it ended.")
@options.as_json
@click.pass_context
def run(
    ctx: click.Context,
    tenant: tuple[str, ...],
    wanted: CommonOptions,
    lock_timeout: float,
    schema_in_url: bool,
    elsewhere: bool,
    as_json: bool,
) -> int:
    """Run another migration tool in the place of revisions: tenants run fruits -- python manage.py migrate.

    A snapshot first, then the command on a copy of today's data, then on the live schema, as the tenant; DATABASE_URL
    says which. Then the proof. When it exits with anything but 0, so does this, with 6. With a tenant's own URL the
    name is left out. It sees the current folder, and writes to a temporary HOME alone.
    """
    command = _checked(tenant, ctx.meta["command"], elsewhere)
    of_run = Options(**vars(wanted), lock_seconds=lock_timeout, schema_in_url=schema_in_url)
    name = tenant[0] if tenant else None
    with options.access("run") as access:
        other = _Elsewhere() if elsewhere else None
        result = runs.run(access, name, command, of_run, render.Progress(tenant), elsewhere=other)
    if as_json:
        render.answer(_document(result, command), in_a_line=elsewhere)
    elif not result.error:
        render.say(_last_words(result), err=elsewhere)
    if result.error and not as_json:
        render.fail(result.error, lead="", release=render.SERVES)
    return result.error.exit_code if result.error else 0


def _checked(tenant: tuple[str, ...], command: tuple[str, ...], elsewhere: bool) -> tuple[str, ...]:
    example = "tenants run fruits -- python manage.py migrate"
    if len(tenant) > 1:
        raise UsageError(f"{' '.join(tenant[1:])}: what is to be run stands behind --", next=f"like this: {example}")
    if elsewhere and command:
        raise UsageError("with --elsewhere no command is started", next="leave out what stands behind --")
    if not elsewhere and not command:
        raise UsageError("there is nothing to run", next=f"write it behind --: {example}")
    if elsewhere and sys.stdout.isatty():
        raise UsageError("--elsewhere is for a program: it prints passwords", next=example)
    return command


def _document(result: Result, command: tuple[str, ...]) -> dict[str, Any]:
    error = result.error
    return {
        "tenant": result.tenant,
        "command": list(command) or None,
        "outcome": result.outcome,
        "definitions_changed": result.definitions,
        "rows_written": None if result.rows is None else list(result.rows),
        "rehearsed": result.rehearsed,
        "snapshot": result.snapshot,
        "exit_code": result.exit_code,
        "output": result.output,
        "seconds": result.seconds,
        "error": error.message if error else None,
        "data": error.data if error else None,
        "next": error.next if error else None,
    }


def _last_words(result: Result) -> str:
    if not result.changed:
        return f"{result.tenant}   nothing has changed, in {result.seconds:.1f} s."
    undo = f" Undo: tenants undo {result.tenant}" if result.snapshot else ""
    return f"{result.tenant}   migrated in {result.seconds:.1f} s.{undo}"


class _Elsewhere:
    """Whoever has started us runs the command: a line for him on standard output, his answer on standard input."""

    def __init__(self) -> None:
        self._read = b""

    def __call__(self, where: Where, environment: Mapping[str, str], seconds: float) -> Answer:
        render.say(json.dumps({"run": where, "environment": dict(environment)}))
        sys.stdout.flush()
        try:
            line = self._line(time.monotonic() + seconds)
        except TimeoutError:
            return Answer(None)
        if line is None:
            return Answer(None, why="whoever ran it went away without an answer")
        try:
            found = json.loads(line)
            code, output = found["exit_code"], found.get("output") or ""
            if not isinstance(code, int) or isinstance(code, bool):
                raise TypeError(code)
            return Answer(code, base64.b64decode(output, validate=True))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return Answer(None, why="the answer of whoever ran it is no answer: a line of JSON with its exit_code")

    def _line(self, end: float) -> bytes | None:
        """The next line; None where there is none, or it is longer than any answer. Raises TimeoutError."""
        while b"\n" not in self._read:
            left = end - time.monotonic()
            if left <= 0 or not select.select([0], [], [], left)[0]:
                raise TimeoutError
            data = os.read(0, 1 << 16)
            if not data or len(self._read) > LINE:
                return None
            self._read += data
        line, _, self._read = self._read.partition(b"\n")
        return line


COMMANDS = (run,)
