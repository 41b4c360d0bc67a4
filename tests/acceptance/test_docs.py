"""README and docs/ speak of what is there: commands, options, variables, files."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from support import REPOSITORY, TENANTS

from tenants.cli import cli
from tenants.core.settings import VARIABLES

PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((REPOSITORY / "docs").rglob("*.md")),
    *sorted((REPOSITORY / "examples").glob("*/README.md")),
]
CONTEXT = click.Context(cli)
COMMANDS = cli.list_commands(CONTEXT)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme_and_has_help_with_a_sentence(command: str) -> None:
    assert f"tenants {command}" in PAGES[0].read_text() or command == "live"
    done = subprocess.run([TENANTS, command, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert re.search(r"^  [A-Z][^\n]+", done.stdout, re.MULTILINE), done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_every_command_and_option_that_a_page_shows_exists(page: Path) -> None:
    text = page.read_text()
    for name in re.findall(r"(?:`|^ *|agent )tenants ([a-z]+)", text, re.MULTILINE):
        assert name in COMMANDS, f"{page.name} speaks of tenants {name}"
    options = [
        p for name in COMMANDS if (c := cli.get_command(CONTEXT, name)) for p in c.params if isinstance(p, click.Option)
    ]
    known = {o for option in options for o in (*option.opts, *option.secondary_opts)} | {"--help", "--version"}
    foreign = {"--no-restart", "--no-owner", "--dbname", "--committish", "--link", "--alias", "--no-acl", "--decrypt"}
    foreign |= {"--index", "--single-transaction"}
    text = re.sub(r"(?<= )-- [a-z].*$", "", text, flags=re.M)  # the command of another tool
    ours = re.sub(r"^```shell\n.*?^```$", lambda block: without_other_programs(block[0]), text, flags=re.M | re.S)
    for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", ours):
        assert option in known | foreign, f"{page.name} speaks of {option}"


def without_other_programs(block: str) -> str:
    """What is typed for us alone: dokku, docker and git have options of their own."""
    return "\n".join(
        line[line.find("tenants ") :] for line in block.splitlines() if re.search(r"\btenants [a-z]", line)
    )


def test_every_variable_that_a_page_shows_is_one_that_the_code_reads() -> None:
    code = "".join(path.read_text() for path in (REPOSITORY / "tenants").rglob("*.py"))
    code += "".join(path.read_text() for path in (REPOSITORY / "hooks").rglob("*") if path.is_file())
    for page in PAGES:
        for variable in re.findall(r"\b(TENANTS_[A-Z0-9_]+|DATABASE_URL|GIT_REV|AWS_[A-Z0-9_]+)\b", page.read_text()):
            foreign = variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
            ours = re.match(r"TENANTS_(TEST|TORTURE)_", variable) or re.search(rf"\b{variable}\b", code)
            assert ours or foreign, f"{page.name} speaks of {variable}"


def test_the_contract_has_every_variable_and_every_command_that_answers_with_json() -> None:
    contract = (REPOSITORY / "docs" / "contract.md").read_text()
    table = "".join(line.split(" | ")[0] for line in contract.splitlines() if line.startswith("| `"))
    for variable in VARIABLES:
        assert f"`{variable}`" in table, variable
    for name in COMMANDS:
        command = cli.get_command(CONTEXT, name)
        assert command
        if any("--json" in parameter.opts for parameter in command.params):
            assert f"`{name}`" in contract, name


def test_links_in_the_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_app_json_and_procfile_name_what_is_there() -> None:
    app = json.loads((REPOSITORY / "app.json").read_text())
    for command in app["scripts"]["dokku"].values():
        assert os.access(REPOSITORY / command, os.X_OK), command
    processes = dict(line.split(": ") for line in (REPOSITORY / "Procfile").read_text().splitlines())
    assert list(processes) == list(app["formation"])
    assert processes["agent"] == "tenants agent"


def test_the_version_is_one_number_everywhere() -> None:
    done = subprocess.run([sys.executable, "-m", "tenants", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] in (REPOSITORY / "CHANGELOG.md").read_text()
