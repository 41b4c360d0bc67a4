"""What of the pending revisions the release that serves may not live with: it meets the new schema while the new
release starts, and after that has failed its healthcheck.

A linter, squawk, finds it in the SQL; here it gets names and words, and what this very push has made itself is left
out: no release that serves uses that. What SQL does not show is not found: what a DO block or a function does, rows.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from tenants.core.changes import Change, change_of
from tenants.core.history import Revision
from tenants.core.lexer import Tokens, cut
from tenants.core.statements import Statement, read

INCLUDED = ("ban-new-write-restriction",)
"""Rules of squawk that are wanted here, and have to be asked for."""

_SYNTAX = "syntax-error"
_LENGTH = 80


@dataclass(frozen=True)
class Finding:
    """One thing that the old release may not live with; without a rule, a revision that could not be looked at."""

    revision: str
    file: str
    rule: str | None
    table: str | None
    column: str | None
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.message}{f' ({self.rule})' if self.rule else ''}"

    def document(self) -> dict[str, str | None]:
        """As scripts get it."""
        return {name: getattr(self, name) for name in ("revision", "rule", "table", "column", "message")}


@dataclass(frozen=True)
class Lint:
    """One report of the linter, at its place in the text."""

    rule: str
    message: str
    start: int


def unseen(revision: Revision, why: str, rest: str = "") -> Finding:
    """That nobody can tell of this one, nor of the `rest`."""
    why = why.partition("\n")[0].removeprefix(f"{revision.file}:")
    why = re.sub(r"^(\d+)(?::\d+)?:", r"line \1:", why.strip())[: 3 * _LENGTH]
    message = f"its SQL cannot be looked at beforehand{rest} ({why})"
    return Finding(revision.id, revision.file, None, None, None, message)


def split(sql: str, pending: Sequence[Revision]) -> list[tuple[Revision, str]]:
    """The SQL that Alembic makes of all pending revisions, by revision, in its order. One that it has not come to is
    missing."""
    by_id, found = {revision.id: revision for revision in pending}, list[tuple[Revision, int, int]]()
    for match in re.finditer(r"^-- Running upgrade [^\n]*-> (\S+?)$", sql, re.MULTILINE):
        if revision := by_id.pop(match[1], None):
            found.append((revision, match.start(), match.end()))
    ends = [start for _, start, _ in found[1:]] + [len(sql)] * bool(found)
    return [(revision, sql[begin:end]) for (revision, _, begin), end in zip(found, ends, strict=True)]


def without_rows(sql: str) -> str:
    """The same with blanks for the rows that a COPY reads, which are no SQL. Places stay what they are."""
    rows = [part.data for part in cut(sql) if part.data]
    for start, end in rows:
        behind = end + len("\\.")
        sql = sql[:start] + re.sub(r"[^\n]", " ", sql[start:behind]) + sql[behind:]
    return sql


def lints(answer: str, text: str) -> tuple[Lint, ...]:
    """What squawk's JSON says of the text; its columns count bytes. Raises ValueError for what is no answer of it."""
    lines = text.split("\n")
    starts = [0, *accumulate(len(line) + 1 for line in lines)]
    try:
        found = [(one["rule_name"], one["message"], one["line"], one["column"]) for one in json.loads(answer)]
        return tuple(
            Lint(str(rule), str(said), starts[line] + len(lines[line].encode()[:column].decode(errors="ignore")))
            for rule, said, line, column in found
        )
    except (KeyError, TypeError, IndexError, RecursionError) as error:
        raise ValueError(f"not an answer of squawk: {error!r}") from None


def unreadable(found: Sequence[Lint], text: str) -> str | None:
    """Where the linter could not read the text; then it has found nothing else in it."""
    for lint in found:
        if lint.rule == _SYNTAX:
            line = text[text.rfind("\n", 0, lint.start) + 1 :].partition("\n")[0]
            return f"squawk does not understand it: {lint.message}, in: {line.strip()[:_LENGTH]}"
    return None


def judge(revisions: Sequence[tuple[Revision, str, Sequence[Lint]]], schema: str) -> tuple[Finding, ...]:
    """What of it concerns a release that serves, in the order of the revisions. `schema` is the tenant's."""
    parsed = [(revision, tuple(read(text, schema)), found) for revision, text, found in revisions]
    again = {n for _, all_, _ in parsed for s in all_ if (s.verb, s.kind) == ("CREATE", "VIEW") for n in s.names}
    known = _Known(again)
    return tuple(
        Finding(revision.id, revision.file, rule, table, column, message)
        for revision, statements, found in parsed
        for rule, table, column, message in known.follow(statements, sorted(found, key=lambda lint: lint.start))
    )


