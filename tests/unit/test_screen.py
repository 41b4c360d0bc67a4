"""How far a stage is, in the words of the live line."""

from __future__ import annotations

import pytest

from tenants.cli.screen import _cut, how_far


@pytest.mark.parametrize(
    ("done", "total", "took", "about", "says"),
    [
        (None, None, 9.0, False, ""),
        (0, 1000, 9.0, False, " 0 B of 1.0 kB"),
        (5_000_000, None, 0.1, False, " 5.0 MB"),
        (5_000_000, 20_000_000, 5.0, True, " 5.0 MB of about 20.0 MB, 1.0 MB/s, 15 s left"),
        (20_000_000, 20_000_000, 5.0, False, " 20.0 MB of 20.0 MB, 4.0 MB/s"),
        (20_000_000, 10_000_000, 5.0, True, " 20.0 MB, 4.0 MB/s"),
        (1_000, 1_000_000, 1.0, False, " 1.0 kB of 1.0 MB, 1.0 kB/s, 17 min left"),
    ],
)
def test_what_is_known_is_said(done: int | None, total: int | None, took: float, about: bool, says: str) -> None:
    assert how_far(done, total, took, about=about) == says


def test_a_line_is_cut_to_what_fits_by_what_letters_take() -> None:
    assert _cut("fruits", 6) == "fruits" and _cut("fruits", 4) == "fru…"
    assert _cut("果物果物", 8) == "果物果物" and _cut("果物果物", 5) == "果…"
