"""The files of a project's folder: which of them are revisions, and what each follows."""

from __future__ import annotations

from collections.abc import Iterable

from tenants.core.errors import HistoryError
from tenants.core.history import Revision, parse_revision

_KINDS = (".py", ".sql")


def is_revision(name: str) -> bool:
    """Whether a file of this name is one."""
    return name.endswith(_KINDS) and name not in ("env.py", *_KINDS) and not name.startswith((".", "_"))


def decode(file: str, content: bytes) -> str:
    """The text of a file, with the ends of its lines as they are. Raises HistoryError if it is not UTF-8."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise HistoryError(f"{file}: cannot be read: {error}", next=f"save {file} as UTF-8") from None


def revisions(files: Iterable[tuple[str, str]]) -> list[Revision]:
    """The revisions in files of these names and texts. A Python file says what it follows; a SQL file follows the one
    before it by name, of whichever kind. Raises HistoryError."""
    from tenants.core.sqlfile import parse_sql  # it takes a while to be read, and a push may not need it

    found: list[Revision] = []
    for file, text in sorted(files):
        if file.endswith(".sql"):
            found.append(parse_sql(file, text, found[-1].id if found else None))
        else:
            found.append(parse_revision(file, text))
    return found
