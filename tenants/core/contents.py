"""What is in an archive: rows, bytes and a digest of each table, read from the text that pg_restore makes of it.

The text of a table's rows is the same whenever it is dumped, so two archives hold the same data if these are the same:
that is how a drill knows that what it restored is what was there.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

_NAME = rb'(?:"(?:[^"]|"")*"|[^" (.]+)'
_COLUMN = rb'(?:"(?:[^"]|"")*"|[^",()\n ]+)'
_COLUMNS = rb"(?: \(" + _COLUMN + rb"(?:, " + _COLUMN + rb")*\) | +)"
_BEGINS = re.compile(rb"^COPY (" + _NAME + rb"\." + _NAME + rb")" + _COLUMNS + rb"FROM stdin;\n", re.MULTILINE)
_SETVAL = re.compile(rb"^SELECT pg_catalog\.setval\('(?:[^']|'')*', [^\n]*\n", re.MULTILINE)
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


class Tally:
    """Reads the text of `pg_restore --data-only` in pieces of any size, in bounded memory."""

    def __init__(self) -> None:
        self._found: dict[str, Contents] = {}
        self._outside, self._carry = b"", b""
        self._table: str | None = None
        self._rows = self._bytes = self._sequences = 0
        self._digest, self._values = hashlib.sha256(), hashlib.sha256()

    def feed(self, piece: bytes) -> None:
        while piece:
            piece = self._between(piece) if self._table is None else self._within(piece)

    def done(self) -> dict[str, Contents]:
        """By quoted name with schema; sequence values under `sequences`. To be called once, at the end."""
        self._note(self._outside)
        if self._sequences:
            self._found[SEQUENCES] = Contents(self._sequences, 0, self._values.hexdigest())
        return dict(sorted(self._found.items()))

    def _between(self, piece: bytes) -> bytes:
        text = self._outside + piece
        begins = _BEGINS.search(text)
        if begins is None:
            cut = text.rfind(b"\n", 0, max(0, len(text) - _KEPT)) + 1
            self._note(text[:cut])
            self._outside = text[cut:]
            return b""
        self._note(text[: begins.start()])
        self._outside, self._carry = b"", b"\n"
        self._table = begins[1].decode("utf-8", "replace")
        self._rows = self._bytes = 0
        self._digest = hashlib.sha256()
        return text[begins.end() :]

    def _note(self, text: bytes) -> None:
        for line in _SETVAL.findall(text):
            self._values.update(line)
            self._sequences += 1

    def _within(self, piece: bytes) -> bytes:
        text = self._carry + piece  # its first byte is the end of the line before
        end = text.find(b"\n" + _END)
        if end < 0:
            keep = min(len(text), len(_END))
            self._count(text[1 : len(text) - keep + 1] if len(text) > keep else b"")
            self._carry = text[len(text) - keep :]
            return b""
        self._count(text[1 : end + 1])
        assert self._table is not None
        self._found[self._table] = Contents(self._rows, self._bytes, self._digest.hexdigest())
        self._table = None
        return text[end + 1 + len(_END) :]

    def _count(self, data: bytes) -> None:
        self._rows += data.count(b"\n")
        self._bytes += len(data)
        self._digest.update(data)
