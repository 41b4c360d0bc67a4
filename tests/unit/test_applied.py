"""A list of what has run leads to a revision only if it is a beginning of the folder."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenants.core import sources
from tenants.core.applied import applied
from tenants.core.history import History

FOLDER = History.of(sources.revisions([(f"000{n}_step.sql", "-- migrate:up\n") for n in range(1, 6)]))
ORDER = list(FOLDER.revisions)


@pytest.mark.parametrize("count", range(6))
def test_a_beginning_leads_to_its_last_revision(count: int) -> None:
    seen = applied(ORDER[:count], FOLDER)
    assert seen.problems == () and seen.head == (ORDER[count - 1] if count else None)


@given(st.sets(st.sampled_from([*ORDER, "0000", "9999", "x\x1b[2J"])))
def test_anything_else_is_told_with_what_is_missing_or_unknown(versions: set[str]) -> None:
    seen = applied(versions, FOLDER)
    beginning = versions == set(ORDER[: len(versions)])
    assert (seen.problems == ()) == beginning
    told = "\n".join(seen.problems)
    assert told.isprintable() or "\n" in told
    for unknown in versions - set(ORDER):
        assert unknown.replace("\x1b", "\\x1b") in told
    last = max((ORDER.index(v) for v in versions if v in ORDER), default=-1)
    for id_ in ORDER[: max(last, 0)]:
        assert (f"{id_}_step.sql" in told) == (id_ not in versions)
