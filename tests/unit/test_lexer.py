"""Lexer: SQL is cut where PostgreSQL would cut it, and any text is."""

from __future__ import annotations

import pytest
import sql_corpus
from hypothesis import given
from hypothesis import strategies as st

from tenants.core.lexer import cut

PIECES = ["'", '"', "$$", "$a$", "\\", ";", "(", ")", "--", "/*", "*/", "\n", "E'", "BEGIN ATOMIC", "CASE", "END", "a"]
PIECES += ["CREATE FUNCTION f()", "COPY a FROM STDIN;\n", "\\.\n", "SET standard_conforming_strings = off;", " ", "\r"]


def statements(text: str) -> list[str]:
    return [text[part.start : part.end] for part in cut(text)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        (" ; -- a;\n/* b; */;", []),
        ("a;b", ["a", "b"]),
        ("-- why\n  a ; /* b */ c\n", ["a ", "c\n"]),
        ("a /* /* ; */ ; */ b; c", ["a /* /* ; */ ; */ b", "c"]),
        ("'a;''b'; c", ["'a;''b'", "c"]),
        ("'a\\'; b", ["'a\\'", "b"]),
        (r"E'a\';b'; c", [r"E'a\';b'", "c"]),
        ("E'a'\n  'b\\';'; c", ["E'a'\n  'b\\';'", "c"]),
        ("E'a' -- why\n'b\\';'; c", ["E'a' -- why\n'b\\';'", "c"]),
        ("E'a' 'b\\'; c", ["E'a' 'b\\'", "c"]),
        ("E'a', \n'b\\'; c", ["E'a', \n'b\\'", "c"]),
        ('"a;""b"; c', ['"a;""b"', "c"]),
        ("$$a;$b$;$$; c", ["$$a;$b$;$$", "c"]),
        ("$$a;$$", ["$$a;$$"]),
        ("a$$;b$$; c", ["a$$", "b$$", "c"]),
        ("(a;b); c", ["(a;b)", "c"]),
        (") ; (a;b); c", [") ", "(a;b)", "c"]),
        ("CREATE FUNCTION f() BEGIN ATOMIC a; CASE WHEN b THEN c END; END; d", None),
        ("CREATE FUNCTION f() BEGIN ATOMIC SELECT 1 AS end; END; d", None),
        ("CREATE FUNCTION f() BEGIN ATOMIC SELECT a.end, a.case; END; d", None),
        ("BEGIN; a; END; b", ["BEGIN", "a", "END", "b"]),
        ("SET standard_conforming_strings TO off; 'a\\';b'; c", None),
        ("SET a = off; 'a\\'; b", ["SET a = off", "'a\\'", "b"]),
    ],
)
def test_a_statement_ends_where_it_ends_for_postgresql(text: str, found: list[str] | None) -> None:
    if found is None:
        *first, last = text.rsplit("; ", 1)
        first = first[0].split("; ", 1) if text.startswith("SET") else first
        found = [*first, last]
    assert statements(text) == found


def test_where_strings_are_no_standard_ones_from_the_beginning_they_may_become_so() -> None:
    text = r"'a\';b'; SET standard_conforming_strings = on; 'c\'; RESET ALL; 'd\';e'"
    assert len(list(cut(text, conforming=False))) == 5


def test_the_rows_of_a_copy_are_no_sql() -> None:
    text = "COPY a (b) FROM STDIN; -- rows\nit's; $$\n\\N\n\\.\nc; COPY d FROM STDIN;\n\\."
    one, two, three = cut(text)
    assert one.data and text[slice(*one.data)] == "it's; $$\n\\N\n"
    assert text[two.start : two.end] == "c" and two.data is None
    assert three.data and text[slice(*three.data)] == ""


@pytest.mark.parametrize("text", ["COPY a FROM STDIN", "COPY a FROM STDIN;\n1\n", "COPY a FROM STDIN; b;\n1\n\\.\n"])
def test_a_copy_whose_rows_do_not_end_is_not_whole(text: str) -> None:
    assert not next(cut(text)).complete


@pytest.mark.parametrize("text", ["COPY (SELECT a FROM stdin) TO STDOUT;", "COPY a FROM 'f';", "SELECT a FROM stdin;"])
def test_what_reads_no_rows_has_none(text: str) -> None:
    (only,) = cut(text)
    assert only.complete and only.data is None


@given(st.text() | st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_any_text_has_its_statements_one_after_the_other(text: str) -> None:
    place = 0
    for part in cut(text):
        assert place <= part.start < part.end <= len(text) and part.tokens
        place = part.data[1] if part.data else part.end


@pytest.mark.parametrize("piece", PIECES)
def test_a_long_text_takes_no_longer_than_its_length(piece: str) -> None:
    """It would not come to its end in this life."""
    assert len(list(cut(piece * 50_000))) >= 0


@given(st.lists(st.sampled_from(sorted(sql_corpus.files().values())), min_size=1, max_size=3))
def test_texts_one_after_the_other_are_cut_as_each_is(texts: list[bytes]) -> None:
    decoded = [text.decode("utf-8-sig") for text in texts if len(text) < 10_000]
    alone = [statements(text) for text in decoded]
    together = statements("\n;\n".join(decoded))
    assert [one.strip() for one in together] == [one.strip() for text in alone for one in text]
