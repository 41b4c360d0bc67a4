r"""A revision written in SQL: `0002_add_colour.sql`, with the sections `-- migrate:up` and `-- migrate:down`.

The format is dbmate's (https://github.com/amacneil/dbmate). A line that begins a section does so wherever it stands, be
it in a string. There may be several pairs of sections in a file; the ways back are gone in the opposite order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tenants.core.errors import HistoryError
from tenants.core.history import Revision, check_id
from tenants.core.lexer import Cut, copies, cut

_SECTION = re.compile(r"^--[ \t]*migrate:(up|down)(?=\s|\Z)([^\n]*)", re.MULTILINE)
_COMMENT = re.compile(r"\s*(?:--.*)?")


@dataclass(frozen=True)
class Section:
    start: int
    """Of its text in that of the file; its first line is behind the one that names it."""
    end: int
    transaction: bool


@dataclass(frozen=True)
class SqlFile:
    file: str
    text: str
    up: tuple[Section, ...]
    down: tuple[Section, ...]
    """In the order in which they are to be run."""

    def statements(self, section: Section, *, conforming: bool = True) -> Iterator[SqlStatement]:
        """What there is to be run. `conforming`: whether standard_conforming_strings is on before it."""
        text, last = self.text[section.start : section.end], 0
        for part in cut(text, conforming=conforming):
            data = text[slice(*part.data)] if part.data else None
            written = text[last : part.end].strip()
            last = part.data[1] + len("\\.") if part.data else part.end + 1
            yield SqlStatement(
                text=text[part.start : part.end].rstrip(),
                start=section.start + part.start,
                data=data,
                data_start=section.start + part.data[0] if part.data else 0,
                written=f"{written};" if data is None else f"{written};\n{data}\\.",
            )

    def place(self, offset: int) -> str:
        """The file, the line and the column, as people and editors count them."""
        line = self.text.count("\n", 0, offset) + 1
        return f"{self.file}:{line}:{offset - self.text.rfind(chr(10), 0, offset)}"


@dataclass(frozen=True)
class SqlStatement:
    text: str
    start: int
    """Where it begins in the file."""
    data: str | None
    """The lines that a COPY … FROM STDIN reads."""
    data_start: int
    written: str
    """As it stands in the file, with the comments above it."""


def id_of(file: str) -> str:
    """The revision that a file of this name is: what stands before the first `_`, or all of it."""
    return file.removesuffix(".sql").partition("_")[0]


def message_of(file: str) -> str:
    """What its name says that it does."""
    return file.removesuffix(".sql").partition("_")[2].replace("_", " ")


def read_sql(file: str, text: str) -> SqlFile:
    """Find the sections. Raises HistoryError, which names the file and the line, for a file without."""
    check_id(file, id_of(file))
    if (null := text.find("\0")) >= 0:
        line = text.count("\n", 0, null) + 1
        raise HistoryError(f"{file}:{line}: there is a null character in it", next=f"take it out of {file}")
    found = list(_SECTION.finditer(text))
    if not any(match[1] == "up" for match in found):
        raise HistoryError(
            f"{file}: has no line `-- migrate:up`", next=f"put it above the SQL in {file}, or move {file} elsewhere"
        )
    up, down = list[Section](), list[Section]()
    first = found[0]
    last = ""
    for match, after in zip(found, [*found[1:], None], strict=True):
        if match[1] == "down" and last != "up":
            line = text.count("\n", 0, match.start()) + 1
            raise HistoryError(
                f"{file}:{line}: this `-- migrate:down` has no `-- migrate:up` of its own above it",
                next=f"put the sections of {file} in the order up, down",
            )
        last = match[1]
        end = after.start() if after else len(text)
        section = Section(min(match.end() + 1, end), end, "transaction:false" not in match[2].split())
        (up if last == "up" else down).append(section)
    _nothing_above(file, text[: first.start()])
    return SqlFile(file, text, tuple(up), tuple(reversed(down)))


def parse_sql(file: str, text: str, before: str | None) -> Revision:
    """The revision in the SQL file, which follows the one `before` it. Nothing is run. Raises HistoryError."""
    sql = read_sql(file, text)
    for section in (*sql.up, *sql.down):
        for part in cut(text[section.start : section.end]):
            _check(sql, section, part)
    return Revision(
        id=id_of(file),
        down=(before,) if before else (),
        depends_on=(),
        labels=(),
        file=file,
        message=message_of(file),
        reversible=any(True for section in sql.down for _ in sql.statements(section)),
    )


def _nothing_above(file: str, text: str) -> None:
    for number, line in enumerate(text.split("\n"), 1):
        if not _COMMENT.fullmatch(line):
            raise HistoryError(
                f"{file}:{number}: stands above the first section, where only comments may",
                next=f"put it below a line `-- migrate:up` in {file}",
            )


def _check(sql: SqlFile, section: Section, part: Cut) -> None:
    """Raises HistoryError for what only psql could do, and for a COPY that does not end."""
    for token in part.tokens:
        if token.text == "\\":
            command, place = _command(sql.text, section.start + token.start), section.start + token.start
            raise HistoryError(
                f"{sql.place(place)}: {command} is a command of psql, and no SQL",
                next=f"write what it does as SQL, or take it out of {sql.file}",
            )
    if copies(part.tokens, "TO"):
        raise HistoryError(
            f"{sql.place(section.start + part.start)}: nobody reads what this COPY writes to STDOUT",
            next=f"take it out of {sql.file}",
        )
    if not part.complete:
        raise HistoryError(
            f"{sql.place(section.start + part.start)}: the rows of this COPY have to begin on the line below it, "
            "and to end with a line of `\\.`",
            next=f"mend it in {sql.file}, or write the rows as INSERT",
        )


def _command(text: str, start: int) -> str:
    words = text[start : start + 40].split(maxsplit=1)
    return words[0] if words else "\\"
