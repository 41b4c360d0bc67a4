"""The command `tenants`: parse, call one function, render. Every error ends here, with its exit code."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NoReturn

import click

from tenants import __version__
from tenants.cli import faults, render, screen, spoken
from tenants.core.errors import TenantsError, UnknownName, UsageError
from tenants.core.names import printable
from tenants.core.near import did_you_mean
from tenants.core.settings import mistyped

EXIT_CODES = """\b
Exit codes: 0 done, 1 failed inside, 2 usage or configuration, 3 something is pending, or wrong,
4 locked by someone, 5 snapshot or storage, 6 migration."""


class Terminated(KeyboardInterrupt):
    """SIGTERM: leaves through every `finally`, so that nothing stays behind. It is one of those that psycopg knows: it
    cancels the statement that is running, so that its connection can be used to clean up."""


MODULES = {
    "adopt": ("adopt",),
    "agent": ("nightly", "agent"),
    "audit": ("audit",),
    "author": ("init", "revision"),
    "completion": ("completion",),
    "deploy": ("plan", "rehearse", "live"),
    "doctor": ("doctor",),
    "log": ("log",),
    "provision": (
        *("create", "apply", "login", "rotate", "reader", "extension"),
        *("suspend", "resume", "connect", "list", "show", "drop"),
    ),
    "push": ("deploy",),
    "recover": ("recover", "move"),
    "run": ("run",),
    "snapshots": ("snapshot", "snapshots", "restore", "fetch", "drill", "prune"),
    "status": ("status",),
    "undo": ("undo",),
}
"""Where each command is. A push that has nothing to do reads no more of us than it takes to find that out."""


NEAR = 0.7
"""How like a command a word has to be: commands are short, and half of their letters are soon the same."""

ELSEWHERE = {
    "migrate": "deploy",
    "upgrade": "deploy",
    "up": "deploy",
    "push": "deploy",
    "rollback": "undo",
    "downgrade": "undo",
    "revert": "undo",
    "backup": "snapshot",
    "backups": "snapshots",
    "history": "log",
    "logs": "log",
    "dump": "fetch",
    "export": "fetch",
    "download": "fetch",
    "new": "revision",
    "generate": "revision",
    "psql": "connect",
    "info": "show",
    "destroy": "drop",
    "delete": "drop",
}
"""What other tools call something that one of our commands does."""


class Commands(click.Group):
    """Reads the module of a command when the command is called for."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:  # click would take it for the end of whoever reads the answer
            raise RuntimeError("a pipe to a program broke") from error

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return sorted(name for names in MODULES.values() for name in names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        module = next((module for module, names in MODULES.items() if cmd_name in names), None)
        commands = import_module(f"tenants.cli.{module}").COMMANDS if module else ()
        return next((command for command in commands if command.name == cmd_name), None)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args[0] == "help":
            args = [*args[1:2], "--help"]
            if len(args) == 1:
                screen.say(ctx.get_help())
                ctx.exit()
        if not ctx.resilient_parsing and args[0] not in known and not args[0].startswith("-"):
            meant = ELSEWHERE.get(args[0].lower())
            words = f"; did you mean {meant}?" if meant else did_you_mean(args[0], known, cutoff=NEAR)
            ctx.fail(f"there is no command {printable(args[0][:80])!r}{words}")
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
@click.version_option(__version__, prog_name="dokku-tenants", message="%(prog)s %(version)s")
def cli() -> None:
    """One shared PostgreSQL, many side projects, each in a schema of its own.

    \b
    DATABASE_URL        the admin's URL, or one tenant's own
    TENANTS_STORE       s3://bucket/prefix or file:///folder, for snapshots
    TENANTS_MIGRATIONS  the folder of migrations (default: ./migrations)
    """
    for line in mistyped(os.environ):
        screen.say(f"Warning:  {line}", err=True, colour="yellow")


def main() -> NoReturn:
    """Run the command line and exit."""
    signal.signal(signal.SIGTERM, _terminate)
    faults.have_streams()
    spoken.know(name for names in MODULES.values() for name in names)
    code = _run(sys.argv[1:])
    faults.close_answer()
    gc.freeze()  # Python would go through all that is loaded before it ends, to find what nobody uses any more
    sys.exit(code)


def _terminate(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


def _run(arguments: list[str]) -> int:
    try:
        ours = arguments[: arguments.index("--")] if "--" in arguments else arguments  # what follows is a command's
        with _errors_told(arguments, as_json="--json" in ours, in_a_line="--elsewhere" in ours):
            code = cli.main(arguments, prog_name="tenants", standalone_mode=False)
            return code if isinstance(code, int) else 0
    except _Exit as ending:
        return ending.code


class _Exit(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@contextmanager
def _errors_told(arguments: list[str], *, as_json: bool, in_a_line: bool) -> Iterator[None]:
    """The one error boundary."""
    try:
        yield
    except TenantsError as error:
        if isinstance(error, UnknownName) and error.instead:
            error.next = spoken.meant(arguments, error.name, error.instead)
        _tell(error, as_json=as_json, in_a_line=in_a_line)
        raise _Exit(error.exit_code) from None
    except click.ClickException as error:
        if as_json:
            _tell(UsageError(error.format_message(), next="tenants --help"), as_json=True, in_a_line=in_a_line)
        else:
            error.show()
        raise _Exit(error.exit_code) from None
    except (click.Abort, KeyboardInterrupt) as ending:  # click makes an Abort of the other
        terminated = isinstance(ending, Terminated) or isinstance(ending.__cause__, Terminated)
        render.say("stopped by SIGTERM" if terminated else "stopped", err=True)
        raise _Exit(143 if terminated else 130) from None
    except screen.NobodyReadsError:
        raise _Exit(141) from None
    except Exception as error:  # noqa: BLE001  # the driver's, the machine has run out of something, or a bug of ours
        told = _of_the_driver(error) or faults.shortage(error) or faults.bug(error)
        _tell(told, as_json=as_json, in_a_line=in_a_line)
        raise _Exit(1) from None


def _of_the_driver(error: Exception) -> TenantsError | None:
    """In words of ours, if it is one of the driver's; where that was not read there is none."""
    if "psycopg" not in sys.modules:
        return None
    from tenants.edges import postgres

    return postgres.failed(error) if isinstance(error, postgres.DatabaseError) else None


def _tell(error: TenantsError, *, as_json: bool, in_a_line: bool) -> None:
    render.fail(error)
    if as_json:
        document: dict[str, Any] = {"message": error.message, "data": error.data, "next": error.next}
        render.answer({"error": {**document, "exit_code": error.exit_code}}, in_a_line=in_a_line)
