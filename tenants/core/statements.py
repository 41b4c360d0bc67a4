"""SQL as far as a linter's findings need it: statements, the table that each is about, and its actions, with places.

Whatever else a statement says is passed over. It raises nothing: text that is no SQL has statements that are about
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tenants.core.lexer import Token, Tokens, cut

_KINDS = (("MATERIALIZED", "VIEW"), ("FOREIGN", "TABLE"), ("TABLE",), ("VIEW",), ("TYPE",))


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
    for part in cut(text):
        tokens = tuple(token for token in part.tokens if token.kind != "dollar")
        if statement := _statement(tokens, part.end, schema):
            yield statement


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
