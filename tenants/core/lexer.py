"""SQL cut into tokens and statements, where PostgreSQL and psql would cut it.

It takes time that grows with the length of the text alone, and raises nothing: text that is no SQL has tokens as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

_TOKEN = re.compile(
    r"""
      (?P<space> [ \t\n\r\f\v]+ | --[^\n\r]* )
    | (?P<comment> /\* )
    | (?P<quoted> (?:[uU]&)? " (?:[^"]|"")*+ "? )
    | (?P<escaped> [eE] ' (?:[^'\\]|\\.|'')*+ '? )
    | (?P<text> (?:[bBxXnN]|[uU]&)? ' (?:[^']|'')*+ '? )
    | (?P<dollar> \$ (?:[a-zA-Z_\x80-\U0010ffff][\w\x80-\U0010ffff]*)? \$ )
    | (?P<word> [a-zA-Z_\x80-\U0010ffff][\w$\x80-\U0010ffff]* )
    | (?P<number> \d[\w.]* )
    | (?P<sign> . )
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_ESCAPED = re.compile(r"'(?:[^'\\]|\\.|'')*+'?", re.DOTALL)
_NESTED = re.compile(r"/\*|\*/")
_REST_OF_LINE = re.compile(r"[ \t\r\f\v]*(?:--[^\n]*)?(?:\n|\Z)")
_END_OF_DATA = re.compile(r"^\\\.\r?(?:\n|\Z)", re.MULTILINE)
_MOST_KEPT = 10_000
_SETTING = "STANDARD_CONFORMING_STRINGS"
_OFF = ("off", "of", "false", "fals", "fal", "fa", "f", "no", "n", "0")


class Token(NamedTuple):
    kind: str
    text: str
    start: int

    @property
    def word(self) -> str:
        """In capitals, if it is one that may mean something."""
        return self.text.upper() if self.kind == "word" else ""

    @property
    def name(self) -> str:
        """As PostgreSQL reads it: folded where it is not quoted."""
        if self.kind != "quoted":
            return self.text.lower()
        return self.text.partition('"')[2].removesuffix('"').replace('""', '"')


Tokens = tuple[Token, ...]


@dataclass(frozen=True)
class Cut:
    """One statement, as it stands in the text."""

    tokens: Tokens
    """At least one; of very many the first, and every backslash. Of a text in dollar quotes the first quote alone."""
    start: int
    """Where its first token begins: comments above it are not part of it."""
    end: int
    """Where its semicolon is, or the text ends."""
    data: tuple[int, int] | None = None
    r"""From where to where the lines are that a COPY … FROM STDIN reads; the line `\.` is behind them."""
    complete: bool = True
    r"""Not a COPY whose lines have no `\.` behind them, or do not begin on the line below it."""


def cut(text: str, *, conforming: bool = True) -> Iterator[Cut]:
    """The statements. `conforming`: whether standard_conforming_strings is on when it begins; that a statement turns it
    off is noticed."""
    lexer = _Lexer(text, conforming)
    found: list[Token] = []
    depth = atomic = 0
    before = ""
    for token in lexer:
        if token.text == ";" and not depth and not atomic:
            if found:
                yield lexer.finish(tuple(found), token.start)
            found, depth, before = [], 0, ""
            continue
        depth = max(0, depth + {"(": 1, ")": -1}.get(token.text, 0))
        atomic += _body(token.word, before, atomic, found)
        before = token.word or token.text
        if len(found) < _MOST_KEPT or token.text == "\\":
            found.append(token)
    if found:
        yield lexer.finish(tuple(found), len(text))


def _body(word: str, before: str, atomic: int, found: list[Token]) -> int:
    """Whether the word leads a level down into the body of a function in the words of the standard, or up again. After
    AS or a dot it is a name like any other."""
    if word == "ATOMIC" and before == "BEGIN" and found[0].word == "CREATE":
        return 1
    if atomic and before not in ("AS", "."):
        return {"CASE": 1, "END": -1}.get(word, 0)
    return 0


class _Lexer:
    """Yields the tokens, from a place and by rules that a statement may change."""

    def __init__(self, text: str, conforming: bool) -> None:
        self._text, self._place = text, 0
        self._conforming = self._at_first = conforming
        self._may_end = True

    def __iter__(self) -> Iterator[Token]:
        continues = newline = False
        while match := _TOKEN.match(self._text, self._place):
            kind, start, self._place = match.lastgroup or "", match.start(), match.end()
            if kind == "space":
                newline |= "\n" in match[0] or "\r" in match[0]
                continue
            if kind == "comment":
                self._place = self._comment_end()
                continues = False
                continue
            first = match[0][0]
            if kind == "text" and (
                (first == "'" and continues and newline) or (first in "'nN" and not self._conforming)
            ):
                quote = start if first == "'" else start + 1
                string = _ESCAPED.match(self._text, quote)
                assert string
                kind, self._place = "escaped", string.end()
            continues, newline = kind == "escaped", False
            if kind == "dollar":
                closing = self._text.find(match[0], self._place)
                self._place = len(self._text) if closing < 0 else closing + len(match[0])
                yield Token(kind, match[0], start)
            else:
                yield Token("text" if kind == "escaped" else kind, self._text[start : self._place], start)

    def _comment_end(self) -> int:
        depth, place = 1, self._place
        while depth and (match := _NESTED.search(self._text, place)):
            depth += 1 if match[0] == "/*" else -1
            place = match.end()
        return len(self._text) if depth else place

    def finish(self, tokens: Tokens, end: int) -> Cut:
        """The statement that ends here, and what it means for what comes."""
        self._conforming = _conforming(tokens, self._conforming, self._at_first)
        start = tokens[0].start
        if not copies(tokens, "FROM"):
            return Cut(tokens, start, end)
        rest = _REST_OF_LINE.match(self._text, end + 1)
        ended = _END_OF_DATA.search(self._text, rest.end()) if rest and self._may_end else None
        if not rest or not ended:
            self._may_end &= not rest  # to look again and again would take too long
            return Cut(tokens, start, end, complete=False)
        self._place = ended.end()
        return Cut(tokens, start, end, (rest.end(), ended.start()))


def copies(tokens: Tokens, way: str) -> bool:
    """Whether it is a COPY … FROM STDIN, or TO STDOUT, as the `way` says."""
    depth = 0
    if tokens[0].word != "COPY":
        return False
    for token, after in pairwise(tokens):
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth == 0 and token.word == way and after.word in ("STDIN", "STDOUT"):
            return True
    return False


def _conforming(tokens: Tokens, now: bool, at_first: bool) -> bool:
    """Whether strings are standard ones after this statement."""
    words = [token.word or token.text for token in tokens]
    match words:
        case ["RESET", "ALL" | "STANDARD_CONFORMING_STRINGS"]:
            return at_first
        case ["SET", *more] if _SETTING in more[:2]:
            value = tokens[-1].text.strip("'\"").lower()
            return at_first if value == "default" else value not in _OFF
    for at, word in enumerate(words[:-4]):
        if word == "SET_CONFIG" and tokens[at + 2].text.strip("'").upper() == _SETTING:
            return tokens[at + 4].text.strip("'").lower() not in _OFF
    return now
