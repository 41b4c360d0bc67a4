"""Whoever mistypes a name is asked whether it was another one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import REPOSITORY

from tenants.core.near import did_you_mean, near
from tenants.core.settings import VARIABLES, mistyped

ANYTHING = st.text(st.characters(codec=None, exclude_categories=[]), max_size=200)


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("fruit", ["fruits", "pears"], ("fruits",)),
        ("Fruits", ["fruits", "pears"], ("fruits",)),
        ("deplou", ["deploy", "drop", "drill"], ("deploy",)),
        ("zebra", ["fruits", "pears"], ()),
        ("app", [f"app{n}" for n in range(9)], ("app8", "app7", "app6")),
    ],
)
def test_what_is_like_it_is_found(name: str, known: list[str], expected: tuple[str, ...]) -> None:
    assert near(name, known) == expected


@given(ANYTHING, st.lists(ANYTHING, max_size=20), st.sampled_from([0.01, 0.6, 0.9]))
def test_it_never_raises_and_shows_three_at_most_without_moving_a_cursor(
    name: str, known: list[str], cutoff: float
) -> None:
    found = near(name, [name[:-1], name + "x", *known], cutoff=cutoff)
    assert len(found) <= 3 and all(one.isprintable() for one in found)
    assert did_you_mean(name, known, cutoff=cutoff).isprintable()


def test_all_variables_that_the_code_reads_are_known() -> None:
    code = "".join(path.read_text() for path in (REPOSITORY / "tenants").rglob("*.py"))
    assert set(re.findall(r"(?<![A-Z_])TENANTS_[A-Z_]*[A-Z]", code)) == set(VARIABLES), (
        "see VARIABLES in tenants/core/settings.py"
    )


def test_a_mistyped_variable_is_told_without_its_value() -> None:
    assert mistyped({"TENANTS_SCHEDUL": "secret"}) == ["nobody reads TENANTS_SCHEDUL; did you mean TENANTS_SCHEDULE?"]
    assert mistyped([*VARIABLES, "DATABASE_URL", "TENANTS_TEST_OWN_PROCESS", "TENANTS_COLOUR"]) == []
