"""What one action of an ALTER does to a table and its columns."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from tenants.core.lexer import Tokens
from tenants.core.statements import skip

_CONSTRAINTS = {"CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN", "EXCLUDE", "NOT"}
_SERIAL = {f"{size}SERIAL" for size in ("", "SMALL", "BIG")} | {f"SERIAL{size}" for size in "248"}


@dataclass(frozen=True)
class Change:
    """`kind` is add, drop, rename, type, not null, default or no default."""

    kind: str
    columns: tuple[str, ...] = ()
    """None where it is the table that gets another name."""
    to: str = ""
    """The new name or type."""
    required: bool = False
    """Of a column that is added: whether it must have a value."""
    default: bool = False
    """Whether it gets one by itself."""
    sure: bool = True
    """Whether it is added in any case; not with IF NOT EXISTS."""


def change_of(action: Tokens, table: str) -> Change | None:
    """None for what is of no concern here: constraints, owners, storage and so on."""
    words = tuple(token.word or token.text for token in action)
    match words:
        case ("ADD", _, *_):
            return _added(action, words)
        case ("DROP", *rest) if "CONSTRAINT" not in rest[:1]:
            at = skip(action, 1, ("COLUMN",), ("ATTRIBUTE",), ("IF", "EXISTS"))
            return Change("drop", _names(action[at : at + 1]))
        case ("RENAME", "TO", _):
            return Change("rename", to=action[2].name)
        case ("RENAME", *_, "TO", _) if words[1] not in ("CONSTRAINT", "VALUE"):
            return Change("rename", _names(action[-3:-2]), to=action[-1].name)
        case ("SET", "SCHEMA", _):
            return Change("rename", to=f"{action[2].name}.{table}")
        case ("ALTER", *_):
            at = skip(action, 1, ("COLUMN",), ("ATTRIBUTE",))
            return _altered(_names(action[at : at + 1]), action[at + 1 :], words[at + 1 :])
    return None


def _added(action: Tokens, words: tuple[str, ...]) -> Change | None:
    at = skip(action, 1, ("COLUMN",), ("ATTRIBUTE",), ("IF", "NOT", "EXISTS"))
    if at > 1 or words[1] not in _CONSTRAINTS:
        pairs = set(pairwise(words))
        required = ("NOT", "NULL") in pairs or ("PRIMARY", "KEY") in pairs
        default = not {"DEFAULT", "GENERATED"}.isdisjoint(words) or not _SERIAL.isdisjoint(words[at + 1 : at + 2])
        return Change("add", _names(action[at : at + 1]), "", required, default, sure="EXISTS" not in words[:at])
    at = 3 if words[1:2] == ("CONSTRAINT",) else 1
    match words[at:]:
        case ("NOT", "NULL", _, *_):
            return Change("not null", _names(action[at + 2 : at + 3]))
        case ("CHECK", "(", _, "IS", "NOT", "NULL", ")", *_):
            return Change("not null", _names(action[at + 2 : at + 3]))
        case ("PRIMARY", "KEY", "(", *rest) if ")" in rest:
            return Change("not null", _names(action[at + 3 : at + 3 + rest.index(")")]))
    return None


def _altered(columns: tuple[str, ...], action: Tokens, words: tuple[str, ...]) -> Change | None:
    match words:
        case ("SET", "NOT", "NULL"):
            return Change("not null", columns)
        case ("DROP", "DEFAULT"):
            return Change("no default", columns)
        case ("SET", "DEFAULT", *_) | ("ADD", "GENERATED", *_):
            return Change("default", columns)
        case ("TYPE", *_) | ("SET", "DATA", "TYPE", *_):
            start = words.index("TYPE") + 1
            ends = [words.index(word) for word in ("USING", "COLLATE", "CASCADE", "RESTRICT") if word in words]
            return Change("type", columns, to=_spelt(action[start : min(ends, default=len(words))]))
    return None


def _names(tokens: Tokens) -> tuple[str, ...]:
    return tuple(token.name for token in tokens if token.kind in ("word", "quoted"))


def _spelt(tokens: Tokens) -> str:
    """As it is written, with one space where there is any."""
    text, place = "", None
    for token in tokens:
        text += (" " if place is not None and token.start > place else "") + token.text
        place = token.start + len(token.text)
    return text
