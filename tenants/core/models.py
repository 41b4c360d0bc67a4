"""Where a project's models are: `package.module:Base.metadata`, said on the spot or in pyproject.toml."""

from __future__ import annotations

import re
import tomllib

from tenants.core.errors import SettingsError, UsageError

_FORM = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
EXAMPLE = "app.models:Base.metadata"


def which(said: str | None, pyproject: str | None) -> str:
    """The models that were said, or those that `[tool.tenants]` names. Raises UsageError if there are none."""
    found: object = said
    source = "--models"
    if said is None and pyproject is not None:
        found, source = _named(pyproject), "pyproject.toml: tool.tenants.models"
    if found is None:
        raise UsageError(
            "nothing says where the models are",
            next=f'--models {EXAMPLE}, or in pyproject.toml: [tool.tenants] models = "{EXAMPLE}"',
        )
    if not isinstance(found, str) or not _FORM.fullmatch(found):
        raise UsageError(f"{source} is {found!a}, which names no models", next=f"write it as {EXAMPLE}")
    return found


def _named(text: str) -> object:
    try:
        return tomllib.loads(text).get("tool", {}).get("tenants", {}).get("models")
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"pyproject.toml cannot be read: {error}", next="mend pyproject.toml") from None
    except (AttributeError, RecursionError):
        return None
