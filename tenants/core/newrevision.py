"""The next revision of a folder: what it is called, and what stands in it, as the folder's own files have it.

SQL files go on where the numbers or the times of those before them end. Python files do so too, or get one of Alembic's
random ids, where the others have those.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tenants.core import sources
from tenants.core.errors import HistoryError, UsageError
from tenants.core.history import MAX_ID, History, Revision

_STAMPS = {14: ("%Y%m%d%H%M%S", timedelta(seconds=1)), 12: ("%Y%m%d%H%M", timedelta(minutes=1))}
_RANDOM = re.compile(r"[0-9a-f]{12}")
_NUMBERED = re.compile(r"(\D*)(\d+)")
_DATED = re.compile(r"\d{4}([_-])\d\d\1\d\d_\d{4}-")
_SLUG = 40


@dataclass(frozen=True)
class Body:
    """What a Python revision does, as Alembic has written it: lines that are set in, but for the first of each."""

    upgrade: str = "pass"
    downgrade: str = "pass"
    imports: tuple[str, ...] = ()


@dataclass(frozen=True)
class New:
    id: str
    follows: str | None
    file: str
    text: str


def slug(message: str) -> str:
    """The message as a part of a file's name."""
    plain = unicodedata.normalize("NFKD", message.casefold()).encode("ascii", "ignore").decode()
    words = re.findall(r"[a-z0-9]+", plain)
    text = ""
    for word in words:
        if text and len(text) + len(word) >= _SLUG:
            break
        text += ("_" if text else "") + word[:_SLUG]
    return text or "step"


def new(
    files: Sequence[tuple[str, str]],
    message: str,
    now: datetime,
    random: str,
    *,
    python: bool | None = None,
    body: Body | None = None,
) -> New:
    """The revision that follows all those in `files` (names and texts). `python` says in which language; None: SQL,
    unless all that is there is Python. `random` is an id like Alembic's. Raises HistoryError for files that are no one
    line of revisions, and UsageError where the new one could not be the last."""
    history = History.of(sources.revisions(files))
    last = history.revisions[history.head] if history.head else None
    if python is None:
        python = bool(files) and all(name.endswith(".py") for name, _ in files)
    id_ = _next_id(history, last, now.astimezone(UTC), random, python=python)
    words = " ".join(message.split())
    stem = f"{id_}_{slug(words)}"
    if python and last and (dated := _DATED.match(last.file)):
        stem = f"{now:%Y}{dated[1]}{now:%m}{dated[1]}{now:%d}_{now:%H%M}-{stem}"
    if python:
        made = New(id_, history.head, f"{stem}.py", _python(words, id_, history.head, body or Body()))
    else:
        made = New(id_, history.head, f"{stem}.sql", "-- migrate:up\n\n\n-- migrate:down\n\n")
    _check(files, made)
    return made


def _next_id(history: History, last: Revision | None, now: datetime, random: str, *, python: bool) -> str:
    if last is None:
        return "0001"
    known = list(history.revisions)
    if len(last.id) in _STAMPS and (before := _moment(last.id)):
        form, step = _STAMPS[len(last.id)]
        return f"{max(now, before + step):{form}}"
    if _RANDOM.fullmatch(last.id) and any(_RANDOM.fullmatch(id_) and not id_.isdigit() for id_ in known):
        return random if python else f"{now:%Y%m%d%H%M%S}"
    if found := _NUMBERED.fullmatch(last.id):
        same = [match for id_ in known if (match := _NUMBERED.fullmatch(id_)) and match[1] == found[1]]
        number = max(int(match[2]) for match in same) + 1
        return f"{found[1]}{number:0{len(found[2])}d}"
    return random if python else f"{now:%Y%m%d%H%M%S}"


def _moment(id_: str) -> datetime | None:
    try:
        return datetime.strptime(id_, _STAMPS[len(id_)][0]).replace(tzinfo=UTC)
    except ValueError:
        return None


def _python(message: str, id_: str, follows: str | None, body: Body) -> str:
    doc = message.encode("unicode_escape").decode() if not message.isprintable() else message.replace("\\", "\\\\")
    doc = doc.replace('"', '\\"')
    ending = "" if doc.endswith((".", "!", "?")) else "."
    lines = [f'"""{doc}{ending}"""', "", "import sqlalchemy as sa", "from alembic import op", *body.imports, ""]
    lines += [f'revision = "{id_}"', f"down_revision = {_literal(follows)}", "", ""]
    lines += [
        "def upgrade() -> None:",
        f"    {body.upgrade}",
        "",
        "",
        "def downgrade() -> None:",
        f"    {body.downgrade}",
    ]
    return "\n".join(lines) + "\n"


def _literal(id_: str | None) -> str:
    return "None" if id_ is None else f'"{id_}"' if '"' not in id_ and id_.isprintable() else repr(id_)


def _check(files: Sequence[tuple[str, str]], made: New) -> None:
    """Whether the folder is one line of revisions with the new one at its end. Raises UsageError."""
    kind = "SQL" if made.file.endswith(".sql") else "Python"
    other = "--python" if kind == "SQL" else "--sql"
    try:
        history = History.of(sources.revisions([*files, (made.file, made.text)]))
        right = history.head == made.id and history.revisions[made.id].down == ((made.follows,) if made.follows else ())
    except HistoryError:
        right = False
    if not right or len(made.id) > MAX_ID:
        raise UsageError(
            f"{made.file} would not be the last one: a SQL file follows the file that comes before it by name",
            next=f"write it in the other language ({other}), or begin the names of new files with something that sorts"
            " after those that are there",
        )
