"""The schedule: which period a moment lies in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenants.core.errors import UsageError
from tenants.core.schedule import DEFAULT, check, last_before, next_after

EXPRESSIONS = [DEFAULT, "*/15 * * * *", "0 0 * * 0", "30 4 1 * *", "0 3,15 * * 1-5", "59 23 31 12 *", "* * * * *"]
ZONES = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(-timedelta(hours=11))])
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2099, 1, 1), timezones=ZONES)


@given(st.sampled_from(EXPRESSIONS), MOMENTS)
def test_every_moment_lies_in_one_period(expression: str, moment: datetime) -> None:
    began, ends = last_before(expression, moment), next_after(expression, moment)
    assert began <= moment < ends
    assert next_after(expression, began) == ends
    assert last_before(expression, ends) == ends
    assert last_before(expression, ends - timedelta(microseconds=1)) == began


@given(st.sampled_from(EXPRESSIONS), MOMENTS)
def test_a_period_begins_for_everybody_in_it_at_the_same_moment(expression: str, moment: datetime) -> None:
    began = last_before(expression, moment)
    assert last_before(expression, began) == began
    assert began.tzinfo == moment.tzinfo and began.second == began.microsecond == 0


def test_the_default_is_three_at_night() -> None:
    moment = datetime(2026, 11, 23, 2, 59, 59, 999999, tzinfo=UTC)
    assert last_before(DEFAULT, moment) == datetime(2026, 11, 22, 3, tzinfo=UTC)
    assert next_after(DEFAULT, moment) == datetime(2026, 11, 23, 3, tzinfo=UTC)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_what_cron_knows_is_taken(expression: str) -> None:
    assert check(expression) == expression


@pytest.mark.parametrize(
    "expression",
    ["", "nonsense", "0 3 * *", "0 3 * * * *", "60 3 * * *", "0 24 * * *", "0 0 31 2 *", "-1 * * * *", "0 3 * * * x"],
)
def test_what_is_not_five_fields_of_cron_is_refused_with_an_example(expression: str) -> None:
    with pytest.raises(UsageError, match="schedule") as caught:
        check(expression)
    assert DEFAULT in str(caught.value.next)


@given(st.text())
def test_any_text_is_a_schedule_or_refused(text: str) -> None:
    try:
        check(text)
    except UsageError:
        return
    next_after(text, datetime(2026, 11, 23, tzinfo=UTC))
