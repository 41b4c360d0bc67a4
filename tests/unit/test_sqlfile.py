"""SQL files: the sections, the order among files of both kinds, and what is wrong with a file, by its line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenants.core.errors import HistoryError
from tenants.core.history import History, Revision
from tenants.core.sources import decode, is_revision, revisions
from tenants.core.sqlfile import id_of, parse_sql, read_sql

UP = "-- migrate:up\nSELECT 1;\n"
BOTH = f"{UP}-- migrate:down\nSELECT 2;\n"


def python(id_: str, after: str | None) -> str:
    return f"revision = {id_!r}\ndown_revision = {after!r}\n"


def texts(text: str) -> tuple[list[str], list[str]]:
    sql = read_sql("0001_a.sql", text)
    up, down = ([one.text for section in way for one in sql.statements(section)] for way in (sql.up, sql.down))
    return up, down


@pytest.mark.parametrize(
    ("file", "id_"), [("20260101120000_add_colour.sql", "20260101120000"), ("0002_a_b.sql", "0002"), ("one.sql", "one")]
)
def test_the_id_stands_before_the_first_underscore(file: str, id_: str) -> None:
    assert id_of(file) == id_


def test_a_revision_is_made_of_name_and_text() -> None:
    assert parse_sql("0002_add_colour.sql", BOTH, "0001") == Revision(
        "0002", ("0001",), (), (), "0002_add_colour.sql", "add colour", reversible=True
    )


@pytest.mark.parametrize("down", ["", "-- migrate:down", "-- migrate:down\n-- nothing;\n;\n"])
def test_without_a_statement_on_the_way_back_there_is_none(down: str) -> None:
    assert not parse_sql("a.sql", UP + down, None).reversible


@pytest.mark.parametrize(
    ("text", "up", "down"),
    [
        (BOTH, ["SELECT 1"], ["SELECT 2"]),
        (BOTH.replace("\n", "\r\n"), ["SELECT 1"], ["SELECT 2"]),
        ("-- why\n\n  -- so\n--migrate:up\nA\n--   migrate:down\nB", ["A"], ["B"]),
        ("-- migrate:up", [], []),
        ("-- migrate:upwards\n-- migrate:up\nA; -- migrate:down\nB", ["A", "B"], []),
        ("-- migrate:up\nA\n -- migrate:down\nB", ["A\n -- migrate:down\nB"], []),
        (
            f"{BOTH}-- migrate:up\nSELECT 3\n-- migrate:down\nSELECT 4",
            ["SELECT 1", "SELECT 3"],
            ["SELECT 4", "SELECT 2"],
        ),
    ],
)
def test_sections_are_found_as_dbmate_finds_them(text: str, up: list[str], down: list[str]) -> None:
    assert texts(text) == (up, down)


@pytest.mark.parametrize(
    ("option", "transaction"), [("", True), (" transaction:false", False), (" a:b  transaction:false\r", False)]
)
def test_a_section_may_be_outside_of_a_transaction(option: str, transaction: bool) -> None:
    (section,) = read_sql("a.sql", f"-- migrate:up{option}\nA").up
    assert section.transaction is transaction


def test_what_is_written_out_has_its_comments_and_its_rows() -> None:
    sql = read_sql("a.sql", "-- migrate:up\n-- why\nCOPY a FROM STDIN;\n1\n\\.\n/* so */ SELECT ':a'")
    written = [one.written for one in sql.statements(sql.up[0])]
    assert written == ["-- why\nCOPY a FROM STDIN;\n1\n\\.", "/* so */ SELECT ':a';"]


def test_a_sql_file_follows_the_one_before_it_and_a_python_file_says_what_it_follows() -> None:
    files = {
        "0003_c.py": python("0003", "0002"),
        "0002_b.sql": UP,
        "0001_a.py": python("first", None),
        "0004_d.sql": UP,
        "0005_e.sql": UP,
    }
    found = revisions(files.items())
    assert [(one.id, one.down) for one in found] == [
        ("first", ()),
        ("0002", ("first",)),
        ("0003", ("0002",)),
        ("0004", ("0003",)),
        ("0005", ("0004",)),
    ]
    assert History.of(found).head == "0005"


@given(st.lists(st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True), unique=True, min_size=1), st.randoms())
def test_files_that_are_all_sql_are_one_line_in_the_order_of_their_names(ids: list[str], random: object) -> None:
    names = sorted(f"{id_}_x.sql" for id_ in ids)
    history = History.of(revisions((name, UP) for name in reversed(names)))
    assert [one.file for one in history.revisions.values()] == names


def test_a_sql_and_a_python_file_of_one_id_are_both_named() -> None:
    with pytest.raises(HistoryError, match=r"0001_a\.py and 0001_b\.sql are both revision '0001'"):
        History.of(revisions([("0001_a.py", python("0001", None)), ("0001_b.sql", UP)]))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "0001_a.sql: has no line `-- migrate:up`"),
        ("SELECT 1;", "0001_a.sql: has no line `-- migrate:up`"),
        (" -- migrate:up\nSELECT 1;", "0001_a.sql: has no line `-- migrate:up`"),
        ("-- migrate:down\nSELECT 1;", "0001_a.sql: has no line `-- migrate:up`"),
        ("-- migrate:down\n-- migrate:up", "0001_a.sql:1: this `-- migrate:down` has no"),
        (f"{BOTH}-- migrate:down\n", "0001_a.sql:5: this `-- migrate:down` has no"),
        (f"-- why\nSELECT 0;\n{UP}", "0001_a.sql:2: stands above the first section"),
        (f"/* why */\n{UP}", "0001_a.sql:1: stands above the first section"),
        (f"{UP}\n  \\connect - root\n", "0001_a.sql:4:3: \\connect is a command of psql"),
        (f"{UP}-- migrate:down\nSELECT 1\\gexec\n", "0001_a.sql:4:9: \\gexec is a command of psql"),
        (f"{UP}\\.\n", "0001_a.sql:3:1: \\. is a command of psql"),
        (f"{UP} COPY a TO STDOUT;\n", "0001_a.sql:3:2: nobody reads what this COPY writes"),
        (f"{UP}SELECT \0 2;\n", "0001_a.sql:3: there is a null character"),
        (f"{UP}INSERT INTO a VALUES {'(1),' * 20_000} \\gset\n", "\\gset is a command of psql"),
        (f"{UP} COPY a FROM STDIN;\n1\n", "0001_a.sql:3:2: the rows of this COPY"),
    ],
    ids=lambda text: ascii(text[:50]),
)
def test_what_cannot_be_run_is_told_with_its_line(text: str, fault: str) -> None:
    with pytest.raises(HistoryError) as caught:
        parse_sql("0001_a.sql", text, None)
    assert fault in caught.value.message and caught.value.next


@pytest.mark.parametrize("name", ["2026-01-01_a.sql", f"{'1' * 33}_a.sql"])
def test_an_id_that_alembic_could_not_keep_is_refused(name: str) -> None:
    with pytest.raises(HistoryError, match="Alembic"):
        parse_sql(name, UP, None)


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("a.sql", True),
        ("a.sql.bak", False),
        ("a.py", True),
        ("env.py", False),
        ("_a.sql", False),
        (".a.sql", False),
        (".sql", False),
        ("a.SQL", False),
    ],
)
def test_which_files_are_revisions_is_told_by_their_names(name: str, is_one: bool) -> None:
    assert is_revision(name) is is_one


def test_a_byte_order_mark_is_taken_off_and_ends_of_lines_stay() -> None:
    assert decode("a.sql", b"\xef\xbb\xbfa\r\nb") == "a\r\nb"


@given(st.text() | st.text().map(lambda text: UP + text) | st.text().map(lambda text: f"-- migrate:up{text}"))
def test_any_text_is_a_revision_or_a_named_fault(text: str) -> None:
    try:
        parse_sql("a.sql", text, None)
    except HistoryError as error:
        assert "a.sql" in error.message


@given(st.text().filter(lambda text: "\0" not in text))
def test_a_place_is_where_an_editor_finds_it(text: str) -> None:
    sql = read_sql("a.sql", f"-- migrate:up\n{text}\nX")
    file, line, column = sql.place(len(sql.text) - 1).split(":")
    assert (file, sql.text.split("\n")[int(line) - 1][int(column) - 1]) == ("a.sql", "X")
