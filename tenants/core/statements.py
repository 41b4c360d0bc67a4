"""SQL as far as it has to be read here: statements, the table that each is about, and its actions, with their places.

Enough to put names to what a linter has found; whatever else a statement says is passed over. It takes time that grows
with the length of the text alone, and raises nothing: text that is no SQL has statements that are about nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

_TOKEN = re.compile(
    r"""
      (?P<space> \s+ | --[^\n]* )
    | (?P<comment> /\* )
    | (?P<quoted> (?:[uU]&)? " (?:[^"]|"")*+ "? )
    | (?P<text> [eE] ' (?:[^'\\]|\\.|'')*+ '? | (?:[bBxXnN]|[uU]&)? ' (?:[^']|'')*+ '? )
    | (?P<dollar> \$ (?:[^\W\d]\w*)? \$ )
    | (?P<word> [^\W\d][\w$]* )
    | (?P<number> \d[\w.]* )
    | (?P<sign> . )
    """,
    re.VERBOSE | re.DOTALL,
)
_NESTED = re.compile(r"/\*|\*/")
_KINDS = (("MATERIALIZED", "VIEW"), ("FOREIGN", "TABLE"), ("TABLE",), ("VIEW",), ("TYPE",))


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
class Statement:
    """One that makes, changes or drops tables and what is like them."""

    verb: str
    """CREATE, ALTER or DROP."""
    kind: str
    """TABLE, VIEW or TYPE."""
    sure: bool
    """Not one that may do nothing, or replace what is there: IF NOT EXISTS, OR REPLACE."""
    names: tuple[str, ...]
    actions: tuple[Tokens, ...]
    """What an ALTER does, one after the other."""
    start: int
    end: int


def read(text: str, schema: str) -> Iterator[Statement]:
    """The statements about tables, views and types. Names lose the schema, where it is this one."""
    for tokens, end in _split(text):
        if statement := _statement(tokens, end, schema):
            yield statement


def _split(text: str) -> Iterator[tuple[Tokens, int]]:
    """The tokens of each statement, and where it ends."""
    found: list[Token] = []
    depth = 0
    for token in _tokens(text):
        if token.text == ";" and depth <= 0:
            yield tuple(found), token.start
            found, depth = [], 0
            continue
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        found.append(token)
    yield tuple(found), len(text)


def _tokens(text: str) -> Iterator[Token]:
    place = 0
    while match := _TOKEN.match(text, place):
        kind, place = match.lastgroup or "", match.end()
        if kind == "comment":
            place = _comment_end(text, place)
        elif kind == "dollar":
            closing = text.find(match[0], place)
            place = len(text) if closing < 0 else closing + len(match[0])
        elif kind != "space":
            yield Token(kind, match[0], match.start())


def _comment_end(text: str, place: int) -> int:
    depth = 1
    while depth and (match := _NESTED.search(text, place)):
        depth += 1 if match[0] == "/*" else -1
        place = match.end()
    return len(text) if depth else place


def _statement(tokens: Tokens, end: int, schema: str) -> Statement | None:
    if not tokens or tokens[0].word not in ("CREATE", "ALTER", "DROP"):
        return None
    verb, at = tokens[0].word, 1
    while verb == "CREATE" and at < len(tokens) and tokens[at].word in _BEFORE_KIND:
        at += 1
    replaces = any(token.word == "REPLACE" for token in tokens[1:at])
    for words in _KINDS:
        if (behind := skip(tokens, at, words)) > at:
            break
    else:
        return None
    at = skip(tokens, behind, ("IF", "NOT", "EXISTS"), ("IF", "EXISTS"), ("ONLY",))
    sure = not replaces and (verb != "CREATE" or at == behind)
    names, at = _names(tokens, at, schema, several=verb == "DROP")
    actions = tuple(filter(None, _actions(tokens[at:]))) if verb == "ALTER" else ()
    return Statement(verb, words[-1], sure, names, actions, tokens[0].start, end)


_BEFORE_KIND = {"OR", "REPLACE", "GLOBAL", "LOCAL", "TEMP", "TEMPORARY", "UNLOGGED", "RECURSIVE"}


def skip(tokens: Tokens, at: int, *optional: tuple[str, ...]) -> int:
    """Where it goes on behind those of these words that come there, in this order."""
    for words in optional:
        if tuple(token.word for token in tokens[at : at + len(words)]) == words:
            at += len(words)
    return at


def _names(tokens: Tokens, at: int, schema: str, *, several: bool) -> tuple[tuple[str, ...], int]:
    """Names with dots in them, and commas between where there are several; and where it goes on."""
    names: list[str] = []
    while _is_name(tokens, at):
        parts, at = [tokens[at].name], at + 1
        while _is_sign(tokens, at, ".") and _is_name(tokens, at + 1):
            parts.append(tokens[at + 1].name)
            at += 2
        names.append(".".join(parts[1:] if len(parts) == 2 and parts[0] == schema else parts))
        if not several or not _is_sign(tokens, at, ","):
            break
        at += 1
    return tuple(names), at + _is_sign(tokens, at, "*")


def _is_name(tokens: Tokens, at: int) -> bool:
    return at < len(tokens) and tokens[at].kind in ("word", "quoted")


def _is_sign(tokens: Tokens, at: int, sign: str) -> bool:
    return at < len(tokens) and tokens[at].text == sign


def _actions(tokens: Tokens) -> Iterator[Tokens]:
    """What stands between commas, outside of parentheses and brackets."""
    depth, part = 0, list[Token]()
    for token in tokens:
        if token.text == "," and depth <= 0:
            yield tuple(part)
            part = []
            continue
        depth += {"(": 1, ")": -1, "[": 1, "]": -1}.get(token.text, 0)
        part.append(token)
    yield tuple(part)
