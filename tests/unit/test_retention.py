"""What is kept: by the rules of restic and borg, and never nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenants.core.errors import UsageError
from tenants.core.manifest import Manifest
from tenants.core.retention import CHANGES, NIGHTS, Policy, decide, parse

BASE = Manifest(
    id="20260101T030000Z-aaaaaa",
    server="abcdefghij23",
    tenant="fruits",
    project="fruits",
    created_at=datetime(2026, 1, 1, 3, tzinfo=UTC),
    verified_at=datetime(2026, 1, 1, 3, tzinfo=UTC),
    reason="nightly",
    heads=(),
    git_rev=None,
    database="db",
    server_version="18.6",
    client_version="18.6",
    tool_version="0.1.0",
    size=1,
    sha256="a" * 64,
    raw_size=1,
)
START = datetime(2026, 1, 1, 3, tzinfo=UTC)
POLICIES = st.builds(Policy, *(st.integers(0, 4) for _ in range(6)))


def one(hours: float, reason: str = "nightly", archive: str | None = None) -> Manifest:
    at = START + timedelta(hours=hours)
    return replace(BASE, id=f"{at:%Y%m%dT%H%M%SZ}-aaaaaa", created_at=at, reason=reason, archive=archive)


MANY = st.lists(
    st.builds(one, st.integers(0, 24 * 500), st.sampled_from(["nightly", "deploy", "manual"])),
    max_size=40,
    unique_by=lambda m: m.id,
).map(lambda found: sorted(found, key=lambda m: m.created_at))
NOW = START + timedelta(days=1000)


def kept(found: list[Manifest], nights: Policy, changes: Policy = CHANGES, proven: tuple[str, ...] = ()) -> list[str]:
    return [v.snapshot.id for v in decide(found, nights, changes, proven, NOW) if v.why]


def test_a_year_of_nights_leaves_days_weeks_and_months() -> None:
    nights = [one(24 * day) for day in range(365)]
    left = kept(nights, NIGHTS)
    assert left[-14:] == [m.id for m in nights[-14:]]
    assert 14 + 6 + 9 <= len(left) <= 14 + 8 + 12
    assert nights[30].id in left, "the last night of January stands for its month"


def test_a_day_of_many_deploys_pushes_no_night_out() -> None:
    found = [one(24 * day) for day in range(14)] + [one(24 * 14 + n / 10, "deploy") for n in range(100)]
    left = kept(found, NIGHTS)
    assert [m.id for m in found[:14]] == left[:14]
    assert len(left) == 14 + 20


@given(found=MANY, nights=POLICIES, changes=POLICIES)
def test_the_newest_is_always_kept_and_nothing_by_more_than_its_rules(
    found: list[Manifest], nights: Policy, changes: Policy
) -> None:
    left = kept(found, nights, changes)
    assert bool(left) == bool(found)
    if found:
        assert max(found, key=lambda m: (m.created_at, m.id)).id in left
    allowed = sum(getattr(p, name) for p in (nights, changes) for name in Policy.__dataclass_fields__)
    assert len(left) <= allowed + 1
    assert kept([m for m in found if m.id in left], nights, changes) == left, "a second pruning takes nothing more"


@given(found=MANY, nights=POLICIES, data=st.data())
def test_an_archive_that_is_needed_and_the_last_proof_are_kept(
    found: list[Manifest], nights: Policy, data: st.DataObject
) -> None:
    if len(found) < 2:
        return
    found = sorted(found, key=lambda m: (m.created_at, m.id))
    first = found[0]
    found[1:] = [replace(m, archive=data.draw(st.sampled_from([None, first.id]))) for m in found[1:]]
    proven = data.draw(st.sampled_from(found)).id
    left = kept(found, nights, proven=(proven, "another"))
    assert proven in left
    for manifest in found:
        if manifest.id in left and manifest.archive:
            assert manifest.archive in left


def test_dates_that_are_not_plausible_cost_no_snapshot_its_place() -> None:
    """A clock that was a year ahead for some nights, and a year behind for others; it is right again."""
    nights = [one(24 * day) for day in range(970, 1000)]
    ahead = [one(24 * (1365 + day)) for day in range(20)]
    behind = [one(24 * (600 + day)) for day in range(20)]
    true = set(kept(nights, NIGHTS))
    assert true < set(kept([*nights[:10], *ahead, *nights[10:20], *behind, *nights[20:]], NIGHTS))
    verdicts = decide([*nights, *ahead, *behind], NIGHTS, CHANGES, (), NOW)
    assert all("its date is not plausible" in v.why for v in verdicts if v.snapshot in ahead or v.snapshot in behind)


def test_what_a_tenant_takes_itself_displaces_nothing_that_the_admin_took() -> None:
    nights = [one(24 * day) for day in range(30)]
    own = [one(24 * day + 1 + n / 10) for day in range(16, 30) for n in range(9)]
    found = sorted([*nights, *own], key=lambda m: m.created_at)
    ids = {m.id for m in own}
    left = [v.snapshot.id for v in decide(found, NIGHTS, CHANGES, (), NOW, ids) if v.why]
    assert set(kept(nights, NIGHTS)) == set(left) - ids and len(ids & set(left)) < 35


def test_a_clock_that_is_wrong_now_takes_no_more_than_a_night_s_place() -> None:
    nights = [one(24 * day) for day in range(30)]
    right = kept(nights, Policy(daily=14))
    for years in (-1, 1):
        wrong = one(24 * (30 + 365 * years))
        now = wrong.created_at
        left = [v.snapshot.id for v in decide([*nights, wrong], Policy(daily=14), CHANGES, (), now) if v.why]
        assert set(right[1:]) <= set(left) and wrong.id in left


@pytest.mark.parametrize("text", ["daily", "daily=x", "often=3", "", "last=0", "last=-1", "daily=1;rm"])
def test_a_policy_that_is_none_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="TENANTS_KEEP"):
        parse(text, "TENANTS_KEEP")


def test_a_policy_is_written_as_it_is_read() -> None:
    assert parse("last=3, daily=7 weekly=4", "X") == Policy(last=3, daily=7, weekly=4)
    assert parse(str(NIGHTS), "X") == NIGHTS
