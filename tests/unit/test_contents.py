"""What is in an archive: rows and digests of its tables, however the text is cut into pieces."""

from __future__ import annotations

import hashlib
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tenants.core.contents import SEQUENCES, Contents, Tally

ROWS = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\\"), max_size=12), max_size=6)
TABLES = st.dictionaries(st.sampled_from(["a.b", 'a."C d"', 'a."q""(x) FROM"', "a.e"]), ROWS, max_size=4)


def text_of(tables: dict[str, list[str]], columns: str = " (x, y)") -> bytes:
    parts = ["--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\nSET x = 1;\n\n"]
    for name, rows in tables.items():
        parts += [f"COPY {name}{columns or ' '} FROM stdin;\n", *(row + "\n" for row in rows), "\\.\n\n\n--\n-- more\n"]
    parts += ["SELECT pg_catalog.setval('a.s', 4, true);\n", "\n--\n-- done\n"]
    return "".join(parts).encode()


def read(pieces: list[bytes]) -> Tally:
    found = Tally()
    for piece in pieces:
        found.feed(piece)
    return found


def tally(pieces: list[bytes]) -> dict[str, Contents]:
    return read(pieces).done()


@given(tables=TABLES, cuts=st.lists(st.integers(0, 2000), max_size=20), columns=st.sampled_from([" (x, y)", ""]))
def test_rows_and_digests_are_the_same_however_the_text_is_cut(
    tables: dict[str, list[str]], cuts: list[int], columns: str
) -> None:
    text = text_of(tables, columns)
    at = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    whole = read([text[start:end] for start, end in pairwise(at)])
    assert whole.digest() == read([text]).digest()
    found = whole.done()
    assert found.pop(SEQUENCES).rows == 1
    assert set(found) == set(tables)
    for name, rows in tables.items():
        data = "".join(row + "\n" for row in rows).encode()
        assert found[name] == Contents(len(rows), len(data), hashlib.sha256(data).hexdigest())


def test_a_row_that_differs_and_a_sequence_that_differs_are_seen() -> None:
    one = tally([text_of({"a.b": ["1\t2"]})])
    assert one != tally([text_of({"a.b": ["1\t3"]})])
    assert one != tally([text_of({"a.b": ["1\t2"]}).replace(b"4, true", b"5, true")])


@given(at=st.integers(0, 400))
def test_the_digest_of_the_whole_is_another_one_when_a_byte_is(at: int) -> None:
    """Wherever it is: in a row, in a table's name, in the statements between."""
    partitions = b"-- load via partition root a.p\n\nCOPY a.p (x) FROM stdin;\n1\n2\n\\.\n\n"
    text = text_of({"a.b": ["1\t2", "3"], "a.e": []}) + partitions
    at %= len(text)
    other = text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :]
    assert read([text]).digest() != read([other]).digest()
    assert read([text]).digest() != read([text.replace(b"\n1\n2\n", b"\n2\n1\n")]).digest()


@given(rows=ROWS, at=st.integers(0, 6), cut=st.integers(0, 200))
def test_rows_that_go_through_the_root_of_partitions_count_as_its_own_in_any_order(
    rows: list[str], at: int, cut: int
) -> None:
    def text(*parts: list[str]) -> bytes:
        begins = "-- load via partition root a.b\n\nCOPY a.b (x) FROM stdin;\n"
        return "".join(begins + "".join(row + "\n" for row in part) + "\\.\n\n\n" for part in parts).encode()

    one, other = text(rows[:at], rows[at:]), text(rows[::-1], [])
    assert tally([one[:cut], one[cut:]]) == tally([other])
    assert tally([one])["a.b"].rows == len(rows)
    assert tally([one]) != tally([text(rows, ["another"])])
    if rows:
        assert tally([one]) != tally([text([*rows[:-1], rows[-1] + "x"], [])])


def test_names_with_a_line_end_in_them_are_read() -> None:
    text = b'COPY a."x\ny" ("p\nq", r) FROM stdin;\n1\t2\n\\.\n\nSELECT pg_catalog.setval(\'a."s\nt"\', 4, true);\n'
    found = tally([text])
    assert found['a."x\ny"'].rows == 1 and found[SEQUENCES].rows == 1


def test_memory_is_bounded_where_no_table_begins() -> None:
    found = Tally()
    for _ in range(100):
        found.feed(b"-- no table\n" * 10_000)
    assert len(found._outside) < 200_000
