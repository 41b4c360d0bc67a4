"""The command `tenants`: parse, call one function, render. Every error ends here, with its exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, NoReturn

import click

from tenants import __version__
from tenants.cli import render
from tenants.core.errors import TenantsError, UsageError
from tenants.core.settings import DatabaseUrl

EXIT_CODES = """\b
Exit codes: 0 done, 1 failed inside, 2 usage or configuration, 3 something is pending, or wrong,
4 locked by someone, 5 snapshot or storage, 6 migration."""


class Terminated(KeyboardInterrupt):
    """SIGTERM: leaves through every `finally`, so that nothing stays behind. It is one of those that psycopg knows: it
    cancels the statement that is running, so that its connection can be used to clean up."""


MODULES = {
    "adopt": ("adopt",),
    "agent": ("nightly", "agent"),
    "audit": ("audit", "status"),
    "deploy": ("plan", "rehearse", "live"),
    "provision": (
        *("create", "apply", "login", "rotate", "reader", "extension"),
        *("suspend", "resume", "connect", "list", "show", "drop"),
    ),
    "push": ("deploy",),
    "recover": ("recover", "move"),
    "snapshots": ("snapshot", "snapshots", "restore", "fetch", "drill", "prune"),
    "undo": ("undo",),
}
"""Where each command is. A push that has nothing to do reads no more of us than it takes to find that out."""


class Commands(click.Group):
    """Reads the module of a command when the command is called for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return sorted(name for names in MODULES.values() for name in names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        module = next((module for module, names in MODULES.items() if cmd_name in names), None)
        commands = import_module(f"tenants.cli.{module}").COMMANDS if module else ()
        return next((command for command in commands if command.name == cmd_name), None)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
@click.version_option(__version__, prog_name="dokku-tenants", message="%(prog)s %(version)s")
def cli() -> None:
    """One shared PostgreSQL, many side projects, each in a schema of its own.

    \b
    DATABASE_URL      the admin's URL, or one tenant's own
    TENANTS_STORE     s3://bucket/prefix or file:///folder, for snapshots
    TENANTS_MIGRATIONS  the folder of migrations (default: ./migrations)
    """


def main() -> NoReturn:
    """Run the command line and exit."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(_run(sys.argv[1:]))


def _terminate(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


def _run(arguments: list[str]) -> int:
    try:
        with _errors_told(as_json="--json" in arguments):
            code = cli.main(arguments, prog_name="tenants", standalone_mode=False)
            return code if isinstance(code, int) else 0
    except _Exit as ending:
        return ending.code


class _Exit(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@contextmanager
def _errors_told(*, as_json: bool) -> Iterator[None]:
    """The one error boundary."""
    try:
        yield
    except TenantsError as error:
        _tell(error, as_json=as_json)
        raise _Exit(error.exit_code) from None
    except click.ClickException as error:
        if as_json:
            _tell(UsageError(error.format_message(), next="tenants --help"), as_json=True)
        else:
            error.show()
        raise _Exit(error.exit_code) from None
    except (click.Abort, KeyboardInterrupt) as ending:  # click makes an Abort of the other
        terminated = isinstance(ending, Terminated) or isinstance(ending.__cause__, Terminated)
        click.echo("stopped by SIGTERM" if terminated else "stopped", err=True)
        raise _Exit(143 if terminated else 130) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise _Exit(141) from None
    except Exception as error:  # noqa: BLE001  # or of the driver's
        if told := _of_the_driver(error):
            _tell(told, as_json=as_json)
            raise _Exit(1) from None
        import traceback

        # a bug of ours: the report is all there is, in a log that outlives the container
        click.echo(_without_secrets(traceback.format_exc()), err=True)
        click.echo("Error:    this is a bug in dokku-tenants\nNext:     report it with the lines above", err=True)
        raise _Exit(1) from None


def _of_the_driver(error: Exception) -> TenantsError | None:
    """In words of ours, if it is one of the driver's; where that was not read there is none."""
    if "psycopg" not in sys.modules:
        return None
    from tenants.edges import postgres

    return postgres.failed(error) if isinstance(error, postgres.DatabaseError) else None


def _tell(error: TenantsError, *, as_json: bool) -> None:
    click.echo(render.failure(error), err=True)
    if as_json:
        document: dict[str, Any] = {"message": error.message, "data": error.data, "next": error.next}
        render.answer({"error": {**document, "exit_code": error.exit_code}})


def _without_secrets(text: str) -> str:
    secrets = [value for name, value in os.environ.items() if "SECRET" in name or "PASSWORD" in name]
    if url := os.environ.get("DATABASE_URL"):
        secrets.append(url)
        with suppress(TenantsError):  # then there is no password to be found in it
            secrets.append(DatabaseUrl.parse(url).password)
    for secret in filter(None, secrets):
        text = text.replace(secret, "…")
    return text
