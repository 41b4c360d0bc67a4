"""Figures as people read them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenants.core.units import bytes_in, counted, seconds, size


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1_234_567, "1.2 MB"),
        (999_999, "1.0 MB"),
        (5_000_000_000, "5.0 GB"),
        (3 * 10**12, "3.0 TB"),
    ],
)
def test_bytes_are_shown_in_the_unit_that_fits(count: int, text: str) -> None:
    assert size(count) == text


@given(st.integers(0, 999 * 10**12))
def test_a_size_has_at_most_three_digits_before_the_point(count: int) -> None:
    assert re.fullmatch(r"\d{1,3}(\.\d)? (B|kB|MB|GB|TB)", size(count))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 ms"), (0.0031, "3 ms"), (0.0999, "0.1 s"), (0.44, "0.4 s"), (12.4, "12 s"), (90, "90 s"), (600, "10 min")],
)
def test_a_duration_is_shown_in_the_unit_that_fits(value: float, text: str) -> None:
    assert seconds(value) == text


@pytest.mark.parametrize(
    ("text", "count"), [("1kB", 1024), (" 5 MB", 5 << 20), ("3TB", 3 << 40), ("5", None), ("0GB", None), ("1gb", None)]
)
def test_a_size_is_read_as_postgresql_writes_it(text: str, count: int | None) -> None:
    assert bytes_in(text) == count


@pytest.mark.parametrize(("number", "text"), [(0, "0 revisions"), (1, "1 revision"), (2, "2 revisions")])
def test_things_are_counted_in_the_singular_and_plural(number: int, text: str) -> None:
    assert counted(number, "revision") == text
