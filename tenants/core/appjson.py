"""Adding keys to an app.json that is there, as an edit of its text: what stands in it stays where and as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from tenants.core.errors import UsageError

Keys = tuple[str, ...]
"""The way to a value, from the outermost object."""

_SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True)
class Found:
    """A value that stands in the text."""

    value: object
    line: int


@dataclass(frozen=True)
class _Object:
    """Where an object of the text has its members: the start of each value by key, and the end of the last one."""

    start: int
    values: Mapping[str, int]
    end: int


def check(file: str, text: str) -> None:
    """Raises UsageError, with the line, for a text that is no object of JSON."""
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(
            f"{file}:{error.lineno}:{error.colno}: is no JSON: {error.msg}", next=f"mend line {error.lineno} of {file}"
        ) from None
    except (RecursionError, ValueError) as error:
        raise UsageError(f"{file}: cannot be read as JSON: {error}", next=f"mend {file}") from None
    if not isinstance(document, dict):
        raise UsageError(f"{file}:1: holds no object, as in {{…}}", next=f"mend {file}")


def find(file: str, text: str, keys: Keys) -> Found | None:
    """The value that the keys lead to; None if there is none. Raises UsageError where the way is barred: something that
    is no object stands where one is needed. `text` is one that `check` has found in order."""
    start = _past_space(text, 0)
    for depth, key in enumerate(keys):
        here = _object(text, start)
        if here is None:
            name = ".".join(keys[:depth])
            raise UsageError(
                f"{file}:{_line(text, start)}: {name} is no object, and {'.'.join(keys)} has to be in it",
                next=f"make an object of {name} in {file}, as in {{…}}",
            )
        if key not in here.values:
            return None
        start = here.values[key]
    return Found(json.JSONDecoder().raw_decode(text, start)[0], _line(text, start))


def add(text: str, keys: Keys, value: object) -> str:
    """The text with the value put in, behind what its object has already, in the way in which that object is written.
    Nothing stands there yet, as `find` tells."""
    start = _past_space(text, 0)
    depth, around = 0, ""
    here = _object(text, start)
    assert here is not None
    while keys[depth] in here.values:
        around = _indent(text, here) or around
        start, depth = here.values[keys[depth]], depth + 1
        inner = _object(text, start)
        assert inner is not None
        here = inner
    for key in reversed(keys[depth + 1 :]):
        value = {key: value}
    return _insert(text, here, keys[depth], value, around)


def _insert(text: str, here: _Object, key: str, value: object, around: str) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    indent = _indent(text, here)
    if here.values and indent is None:  # all on one line
        return f"{text[: here.end]}, {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}{text[here.end :]}"
    step = _step(text)
    if indent is None:
        indent = around + step
    written = json.dumps({key: value}, indent=step, ensure_ascii=False).split("\n")[1:-1]
    lines = [indent + line.removeprefix(step) for line in written]
    body = newline.join(lines)
    if here.values:
        return f"{text[: here.end]},{newline}{body}{text[here.end :]}"
    closing = text[_past_space(text, here.start + 1) :]
    return f"{text[: here.start + 1]}{newline}{body}{newline}{around}{closing}"


def _object(text: str, start: int) -> _Object | None:
    """The object that begins there; None if it is something else that does."""
    if text[start] != "{":
        return None
    decoder, values, end = json.JSONDecoder(), dict[str, int](), start + 1
    at = _past_space(text, start + 1)
    while text[at] != "}":
        key, at = decoder.raw_decode(text, at)
        at = _past_space(text, at) + 1  # the colon
        at = _past_space(text, at)
        values[key] = at
        _, end = decoder.raw_decode(text, at)
        at = _past_space(text, end)
        if text[at] == ",":
            at = _past_space(text, at + 1)
    return _Object(start, values, end)


def _indent(text: str, here: _Object) -> str | None:
    """What stands before the first key in its line; None if the object is empty, or begins on the line of its brace."""
    space = _SPACE.match(text, here.start + 1)
    assert space
    if not here.values or "\n" not in space[0]:
        return None
    return space[0].rpartition("\n")[2]


def _step(text: str) -> str:
    """By how much the text sets in what is within."""
    found = re.search(r"^([ \t]+)\S", text, re.MULTILINE)
    return found[1] if found else "  "


def _past_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
