"""What two looks at the server's counters say of rows: untouched is proven, and everything else is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tenants.core.rows import Rows, Table, compare

BEFORE = Rows({"items": Table(10, 4, 1)}, {"ids": 7}, 180000, True, None, frozenset({"pid 1"}))


def after(attempted: int, committed: int, analyzed: int = 1) -> Rows:
    return replace(BEFORE, tables={"items": Table(attempted, committed, analyzed)})


def test_what_was_rolled_back_leaves_rows_as_they_were_for_a_migration_and_not_for_a_command() -> None:
    assert compare(BEFORE, after(14, 4), rolled_back=True).same
    assert compare(BEFORE, after(14, 4), rolled_back=False).written == ("items",)


@pytest.mark.parametrize("now", [after(14, 8), after(14, 0, 2)], ids=["committed", "analyzed-after-it"])
def test_what_was_committed_is_seen(now: Rows) -> None:
    found = compare(BEFORE, now, rolled_back=True)
    assert found.written == ("items",) and not found.same


@pytest.mark.parametrize(
    "now",
    [
        replace(BEFORE, counting=False),
        replace(BEFORE, version=140000),
        replace(BEFORE, since="2026-11-28"),
        replace(BEFORE, sessions={"pid 1", "pid 2"}),
        after(0, 0),
    ],
    ids=["off", "lossy", "reset", "a-session-goes-on", "fewer-than-before"],
)
def test_what_the_counters_cannot_prove_is_unknown(now: Rows) -> None:
    found = compare(BEFORE, now, rolled_back=True)
    assert found.unknown and not found.same


def test_a_table_that_is_new_says_nothing_of_rows_and_a_sequence_that_moved_is_named() -> None:
    now = replace(BEFORE, tables={**BEFORE.tables, "new": Table(3, 3, 0)}, sequences={"ids": 9}, sessions=frozenset())
    found = compare(BEFORE, now, rolled_back=True)
    assert found.same and found.moved == ("ids",)
