"""Named SQL, in files: each statement begins with a line `-- name: …` and the comment that explains it."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import LiteralString


@cache
def _statements() -> dict[str, LiteralString]:
    found: dict[str, LiteralString] = {}
    for file in sorted(resources.files(__name__).iterdir(), key=lambda f: f.name):
        if file.name.endswith(".sql") and not file.name.startswith("catalog_"):
            _, *parts = re.split(r"^-- name: (\w+)$", file.read_text("utf-8"), flags=re.MULTILINE)
            found.update(zip(parts[::2], parts[1::2], strict=True))
    return found


def statement(name: str) -> LiteralString:
    """The statement of that name. It is part of the package, so it counts as literal."""
    return _statements()[name]


def statements(prefix: str) -> dict[str, LiteralString]:
    """All statements whose names begin so, in the order of their files."""
    return {name: text for name, text in _statements().items() if name.startswith(prefix)}


@cache
def catalog_steps() -> tuple[LiteralString, ...]:
    """The scripts that make and change the catalog's schema, in order: step 1 is the first."""
    files = sorted(f.name for f in resources.files(__name__).iterdir() if f.name.startswith("catalog_"))
    return tuple(resources.files(__name__).joinpath(f).read_text("utf-8") for f in files)
