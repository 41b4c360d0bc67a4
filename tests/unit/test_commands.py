"""The commands: every one says what it does, and answers scripts as well as people."""

from __future__ import annotations

import click
import pytest

from tenants.cli import cli

ANSWERS_NOTHING = {"agent", "connect"}


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_says_in_a_line_what_it_does(name: str) -> None:
    command = cli.commands[name]
    assert command.help and command.help.splitlines()[0].endswith(".")
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"--{parameter.name} of {name} says nothing"


@pytest.mark.parametrize("name", sorted(set(cli.commands) - ANSWERS_NOTHING))
def test_every_command_that_answers_something_can_answer_in_json(name: str) -> None:
    assert any("--json" in parameter.opts for parameter in cli.commands[name].params)


def test_the_help_names_the_exit_codes_and_the_environment() -> None:
    text = f"{cli.help}{cli.epilog}"
    for wanted in ("DATABASE_URL", "TENANTS_STORE", "TENANTS_MIGRATIONS", "4 locked", "5 snapshot", "6 migration"):
        assert wanted in text
