"""The page about security says what the attacks say."""

from __future__ import annotations

from pathlib import Path

from attacks import archives, page
from attacks.model import WAYS

from tenants.usecases import audit


def test_the_page_is_what_is_generated() -> None:
    assert page.PAGE.read_text("utf-8") == page.page(), "run: make docs"


def test_attacks_are_told_apart_and_told_whole() -> None:
    every = page.attacks()
    assert len({attack.id for attack in every}) == len(every) >= 100
    assert len({(attack.title, attack.code) for attack in every}) == len(every)
    assert all(attack.title and attack.kept_by and set(attack.ways) <= set(WAYS) for attack in every)
    assert all(attack.ended_by for attack in every if attack.outcome == "bounded")
    assert {attack.rule for attack in every if attack.rule} <= {rule.id for rule in audit.rules()}


def test_each_object_that_someone_puts_into_the_bucket_has_its_test() -> None:
    tests = (Path(__file__).parents[1] / "acceptance" / "test_hostile_bucket.py").read_text("utf-8")
    for attack in archives.GROUPS[2].attacks:
        assert f"def {attack.code}(" in tests
