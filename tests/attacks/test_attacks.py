"""Every attack is tried, in each way in which somebody could, on every server: it is refused for the reason that the page
gives, or does no harm, and nothing that is not the attacker's has changed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from attacks import statements
from attacks.attempt import Told
from attacks.model import Attack, Way
from attacks.world import World, world
from throwaway_postgres import Server, throwaway_postgres

SETTINGS = ("max_prepared_transactions=5",)


@pytest.fixture(scope="module")
def server(binaries: Path | None) -> Iterator[Server]:
    """One where more is switched on that a tenant could use."""
    with tempfile.TemporaryDirectory(prefix="tests-") as folder:
        with throwaway_postgres(Path(folder), binaries, SETTINGS) as running:
            yield running


def faults(attacks: Sequence[Attack], told: Sequence[Told]) -> list[str]:
    """What became of the attempts other than it ought to."""
    found = []
    for attack in attacks:
        mine = [(how, state, text) for id_, how, state, text in told if id_ == attack.id]
        if len(mine) < 5:
            found.append(f"{attack.id}: was tried {len(mine)} times")
        for how, state, text in mine:
            if attack.outcome == "denied":
                right = state in attack.expects
            else:
                right = state in attack.expects or (state == "00000" and attack.answers in (None, text))
            if not right:
                found.append(f"{attack.id}, after {how}: {state} {text}")
        if attack.outcome == "harmless" and not any(state in ("00000", "0A000") for _, state, _ in mine):
            found.append(f"{attack.id}: never ran")
    return found


def culprit(server: Server, way: Way, attacks: Sequence[Attack]) -> str:
    """Which of the attacks it is that changes something: halves of them are tried in worlds of their own."""
    while len(attacks) > 1:
        half = attacks[: len(attacks) // 2]
        with world(server) as fresh:
            before = fresh.state()
            fresh.attempt(way, half)
            attacks = half if fresh.state() != before else attacks[len(half) :]
    return attacks[0].id


@pytest.mark.every_server
def test_statements_are_refused_or_do_no_harm(server: Server) -> None:
    wrong = []
    changed: list[tuple[Way, list[Attack]]] = []
    with world(server) as one:
        for way in ("login", "app", "revision", "sql"):
            attacks = [a for group in statements.GROUPS for a in group.attacks if way in a.ways]
            before = one.state()
            wrong += [f"{way}: {fault}" for fault in faults(attacks, one.attempt(way, attacks))]
            if difference := one.state() ^ before:
                wrong.append(f"{way}: changed {sorted(difference)}")
                changed.append((way, attacks))
    wrong += [f"{way}: it was {culprit(server, way, attacks)}" for way, attacks in changed]
    assert not wrong, "\n".join(wrong)
