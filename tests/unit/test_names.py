"""Names: which ones a tenant may have, and what is derived from them."""

from __future__ import annotations

import string
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenants.core.errors import BadName
from tenants.core.names import (
    MAX_LENGTH,
    aside_moment,
    aside_name,
    aside_prefix,
    check_name,
    deploy_role_name,
    deploy_role_prefix,
    login_name,
    printable,
)

NAMES = st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,38}[a-z0-9])?", fullmatch=True)
TOKENS = st.text(string.ascii_lowercase + string.digits, min_size=6, max_size=6)
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2199, 1, 1), timezones=st.just(UTC))

RESERVED = [
    "tenants",
    "extensions",
    "public",
    "information_schema",
    "postgres",
    "template0",
    "template1",
    "none",
    "default",
    "current_user",
    "session_user",
    "user",
    "all",
    "replication",
    "versions",
    "pg_catalog",
    "pg_toast",
    "pg_1",
]


@pytest.mark.parametrize(
    "name", ["a", "7", "fruits", "my-app", "api.example.com", "a_b", "x" * MAX_LENGTH, "0--0", "pgadmin"]
)
def test_what_dokku_allows_for_an_app_is_allowed(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", RESERVED)
def test_reserved_names_are_refused_as_reserved(name: str) -> None:
    with pytest.raises(BadName, match="is reserved") as caught:
        check_name(name)
    assert caught.value.next


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "is empty"),
        ("x" * (MAX_LENGTH + 1), f"too long: {MAX_LENGTH + 1} characters of {MAX_LENGTH}"),
        *(
            (name, "characters that are not allowed")
            for name in (
                *("Fruits", "früchte", "a b", " a", "a\n", "\na", "a\x00", "../x", "a/b", "a;b", 'a"b', "a'b", "a~b"),
                *(
                    "-a",
                    "a-",
                    ".a",
                    "a.",
                    "_a",
                    "a_",
                    "\x1b[31mred",
                    "\N{CYRILLIC SMALL LETTER A}",
                    "a\u0661",
                    "a\udcff",
                ),
            )
        ),
    ],
)
def test_a_bad_name_is_refused_with_what_is_wrong_and_what_is_allowed(name: str, fault: str) -> None:
    with pytest.raises(BadName, match=fault) as caught:
        check_name(name)
    assert "a-z" in str(caught.value.next)


def test_the_message_says_what_the_name_is_for() -> None:
    with pytest.raises(BadName, match="project's name is empty"):
        check_name("", "project")


@given(st.text())
def test_any_text_is_taken_as_it_is_or_refused_in_one_printable_line(text: str) -> None:
    try:
        assert check_name(text) == text
    except BadName as error:
        assert error.message.isascii() and error.message.isprintable()
        assert error.next and error.next.isprintable()
    else:
        assert text == text.lower() and text.isascii() and 1 <= len(text) <= MAX_LENGTH


@given(NAMES, NAMES, TOKENS, TOKENS, MOMENTS)
def test_derived_names_fit_into_postgresql_and_are_nobody_elses(
    name: str, other: str, token: str, token2: str, moment: datetime
) -> None:
    derived = {login_name(name, token), deploy_role_name(name, token), aside_name(name, moment)}
    assert len(derived) == 3
    assert all(len(d.encode()) <= 63 for d in derived)
    for one in derived:
        with pytest.raises(BadName):
            check_name(one)
    if name != other:
        others = {login_name(other, token2), deploy_role_name(other, token2), aside_name(other, moment)}
        assert not derived & others
        for prefix in (deploy_role_prefix(other), aside_prefix(other)):
            assert not any(d.startswith(prefix) for d in derived)


@given(NAMES, TOKENS)
def test_a_login_is_never_taken_for_a_deploy_role_or_a_schema_set_aside(name: str, token: str) -> None:
    login = login_name(name, token)
    assert not login.startswith((deploy_role_prefix(name), aside_prefix(name)))
    assert deploy_role_name(name, token).startswith(deploy_role_prefix(name))


@given(NAMES, MOMENTS)
def test_the_name_of_a_schema_set_aside_tells_when_to_the_second(name: str, moment: datetime) -> None:
    assert aside_name(name, moment).startswith(aside_prefix(name))
    assert aside_moment(aside_name(name, moment)) == moment.replace(microsecond=0)


@given(st.text() | st.text().map(lambda rest: f"fruits~before~{rest}"))
def test_any_schema_can_be_asked_when_it_was_set_aside(schema: str) -> None:
    moment = aside_moment(schema)
    assert moment is None or moment.tzinfo is UTC


@given(st.text())
def test_no_control_character_survives_printable(text: str) -> None:
    shown = printable(text)
    assert all(c.isprintable() or c in "\n\t" for c in shown)
    assert printable(shown) == shown
    shown.encode()


@given(st.text(string.printable.strip() + " äß→…"))
def test_printable_leaves_ordinary_text_alone(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    "hostile",
    ["\x1b[2J", "\r", "\b", "\x00", "\x7f", "\x9b31m", "\u202e", "\u2028", "\u200b", "\ufeff", "\udcff", "\U000e0041"],
)
def test_printable_shows_what_moves_a_cursor_or_hides(hostile: str) -> None:
    shown = printable(f"a{hostile}b")
    assert hostile not in shown
    assert shown.startswith("a\\") and shown.endswith("b")
