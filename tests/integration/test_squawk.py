"""What the old release may not live with: found by squawk in real SQL, and named here."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tenants.core import compatibility
from tenants.core.compatibility import INCLUDED, Finding
from tenants.core.errors import ProgramError
from tenants.core.history import Revision
from tenants.edges import squawk


def revision(id_: str) -> Revision:
    return Revision(id_, (), (), (), f"{id_}_step.py", "")


def ask(sql: str, major: int = 18) -> str:
    program = squawk.find(os.environ["PATH"])
    assert program
    return squawk.ask(program, sql, include=INCLUDED, server_major=major)


def look(*texts: str) -> tuple[Finding, ...]:
    """What is found in these revisions, one after the other."""
    asked = [(revision(f"{n:04}"), text, compatibility.lints(ask(text), text)) for n, text in enumerate(texts, 1)]
    for _, text, found in asked:
        assert compatibility.unreadable(found, text) is None
    return compatibility.judge(asked, "fruits")


USE, ASK = "the old release may still use it", "the old release still asks for"
NEW = "is new and must have a value: the old release does not give it one"
FILL = "must have a value from now on: the old release may leave it empty"
TYPE = "the old release may not read or write that"


@pytest.mark.parametrize(
    ("sql", "rule", "message"),
    [
        ("ALTER TABLE items DROP COLUMN colour", "ban-drop-column", f"column items.colour goes: {USE}"),
        (
            "ALTER TABLE IF EXISTS ONLY items DROP IF EXISTS colour CASCADE",
            "ban-drop-column",
            f"column items.colour goes: {USE}",
        ),
        (
            'ALTER TABLE fruits."My items" DROP "The ""colour"""',
            "ban-drop-column",
            f'column My items.The "colour" goes: {USE}',
        ),
        ("ALTER TABLE other.Items DROP Colour", "ban-drop-column", f"column other.items.colour goes: {USE}"),
        (
            "ALTER TABLE items RENAME COLUMN colour TO color",
            "renaming-column",
            f"column items.colour becomes color: {ASK} colour",
        ),
        (
            "ALTER TABLE items RENAME colour TO color",
            "renaming-column",
            f"column items.colour becomes color: {ASK} colour",
        ),
        ("ALTER TABLE items RENAME TO things", "renaming-table", f"table items becomes things: {ASK} items"),
        ("ALTER TABLE items SET SCHEMA other", "ban-set-schema", f"table items becomes other.items: {ASK} items"),
        ("DROP TABLE IF EXISTS fruits.items CASCADE", "ban-drop-table", f"table items goes: {USE}"),
        ("DROP VIEW seen", "ban-drop-view", f"view seen goes: {USE}"),
        ("ALTER VIEW seen RENAME TO saw", "renaming-object", f"view seen becomes saw: {ASK} seen"),
        ("ALTER TABLE items ADD COLUMN n int NOT NULL", "adding-required-field", f"column items.n {NEW}"),
        ("ALTER TABLE items ADD n int CONSTRAINT x NOT NULL", "adding-required-field", f"column items.n {NEW}"),
        ("ALTER TABLE items ADD n int PRIMARY KEY", "adding-serial-primary-key-field", f"column items.n {NEW}"),
        ("ALTER TABLE items ALTER COLUMN n SET NOT NULL", "adding-not-nullable-field", f"column items.n {FILL}"),
        ('ALTER TABLE "éé" ALTER "ü" SET NOT NULL', "adding-not-nullable-field", f"column éé.ü {FILL}"),
        ("ALTER TABLE items ADD PRIMARY KEY (n)", "adding-serial-primary-key-field", f"column items.n {FILL}"),
        ("ALTER TABLE items ADD CONSTRAINT x NOT NULL n", "ban-new-write-restriction", f"column items.n {FILL}"),
        (
            "ALTER TABLE items ADD CHECK (n IS NOT NULL) NOT VALID",
            "ban-new-write-restriction",
            f"column items.n {FILL}",
        ),
        (
            "ALTER TABLE items ALTER n TYPE numeric(8, 2) USING n::numeric",
            "changing-column-type",
            f"column items.n becomes numeric(8, 2): {TYPE}",
        ),
        (
            "ALTER TABLE items ALTER COLUMN n SET DATA TYPE text",
            "changing-column-type",
            f"column items.n becomes text: {TYPE}",
        ),
        ("ALTER TYPE pair DROP ATTRIBUTE a", "ban-drop-column", f"attribute pair.a goes: {USE}"),
    ],
)
def test_each_kind_is_found_and_named(sql: str, rule: str, message: str) -> None:
    (found,) = look(f"-- é before it\n\nSELECT 'é';\n{sql};\n")
    assert (found.rule, found.message) == (rule, message)
    assert str(found) == f"0001_step.py: {message} ({rule})"


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE new (id int NOT NULL PRIMARY KEY, n int NOT NULL)",
        "ALTER TABLE items ADD COLUMN colour text",
        "ALTER TABLE items ADD COLUMN n int NOT NULL DEFAULT 4",
        "ALTER TABLE items ADD COLUMN n uuid NOT NULL DEFAULT gen_random_uuid()",
        "ALTER TABLE items ADD COLUMN n bigserial NOT NULL",
        "ALTER TABLE items ADD n int GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        "CREATE INDEX CONCURRENTLY i ON items (name)",
        "DROP INDEX i",
        "ALTER TABLE items RENAME CONSTRAINT a TO b",
        "ALTER TABLE items DROP CONSTRAINT a",
        "ALTER TABLE items ALTER COLUMN n DROP NOT NULL",
        "ALTER TABLE items ALTER COLUMN n SET DEFAULT 4",
        "ALTER TABLE items ALTER COLUMN n DROP DEFAULT",
        "ALTER TABLE items ADD CHECK (n > 4)",
        "ALTER INDEX a RENAME TO b",
        "INSERT INTO items VALUES ('ALTER TABLE items DROP COLUMN colour;')",
        "-- ALTER TABLE items DROP COLUMN colour;",
        "DROP VIEW seen; CREATE VIEW seen AS SELECT 1",
        "-- squawk-ignore ban-drop-column\nALTER TABLE items DROP COLUMN colour",
    ],
)
def test_what_the_old_release_does_not_notice_is_not_found(sql: str) -> None:
    assert look(f"{sql};") == ()


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE new",
        "ALTER TABLE fruits.new DROP COLUMN id",
        "ALTER TABLE new ALTER id TYPE text, ALTER id SET NOT NULL, ADD n int NOT NULL",
        'ALTER TABLE new RENAME TO "New"; ALTER TABLE "New" RENAME id TO n; DROP TABLE "New"',
        "ALTER TABLE items DROP COLUMN extra",
        "ALTER TABLE items ALTER COLUMN extra TYPE bigint",
        "ALTER TABLE items RENAME extra TO more; ALTER TABLE items DROP more",
        "ALTER TABLE items ALTER extra SET DEFAULT 1; ALTER TABLE items ALTER extra SET NOT NULL",
    ],
)
def test_what_the_same_push_has_made_is_nobody_s(sql: str) -> None:
    first = "CREATE TABLE fruits.new (id int); ALTER TABLE items ADD COLUMN extra int;"
    assert look(first, f"{sql};") == ()
    assert look(first + f"{sql};") == ()
    assert len(look(f"{sql};")) > 0, "without the first revision it is somebody's"


