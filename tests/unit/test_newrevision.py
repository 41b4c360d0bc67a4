"""The next revision is named as its folder has it, and is always the last one."""

from __future__ import annotations

import ast
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenants.core import newrevision, sources
from tenants.core.errors import HistoryError, TenantsError, UsageError
from tenants.core.history import History, parse_revision
from tenants.core.newrevision import Body

NOW = datetime(2026, 11, 23, 17, 4, 9, tzinfo=UTC)
UP = "-- migrate:up\n"


def script(id_: str, after: str | None = None) -> str:
    return f"revision = {id_!r}\ndown_revision = {after!r}\n"


def named(files: dict[str, str], message: str = "Add colour", python: bool | None = None) -> str:
    return newrevision.new(list(files.items()), message, NOW, "c0ffee123456", python=python).file


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, "0001_add_colour.sql"),
        ({"0001_items.sql": UP}, "0002_add_colour.sql"),
        ({"0001_items.py": script("0001")}, "0002_add_colour.py"),
        ({"0001_items.py": script("0001"), "0002_x.sql": UP}, "0003_add_colour.sql"),
        ({"001_a.sql": UP, "009_b.sql": UP}, "010_add_colour.sql"),
        ({"v01_a.sql": UP}, "v02_add_colour.sql"),
        ({"20260101120000_a.sql": UP}, "20261123170409_add_colour.sql"),
        ({"20261123170409_a.sql": UP}, "20261123170410_add_colour.sql"),
        ({"20991231235959_a.sql": UP}, "21000101000000_add_colour.sql"),
        ({"202601011200_a.sql": UP}, "202611231704_add_colour.sql"),
        ({"a1b2c3d4e5f6_a.py": script("a1b2c3d4e5f6")}, "c0ffee123456_add_colour.py"),
        ({"1234_a.py": script("ae1027a6acf")}, "c0ffee123456_add_colour.py"),
        (
            {"2026_01_02_1200-a1b2c3d4e5f6_a.py": script("a1b2c3d4e5f6")},
            "2026_11_23_1704-c0ffee123456_add_colour.py",
        ),
    ],
    ids=str,
)
def test_the_next_file_goes_on_as_the_others_do(files: dict[str, str], expected: str) -> None:
    assert named(files) == expected


def test_a_language_can_be_asked_for() -> None:
    assert named({"0001_a.py": script("0001")}, python=False) == "0002_add_colour.sql"
    assert named({"0001_a.sql": UP}, python=True) == "0002_add_colour.py"
    assert named({"1a2b3c4d5e6f_a.py": script("1a2b3c4d5e6f")}, python=False) == "20261123170409_add_colour.sql"


@pytest.mark.parametrize(
    "files", [{"9_a.sql": UP}, {"init.sql": UP, "x_b.sql": UP}, {"f1b2c3d4e5f6_a.py": script("f1b2c3d4e5f6")}], ids=str
)
def test_a_sql_file_that_would_not_be_the_last_one_is_refused(files: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="would not be the last one") as caught:
        named(files, python=False)
    assert caught.value.next and "--python" in caught.value.next


def test_a_folder_that_is_wrong_is_told_first() -> None:
    with pytest.raises(HistoryError, match="2 heads"):
        named({"1_a.py": script("1"), "2_b.py": script("2")})


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Add colour!", "add_colour"),
        ("Größe & Gewicht", "grosse_gewicht"),
        ("名前", "step"),
        ("../../etc/passwd", "etc_passwd"),
        ("word " * 20, "word_word_word_word_word_word_word_word"),
        ("x" * 100, "x" * 40),
    ],
)
def test_a_message_becomes_a_name(message: str, expected: str) -> None:
    assert newrevision.slug(message) == expected


NAMES = st.lists(
    st.from_regex(r"(\d{1,5}|\d{14}|[a-f0-9]{12}|v\d)(_[a-z]{1,5})?", fullmatch=True), max_size=6, unique=True
)


@given(NAMES, st.data(), st.text(min_size=1, max_size=60))
def test_whatever_is_there_the_new_one_is_the_head_or_is_refused(
    names: list[str], data: st.DataObject, message: str
) -> None:
    files: list[tuple[str, str]] = []
    before = None
    for name in sorted(names):
        id_ = name.partition("_")[0]
        if data.draw(st.booleans()):
            files.append((f"{name}.sql", UP))
        else:
            files.append((f"{name}.py", script(id_, before)))
        before = id_
    wanted = data.draw(st.none() | st.booleans())
    try:
        history = History.of(sources.revisions(files))
        made = newrevision.new(files, message, NOW, "c0ffee123456", python=wanted)
    except TenantsError as error:
        assert error.next
        return
    after = History.of(sources.revisions([*files, (made.file, made.text)]))
    assert after.head == made.id and made.follows == history.head
    assert [r.id for r in after.pending([history.head] if history.head else [])] == [made.id]
    assert "/" not in made.file and made.file.isascii()


@given(st.text(max_size=80))
def test_no_message_breaks_out_of_the_file(message: str) -> None:
    made = newrevision.new([], message, NOW, "c0ffee123456", python=True, body=Body("op.f()", "pass", ("import x",)))
    tree = ast.parse(made.text)
    assert [type(node).__name__ for node in tree.body] == [
        *("Expr", "Import", "ImportFrom", "Import", "Assign", "Assign", "FunctionDef", "FunctionDef")
    ]
    assert parse_revision(made.file, made.text).id == "0001"