_VOUCHES: Mapping[str, frozenset[str]] = {
    "drop": frozenset({"ban-drop-column"}),
    "rename": frozenset({"renaming-column", "renaming-table", "renaming-object", "ban-set-schema"}),
    "type": frozenset({"changing-column-type"}),
    "add": frozenset({"adding-required-field", "adding-serial-primary-key-field"}),
    "not null": frozenset({"adding-not-nullable-field", "adding-serial-primary-key-field", *INCLUDED}),
    "no default": frozenset({"ban-drop-default"}),
    "table": frozenset({"ban-drop-table", "ban-drop-view"}),
}
"""By what kind of change: the rules of squawk that find it."""

_WORDS = {
    "drop": "goes: the old release may still use it",
    "type": "becomes {to}: the old release may not read or write that",
    "add": "is new and must have a value: the old release does not give it one",
    "not null": "must have a value from now on: the old release may leave it empty",
}


@dataclass
class _Column:
    required: bool
    default: bool


@dataclass
class _Known:
    """What this push has made so far: nobody's old tables and columns."""

    again: set[str]
    """Views that are made in it, wherever: one that is dropped is there again."""
    tables: set[str] = field(default_factory=set)
    columns: dict[str, dict[str, _Column]] = field(default_factory=dict)

    def follow(
        self, statements: Sequence[Statement], found: Sequence[Lint]
    ) -> Iterator[tuple[str, str | None, str | None, str]]:
        """Go through the statements of a revision. Yields rule, table, column and words of what is found."""
        places = [lint.start for lint in found]
        for statement in statements:
            bounds = [statement.start, *(action[0].start for action in statement.actions[1:]), statement.end]
            for begin, end, action in zip(bounds, bounds[1:], statement.actions or ((),), strict=False):
                rules = [lint.rule for lint in found[bisect_left(places, begin) : bisect_left(places, end)]]
                yield from self._one(statement, action, rules)

    def _one(
        self, statement: Statement, action: Tokens, rules: Sequence[str]
    ) -> Iterator[tuple[str, str | None, str | None, str]]:
        what = statement.kind.lower()
        if statement.verb == "CREATE":
            self.tables.update(statement.names if statement.sure else ())
        elif statement.verb == "DROP":
            for name in statement.names:
                rule = _rule("table", rules)
                if rule and name not in self.tables and not (what == "view" and name in self.again):
                    yield rule, _short(name), None, f"{what} {_short(name)} {_WORDS['drop']}"
                self._forget(name)
        elif statement.names and (change := change_of(action, statement.names[0])):
            table, rule = statement.names[0], _rule(change.kind, rules)
            if rule and table not in self.tables and not change.columns and change.to and what != "type":
                yield rule, _short(table), None, f"{what} {_short(table)} {_renamed(table, change.to)}"
            for column in change.columns:
                words = self._words(table, column, change) if rule and table not in self.tables else None
                if rule and words:
                    kind = "attribute" if what == "type" else "column"
                    yield rule, _short(table), _short(column), f"{kind} {_short(table)}.{_short(column)} {words}"
                self._note(table, column, change)
            if change.kind == "rename" and not change.columns:
                self._move(table, change.to)

    def _words(self, table: str, column: str, change: Change) -> str | None:
        """What is to be said of it, if it concerns anybody."""
        made = self.columns.get(table, {}).get(column)
        match change.kind:
            case "add":
                return _WORDS["add"] if change.required and not change.default else None
            case "not null" if made:
                return None if made.default else _WORDS["add"]
            case "no default":
                return _WORDS["add"] if made and made.required else None
            case "rename" if not made:
                return _renamed(column, change.to)
            case "drop" | "type" | "not null" if not made:
                return _WORDS[change.kind].format(to=_short(change.to))
        return None

    def _note(self, table: str, column: str, change: Change) -> None:
        if change.kind == "add" and change.sure:
            self.columns.setdefault(table, {})[column] = _Column(change.required, change.default)
        elif made := self.columns.get(table, {}).get(column):
            if change.kind == "not null":
                made.required = True
            elif change.kind in ("default", "no default"):
                made.default = change.kind == "default"
            elif change.kind in ("drop", "rename"):
                del self.columns[table][column]
                if change.kind == "rename":
                    self.columns[table][change.to] = made

    def _move(self, table: str, to: str) -> None:
        if table in self.tables:
            self.tables.add(to)
        columns = self.columns.get(table, {})
        self._forget(table)
        self.columns[to] = columns

    def _forget(self, table: str) -> None:
        self.tables.discard(table)
        self.columns.pop(table, None)


def _rule(kind: str, rules: Sequence[str]) -> str | None:
    """The one that finds it, by the most telling name."""
    found = [rule for rule in rules if rule in _VOUCHES.get(kind, ())]
    return min(found, key=lambda rule: rule in INCLUDED, default=None)


def _renamed(name: str, to: str) -> str:
    return f"becomes {_short(to)}: the old release still asks for {_short(name)}"


def _short(name: str) -> str:
    """No name of PostgreSQL is longer; what is written may be."""
    return name if len(name) <= _LENGTH else f"{name[:_LENGTH]}…"
