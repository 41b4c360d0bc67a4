"""Named SQL, in files: each statement begins with a line `-- name: …` and the comment that explains it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import LiteralString

HERE = Path(__file__).parent


@cache
def _statements() -> dict[str, LiteralString]:
    found: dict[str, LiteralString] = {}
    for file in sorted(HERE.glob("*.sql")):
        if not file.name.startswith("catalog_"):
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
    return tuple(file.read_text("utf-8") for file in sorted(HERE.glob("catalog_*.sql")))