@pytest.mark.parametrize(
    "texts",
    [
        ("ALTER TABLE items ADD n int;", "UPDATE items SET n = 1; ALTER TABLE items ALTER n SET NOT NULL;"),
        ("ALTER TABLE items ADD n int NOT NULL DEFAULT 1;", "ALTER TABLE items ALTER n DROP DEFAULT;"),
    ],
)
def test_a_column_that_must_have_a_value_in_the_end_is_one_in_two_steps_as_well(texts: tuple[str, str]) -> None:
    (found,) = look(*texts)
    assert (found.revision, found.message) == ("0002", f"column items.n {NEW}")


def test_what_may_have_been_there_before_is_not_taken_for_new() -> None:
    first = "CREATE TABLE IF NOT EXISTS a (n int); ALTER TABLE b ADD COLUMN IF NOT EXISTS n int;"
    assert len(look(first, "DROP TABLE a; ALTER TABLE b DROP n;")) == 2


def test_several_in_one_statement_are_told_one_by_one() -> None:
    found = look("CREATE TABLE b (n int);\nDROP TABLE a, b, fruits.c;\nALTER TABLE d DROP x, ADD y int, DROP z;")
    assert [(f.table, f.column) for f in found] == [("a", None), ("c", None), ("d", "x"), ("d", "z")]


def test_what_squawk_cannot_read_is_said_and_not_taken_for_harmless() -> None:
    text = "ALTER TABLE items DROP COLUMN colour;\nthis is no SQL;\n"
    why = compatibility.unreadable(compatibility.lints(ask(text), text), text)
    assert why and "this is no SQL" in why


def test_no_file_that_lies_about_silences_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".squawk.toml").write_text('excluded_rules = ["ban-drop-column"]')
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # it starts in a folder below
    assert len(look("ALTER TABLE items DROP COLUMN colour;")) == 1


@pytest.mark.parametrize(
    "text", ["DROP TABLE " + "a," * 50_000, "$$" * 50_001, "/*" * 50_000, '"' * 50_001, "\x00;\\! id"]
)
def test_hostile_text_is_not_understood_and_does_nothing(text: str) -> None:
    assert compatibility.unreadable(compatibility.lints(ask(text), text), text)


def test_text_that_it_breaks_at_is_an_error() -> None:
    with pytest.raises(ProgramError, match="squawk failed"):
        ask("(" * 500_000)


def test_a_program_that_fails_or_floods_is_an_error(tmp_path: Path) -> None:
    program = tmp_path / "squawk"
    for script, words in (("echo no >&2; exit 2", "squawk failed: no"), ("yes", "too much to say")):
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        with pytest.raises(ProgramError, match=words):
            squawk.ask(program, "SELECT 1", include=(), server_major=18)


def test_it_is_found_beside_python_or_on_the_path(tmp_path: Path) -> None:
    found = squawk.find("")
    assert found and found == Path(shutil.which("squawk", path=str(found.parent)) or "")
