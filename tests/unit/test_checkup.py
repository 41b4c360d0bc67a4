"""What the doctor judges without looking at anything else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tenants.core import checkup
from tenants.core.checkup import State

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "state"),
    [
        *(("", State.UNKNOWN), ("main", State.UNKNOWN), ("0.35.3", State.WRONG), ("0.9.99", State.WRONG)),
        *(("0.35.4", State.OK), ("v0.35.10", State.OK), ("1.0.0", State.OK)),
    ],
)
def test_dokku_is_new_enough_or_it_is_told(said: str, state: State) -> None:
    assert checkup.dokku({"DOKKU_VERSION": said}).state is state


@pytest.mark.parametrize(
    ("apart", "state", "says"),
    [(0, State.OK, ""), (59, State.OK, ""), (300, State.WARNING, "5 min ahead of"), (-300, State.WARNING, "behind")],
)
def test_clocks_that_differ_are_told(apart: int, state: State, says: str) -> None:
    check = checkup.clock("the store", NOW + timedelta(seconds=apart), NOW)
    assert check.state is state and says in check.message


@pytest.mark.parametrize(
    ("last", "first", "state"),
    [
        *((None, None, State.OK), (None, 1, State.OK), (None, 3, State.WRONG)),
        *((1, 30, State.OK), (3, 30, State.WRONG)),
    ],
)
def test_a_night_that_was_missed_is_told(last: int | None, first: int | None, state: State) -> None:
    def ago(days: int | None) -> datetime | None:
        return NOW - timedelta(days=days) if days is not None else None

    assert checkup.nights(ago(last), ago(first), NOW).state is state


def test_a_server_that_is_newer_than_any_that_was_tried_is_no_reason_to_stop() -> None:
    assert checkup.server(180006).state is State.OK
    assert checkup.server(190000).state is State.WARNING


def test_what_a_link_hands_out_is_named_and_not_shown() -> None:
    environment = {
        "DOKKU_POSTGRES_AQUA_URL": "postgres://postgres:s3cret@h/db",
        "DOKKU_POSTGRES_DB_ENV_POSTGRES_PASSWORD": "s3cret",
        "DOKKU_POSTGRES_DB_ENV_POSTGRES_USER": "postgres",
        "POSTGRES_PASSWORD": "",
    }
    found = list(checkup.leaks(environment, "fruits"))
    assert [check.state for check in found] == [State.WRONG] * 2
    assert "s3cret" not in repr(found)
    assert "config:unset APP DOKKU_POSTGRES_AQUA_URL" in str(found[0].next) and "unlink" in str(found[1].next)
    assert [check.state for check in checkup.leaks(environment, None, known=False)] == [State.WARNING] * 2
    assert [check.state for check in checkup.leaks(environment, None)] == [State.OK], "the control app is to have it"
