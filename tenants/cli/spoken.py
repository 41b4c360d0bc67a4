"""How we are spoken of: who has called us through something else types that something's commands, not ours."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

VARIABLE = "TENANTS_CALLED_AS"
"""Where it says `dokku tenants:`, a command is told as `dokku tenants:undo fruits`."""

SERVICE = "TENANTS_SERVICE"
"""Where it says `db`, a command that wants a service of dokku-postgres is told with that one."""

OTHERWISE = {"show": "info", "log": "logs", "create": "link SERVICE"}
"""The plugin's words for some of ours."""

OURS_ALONE = {"agent", "completion", "init", "live", "revision", "run"}
"""What the plugin has no command for."""

_commands: list[re.Pattern[str]] = []


def know(commands: Iterable[str]) -> None:
    """From now on these are commands, where they stand after our name."""
    words = "|".join(sorted(set(commands) - OURS_ALONE))
    _commands[:] = [re.compile(rf"(?<![\w:/-])tenants ({words})\b")]


def told(text: str) -> str:
    """Text in which our commands are written as they are typed."""
    called = os.environ.get(VARIABLE)
    for pattern in _commands if called else ():
        text = pattern.sub(lambda found: f"{called}{_word(found[1])}", text)
    return text


def _word(command: str) -> str:
    return OTHERWISE.get(command, command).replace("SERVICE", os.environ.get(SERVICE, "SERVICE"))
