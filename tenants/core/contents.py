"""What is in an archive: rows, bytes and a digest of each table, read from the text that pg_restore makes of it.

The text of a table's rows is the same whenever it is dumped, so two archives hold the same data if these are the same:
that is how a drill knows that what it restored is what was there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

_NAME = rb'(?:"(?:[^"]|"")*"|[^" (.;]+)'
_COLUMN = rb'(?:"(?:[^"]|"")*"|[^",()\n ]+)'
_COLUMNS = rb"(?: \(" + _COLUMN + rb"(?:, " + _COLUMN + rb")*\) | +)"
_ROOT = rb"(^-- load via partition root [^\n]*\n\n)?"
_BEGINS = re.compile(_ROOT + rb"^COPY (" + _NAME + rb"\." + _NAME + rb")" + _COLUMNS + rb"FROM stdin;\n", re.MULTILINE)
_SETVAL = re.compile(rb"^SELECT pg_catalog\.setval\('(?:[^']|'')*', [^\n]*\n", re.MULTILINE)
_EXTENSION = re.compile(
    rb"^CREATE EXTENSION IF NOT EXISTS (" + _NAME + rb") WITH SCHEMA (" + _NAME + rb");\n", re.MULTILINE
)
_END = b"\\.\n"
_KEPT = 1 << 16
"""Bytes between tables that are kept while a table's beginning is looked for: no statement there is as long."""

SEQUENCES = "sequences"
"""Under which the values of all sequences are counted."""


@dataclass(frozen=True)
class Contents:
    """Of one table. `bytes` are those of COPY's text."""

    rows: int
    bytes: int
    sha256: str
    """Empty where the bucket is not to know it."""


def rows_of(tables: Mapping[str, Contents]) -> int:
    """In all tables."""
    return sum(found.rows for name, found in tables.items() if name != SEQUENCES)


class Tally:
    """Reads the text that pg_restore makes of an archive, in pieces of any size, in bounded memory."""

    def __init__(self) -> None:
        self._whole = hashlib.sha256()
        self._found: dict[str, Contents] = {}
        self.extensions: dict[str, str] = {}
        """The extensions that it asks for, and the schema of each."""
        self._outside, self._carry = b"", b""
        self._table: str | None = None
        self._rows = self._bytes = self._sequences = 0
        self._digest, self._row, self._values = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
        self._scattered, self._sums = False, dict[str, int]()

    def feed(self, piece: bytes) -> None:
        while piece:
            piece = self._between(piece) if self._table is None else self._within(piece)

    def done(self) -> dict[str, Contents]:
        """By quoted name with schema; sequence values under `sequences`. To be called at the end."""
        self._note(self._outside)
        self._outside = b""
        if self._sequences:
            self._found[SEQUENCES] = Contents(self._sequences, 0, self._values.hexdigest())
        return dict(sorted(self._found.items()))

    def digest(self) -> str:
        """SHA-256 of all of it: of what is between the tables, and of the digest of each table's rows in their order.
        It is the same for the same content, which an archive's is not: that has the time in it, and numbers that depend
        on the neighbours. To be called at the end."""
        self.done()
        return self._whole.hexdigest()

    def _between(self, piece: bytes) -> bytes:
        text = self._outside + piece
        begins = _BEGINS.search(text)
        if begins is None:
            cut = text.rfind(b"\n", 0, max(0, len(text) - _KEPT)) + 1
            self._note(text[:cut])
            self._outside = text[cut:]
            return b""
        self._note(text[: begins.start()])
        self._whole.update(begins[0])
        self._outside, self._carry = b"", b"\n"
        self._table = begins[2].decode("utf-8", "replace")
        self._scattered = begins[1] is not None
        self._rows = self._bytes = 0
        self._digest, self._row = hashlib.sha256(), hashlib.sha256()
        return text[begins.end() :]

    def _note(self, text: bytes) -> None:
        self._whole.update(text)
        for name, schema in _EXTENSION.findall(text):
            self.extensions[_unquoted(name)] = _unquoted(schema)
        for line in _SETVAL.findall(text):
            self._values.update(line)
            self._sequences += 1

    def _within(self, piece: bytes) -> bytes:
        text = self._carry + piece  # its first byte is the end of the line before
        end = text.find(b"\n" + _END) if b"\\" in text else -1  # one byte is found ten times as fast
        if end < 0:
            kept = max(0, len(text) - len(_END))
            self._count(text, 1, kept + 1)
            self._carry = text[kept:]
            return b""
        self._count(text, 1, end + 1)
        assert self._table is not None
        self._whole.update(self._digest.digest())
        if self._scattered:
            self._add(self._table)
        else:
            self._found[self._table] = Contents(self._rows, self._bytes, self._digest.hexdigest())
        self._table = None
        return text[end + 1 + len(_END) :]

    def _count(self, text: bytes, begin: int, end: int) -> None:
        """What is between the two is of the table."""
        data = memoryview(text)[begin:end]
        self._rows += text.count(b"\n", begin, end)
        self._bytes += len(data)
        self._digest.update(data)
        if self._scattered:
            self._sum(bytes(data))

    def _sum(self, data: bytes) -> None:
        """Rows that come in another order, and in other partitions, once they have been restored: where they are
        hashed by an enum, whose values have other numbers in each database. All partitions count as their root."""
        assert self._table is not None
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._row.update(line)
            digest = int.from_bytes(self._row.digest())
            self._sums[self._table] = (self._sums.get(self._table, 0) + digest) % (1 << 256)
            self._row = hashlib.sha256()
        self._row.update(rest)

    def _add(self, table: str) -> None:
        former, total = self._found.get(table), self._sums.get(table, 0)
        rows, size = (former.rows, former.bytes) if former else (0, 0)
        self._found[table] = Contents(rows + self._rows, size + self._bytes, f"{total:064x}")


def _unquoted(name: bytes) -> str:
    text = name.decode("utf-8", "replace")
    return text[1:-1].replace('""', '"') if text.startswith('"') else text
