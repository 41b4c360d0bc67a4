"""How we are spoken of: who has called us through something else types that something's commands, not ours."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

VARIABLE = "TENANTS_CALLED_AS"
"""Where it says `dokku tenants:`, a command is told as `dokku tenants:undo fruits`."""

SERVICE = "TENANTS_SERVICE"
"""Where it says `db`, a command that wants a service of dokku-postgres is told with that one."""

PLUGIN = "dokku tenants:"
"""What the plugin calls itself. Whatever else stands before our commands leads to this program, which has them all."""

OTHERWISE = {"show": "info", "log": "logs", "create": "link SERVICE", "adopt": "adopt SERVICE"}
"""The plugin's words for some of ours."""

AT_HOME = {"agent", "completion", "init", "revision"}
"""What is typed where the repository is, or by nobody, whatever calls us elsewhere."""

OURS_ALONE = {*AT_HOME, "live", "run"}
"""What the plugin has no command for."""

_PLAIN = re.compile(r"[\w.,~/+-]{1,60}")

_commands: list[re.Pattern[str]] = []


def know(commands: Iterable[str]) -> None:
    """From now on these are commands, where they stand after our name."""
    plugins = os.environ.get(VARIABLE) == PLUGIN
    words = "|".join(sorted(set(commands) - (OURS_ALONE if plugins else AT_HOME)))
    _commands[:] = [re.compile(rf"(?<![\w:/-])tenants ({words})\b")]


def meant(arguments: Sequence[str], name: str, instead: str) -> str:
    """The command that was typed, with another name. What may hold a secret, or has to be thought of again, is left
    out: `--yes`, what is no plain word, and another tool's command."""
    words = []
    for word in arguments:
        if word == "--":
            words.append("-- …")
            break
        if word == "--yes":
            continue
        parts = word.split(",") if words else [word]  # the first is the command
        changed = ",".join(instead if part == name and words else part for part in parts)
        words.append(changed if _PLAIN.fullmatch(changed) else "…")
    return f"tenants {' '.join(words)}"


def told(text: str) -> str:
    """Text in which our commands are written as they are typed."""
    called = os.environ.get(VARIABLE, "")
    if not called:
        return text
    called += " " if called[-1].isalnum() else ""
    for pattern in _commands:
        text = pattern.sub(lambda found: called + (_word(found[1]) if called == PLUGIN else found[1]), text)
    return text


def _word(command: str) -> str:
    return OTHERWISE.get(command, command).replace("SERVICE", os.environ.get(SERVICE, "SERVICE"))
