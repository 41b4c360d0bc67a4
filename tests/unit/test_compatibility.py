"""What the old release may not live with: attributed, named and filtered, from SQL and a linter's reports alone."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tenants.core.compatibility import Finding, Lint, judge, lints, split, unreadable, unseen
from tenants.core.history import Revision
from tenants.core.statements import read


def revision(id_: str) -> Revision:
    return Revision(id_, (), (), (), f"{id_}_step.py", "")


ONE, TWO, THREE = (revision(id_) for id_ in ("0001", "0002", "0003"))


def judged(text: str, rule: str, at: str) -> tuple[Finding, ...]:
    return judge([(ONE, text, [Lint(rule, "", text.index(at))])], "fruits")


def test_sql_is_attributed_to_its_revision() -> None:
    markers = ("-- Running upgrade  -> 0001", "-- Running upgrade 0001, b -> 0002")
    sql = f"BEGIN;\n\n{markers[0]}\n\nSELECT 1;\n\n{markers[1]}\n\nSELECT 2;\n\nCOMMIT;\n"
    parts = split(sql, [ONE, TWO, THREE])
    assert [(part.id, text.split()[1]) for part, text in parts] == [("0001", "1;"), ("0002", "2;")]


def test_where_nothing_was_rendered_nothing_is_attributed() -> None:
    assert split("", [ONE]) == []


def test_what_a_revision_says_itself_begins_no_other_one() -> None:
    sql = "-- Running upgrade  -> 0001\nSELECT 1;\n-- Running upgrade x -> y\n-- Running upgrade  -> 0001\nSELECT 2;\n"
    ((only, text),) = split(sql, [ONE, TWO])
    assert only is ONE and "SELECT 1" in text and "SELECT 2" in text


def test_a_report_without_anything_to_name_is_passed_over() -> None:
    assert judged("CREATE UNIQUE INDEX i ON a (b);", "ban-new-write-restriction", "CREATE") == ()
    assert judged("ALTER TABLE a ADD UNIQUE (b);", "ban-new-write-restriction", "ADD") == ()
    assert judged("ALTER TABLE a DROP COLUMN b;", "prefer-robust-stmts", "DROP") == ()
    assert judge([(ONE, "ALTER TABLE a DROP COLUMN b;", [])], "fruits") == (), (
        "the linter decides, or an ignore comment"
    )


def test_a_report_belongs_to_the_action_that_it_stands_in() -> None:
    text = "ALTER TABLE a DROP b, DROP c; DROP TABLE d;"
    (found,) = judged(text, "ban-drop-column", "DROP c")
    assert (found.table, found.column) == ("a", "c")
    (found,) = judged(text, "ban-drop-table", "DROP TABLE d")
    assert (found.table, found.column) == ("d", None)


def test_a_table_that_is_made_anew_was_an_old_one_before() -> None:
    text = "DROP TABLE a; CREATE TABLE a (b int); ALTER TABLE a DROP b;"
    reports = [Lint("ban-drop-table", "", 0), Lint("ban-drop-column", "", text.index("DROP b"))]
    assert [(f.table, f.column) for f in judge([(ONE, text, reports)], "fruits")] == [("a", None)]


def test_no_name_is_longer_in_words_than_one_reads() -> None:
    (found,) = judged(f"DROP TABLE {'a' * 10_000};", "ban-drop-table", "DROP")
    assert len(str(found)) < 300


def test_what_cannot_be_looked_at_is_told_with_its_reason_in_one_line() -> None:
    found = unseen(ONE, "0001_step.py:12: AttributeError: no\nin: SELECT 1")
    assert str(found) == "0001_step.py: its SQL cannot be looked at beforehand (line 12: AttributeError: no)"
    assert found.rule is None


def test_scripts_get_what_people_read() -> None:
    (found,) = judged("ALTER TABLE items DROP colour;", "ban-drop-column", "DROP")
    assert found.document() == {
        "revision": "0001",
        "rule": "ban-drop-column",
        "table": "items",
        "column": "colour",
        "message": "column items.colour goes: the old release may still use it",
    }


def test_columns_of_the_linter_count_bytes() -> None:
    text = "SELECT 1;\nSELECT 'éü', 2;"
    (found,) = lints(json.dumps([{"rule_name": "r", "message": "m", "line": 1, "column": 15}]), text)
    assert text[found.start] == "2"


@pytest.mark.parametrize(
    "answer", ["", "{}x", "3", "[3]", "[{}]", '[{"rule_name":1,"message":1,"line":9,"column":0}]', "null"]
)
def test_what_is_no_answer_of_the_linter_is_an_error(answer: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        lints(answer, "SELECT 1")


def test_a_text_that_the_linter_could_not_read_is_not_a_harmless_one() -> None:
    assert unreadable([Lint("syntax-error", "expected command", 10)], "SELECT 1;\nhere\n") is not None
    assert unreadable([Lint("ban-drop-table", "", 0)], "DROP TABLE a") is None


@given(st.text(alphabet="AaLlTER \"'$;,.()/*-\n\\éx1", max_size=200))
@example("ALTER TABLE a ADD")
@example("ALTER TABLE a ADD COLUMN")
@example("ALTER TABLE a ALTER COLUMN")
@example("ALTER TABLE a RENAME TO")
@example("ALTER TABLE a DROP COLUMN IF EXISTS")
@example("ALTER TABLE a ADD CONSTRAINT")
@example("ALTER TABLE")
@example("DROP TABLE a.")
@example("CREATE TEMP")
def test_no_text_is_too_odd_to_be_read(text: str) -> None:
    for statement in read(text, "fruits"):
        assert 0 <= statement.start <= statement.end <= len(text)
    judge([(ONE, text, [Lint("ban-drop-column", "", 0)])], "fruits")


WORDS = (
    *("ALTER", "TABLE", "VIEW", "COLUMN", "ADD", "DROP", "RENAME", "TO", "SET", "NOT", "NULL", "TYPE", "DEFAULT", "IF"),
    *("EXISTS", "PRIMARY", "KEY", "CHECK", "CONSTRAINT", "GENERATED", "USING", "ONLY", "serial", "a", "b", '"c"'),
    *"(),;.[]",
)


@given(st.lists(st.sampled_from(WORDS), max_size=30))
def test_no_order_of_words_is_too_odd_either(words: list[str]) -> None:
    text = " ".join(["ALTER TABLE a", *words])
    rules = ("ban-drop-column", "renaming-column", "changing-column-type", "adding-required-field", "ban-drop-default")
    judge([(ONE, text, [Lint(rule, "", at) for rule in rules for at in range(0, len(text), 5)])], "fruits")


def test_comments_and_texts_hide_what_is_in_them() -> None:
    text = "/* a /* b */ DROP TABLE c; */ SELECT $x$; DROP TABLE d; $x$, E'\\'; DROP TABLE e;', ';'; DROP TABLE f"
    assert [statement.names for statement in read(text, "fruits")] == [("f",)]
