"""The commands: every one says what it does, and answers scripts as well as people."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click
import pytest

import tenants.cli
from tenants.cli import ELSEWHERE, MODULES, cli, spoken

ANSWERS_NOTHING = {"agent", "connect", "completion"}
CONTEXT = click.Context(cli)
COMMANDS = {name: command for name in cli.list_commands(CONTEXT) if (command := cli.get_command(CONTEXT, name))}


def test_every_command_is_where_it_is_looked_for() -> None:
    assert sorted(COMMANDS) == cli.list_commands(CONTEXT)
    for module, names in MODULES.items():
        assert [c.name for c in import_module(f"tenants.cli.{module}").COMMANDS] == list(names)
    modules = {path.stem for path in Path(tenants.cli.__file__).parent.glob("*.py")}
    assert modules - {"__init__", "faults", "options", "render", "screen", "spoken"} == set(MODULES)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_says_in_a_line_what_it_does(name: str) -> None:
    command = COMMANDS[name]
    assert command.help and command.help.splitlines()[0].endswith(".")
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"--{parameter.name} of {name} says nothing"


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - ANSWERS_NOTHING))
def test_every_command_that_answers_something_can_answer_in_json(name: str) -> None:
    assert any("--json" in parameter.opts for parameter in COMMANDS[name].params)


def test_the_help_names_the_exit_codes_and_the_environment() -> None:
    text = f"{cli.help}{cli.epilog}"
    for wanted in ("DATABASE_URL", "TENANTS_STORE", "TENANTS_MIGRATIONS", "4 locked", "5 snapshot", "6 migration"):
        assert wanted in text


@pytest.mark.parametrize(
    ("called", "told"),
    [
        (None, "tenants undo fruits, tenants show fruits, tenants run fruits, tenants init"),
        (
            "dokku tenants:",
            "dokku tenants:undo fruits, dokku tenants:info fruits, tenants run fruits, tenants init",
        ),
        (
            "dokku enter control agent tenants",
            "dokku enter control agent tenants undo fruits, dokku enter control agent tenants show fruits,"
            " dokku enter control agent tenants run fruits, tenants init",
        ),
    ],
    ids=["by itself", "plugin", "control repository"],
)
def test_commands_are_told_as_they_are_typed(called: str | None, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if called is None:
        monkeypatch.delenv(spoken.VARIABLE, raising=False)
    else:
        monkeypatch.setenv(spoken.VARIABLE, called)
    before = spoken._commands[:]
    try:
        spoken.know(COMMANDS)
        assert spoken.told("tenants undo fruits, tenants show fruits, tenants run fruits, tenants init") == told
    finally:
        spoken._commands[:] = before


def test_words_of_other_tools_lead_to_commands_that_there_are() -> None:
    assert set(ELSEWHERE.values()) <= set(COMMANDS) and not set(ELSEWHERE) & set(COMMANDS)
