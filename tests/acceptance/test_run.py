"""Other migration tools in the pipeline: on a copy first, then live, as the tenant, with a way back."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest
from support import Done, Place, ending, until

SQL = """
import os, sys, psycopg
with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
    for statement in sys.argv[1:]:
        found = connection.execute(statement)
        if found.description:
            print(*found.fetchone())
"""


@pytest.fixture
def orchard(place: Place) -> Place:
    """A tenant with four rows that no revision has made; a command that runs SQL; rehearsals, as by default."""
    del place.environment["TENANTS_REHEARSAL"]
    assert place.tenants("create", "fruits").code == 0
    names = "('apple'), ('another-apple'), ('banana'), ('carrot')"
    place.database.sql(
        f"CREATE TABLE items (name text PRIMARY KEY); INSERT INTO items VALUES {names}", url=place.url_of("fruits")
    )
    (place.folder / "sql.py").write_text(SQL)
    return place


def sql(place: Place, *statements: str, options: tuple[str, ...] = (), **environment: str | None) -> Done:
    name = () if "DATABASE_URL" in environment else ("fruits",)
    return place.tenants("run", *name, *options, "--", sys.executable, "sql.py", *statements, **environment)


def script(place: Place, text: str, name: str = "migrate.sh") -> str:
    file = place.folder / name
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return f"./{name}"


def stages(done: Done) -> list[str]:
    return list(dict.fromkeys(line.split()[1] for line in done.err.splitlines() if line.startswith("fruits ")))


def columns(place: Place) -> list[str]:
    query = "SELECT attname FROM pg_attribute WHERE attrelid = 'fruits.items'::regclass AND attnum > 0"
    return [row[0] for row in place.database.sql(query + " AND NOT attisdropped")]


@pytest.mark.every_server
def test_a_command_runs_on_a_copy_then_live_and_is_undone_by_its_snapshot(orchard: Place) -> None:
    done = sql(orchard, "ALTER TABLE items ADD colour text", "SELECT current_database()")
    assert done.code == 0, done.said
    assert stages(done) == ["plan", "snapshot", "rehearse", "migrate", "prove"]
    rehearsed = next(line for line in done.err.splitlines() if "rehearse  |" in line)
    assert "~scratch~" in rehearsed and "migrate   | db.main" in done.err, done.said
    assert "definitions in schema fruits have changed" in done.err and "Undo: tenants undo fruits" in done.out
    assert columns(orchard) == ["name", "colour"]
    orchard.nothing_left()
    way = orchard.tenants("undo", "fruits", "--dry-run")
    assert way.code == 0 and "the last run, of" in way.err and "is put back" in way.err, way.said
    back = orchard.tenants("undo", "fruits", "--yes")
    assert back.code == 0 and "its tool would run it anew" in back.out, back.said
    assert columns(orchard) == ["name"] and orchard.database.sql("SELECT count(*) FROM fruits.items") == [(4,)]
    orchard.nothing_left()


@pytest.mark.every_server
def test_what_fails_on_the_copy_never_reaches_the_live_schema(orchard: Place) -> None:
    before = orchard.database.dump("fruits")
    done = sql(orchard, "ALTER TABLE items ADD colour text", "ALTER TABLE items ALTER colour SET NOT NULL")
    assert done.code == 6 and 'column "colour" of relation "items" contains null values' in done.err, done.said
    assert "FAILED: on a copy of today's data" in done.err and "ended with exit code 1" in done.err
    assert "Data:     untouched\n" in done.err and "Release:  the old one goes on serving" in done.err
    assert "migrate" not in stages(done)
    assert orchard.database.dump("fruits") == before
    assert orchard.tenants("undo", "fruits", "--yes").code == 2, "there is nothing to undo"
    orchard.nothing_left()


@pytest.mark.every_server
def test_what_fails_live_is_told_with_what_it_has_left_and_the_way_back(orchard: Place) -> None:
    """A tool that commits as it goes: what it did before it failed stays, and only the snapshot leads back."""
    before = orchard.database.dump("fruits")
    live = "SELECT 1 / (current_database() LIKE '%~%')::int"
    done = sql(orchard, "ALTER TABLE items ADD colour text", live, options=("--json",))
    assert done.code == 6, done.said
    assert done.json["outcome"] == "failed" and done.json["rehearsed"] and done.json["exit_code"] == 1
    assert done.json["definitions_changed"] is True and "definitions in schema fruits have changed" in done.json["data"]
    assert done.json["next"] == "tenants undo fruits" and "division by zero" in done.json["output"]
    assert columns(orchard) == ["name", "colour"]
    back = orchard.tenants("undo", "fruits", "--yes")
    assert back.code == 0, back.said
    assert orchard.database.dump("fruits") == before
    orchard.nothing_left()
    untouched = sql(orchard, live)
    assert untouched.code == 6 and "nothing has changed: no definition, and no row" in untouched.err, untouched.said
