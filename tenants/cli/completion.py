"""completion."""

from __future__ import annotations

import sys

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from tenants.cli import render

SHELLS: dict[str, type[ShellComplete]] = {"bash": BashComplete, "fish": FishComplete, "zsh": ZshComplete}
HOW = {
    "bash": 'eval "$(tenants completion bash)"   # in ~/.bashrc',
    "fish": "tenants completion fish | source   # in ~/.config/fish/config.fish",
    "zsh": 'eval "$(tenants completion zsh)"   # in ~/.zshrc',
}


@click.command()
@click.argument("shell", type=click.Choice(sorted(SHELLS)))
def completion(shell: str) -> None:
    """Print what makes a shell complete commands, options and the names of tenants.

    Put one line into the file that the shell reads when it begins: eval "$(tenants completion bash)".
    """
    root = click.get_current_context().find_root().command
    script = ShellComplete.source(SHELLS[shell](root, {}, "tenants", "_TENANTS_COMPLETE"))
    render.say(script)
    if sys.stdout.isatty():
        render.say(HOW[shell], err=True)


COMMANDS = (completion,)
