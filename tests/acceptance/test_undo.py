"""Undo: back to before the last deploy or restore, by the way that loses least, and not without a word."""

from __future__ import annotations

import json
import os
import subprocess

import psycopg
import pytest
from support import TENANTS, Done, Place
from terminal import on_terminal

WAY_BACK = """

def downgrade():
    op.drop_column("items", "colour")
"""


@pytest.fixture
def orchard(place: Place) -> Place:
    """A tenant with four rows, at 0002, whose revision can be taken back."""
    place.fruits()
    place.deployed()
    place.colour()
    file = place.migrations / "fruits" / "0002_colour.py"
    file.write_text(file.read_text() + WAY_BACK)
    place.deployed()
    return place


def rows(place: Place) -> list[tuple[object, ...]]:
    return place.database.sql("SELECT name FROM fruits.items ORDER BY name")


def undone(place: Place, *more: str) -> Done:
    done = place.tenants("undo", "fruits", "--yes", *more)
    assert done.code == 0, done.said
    place.nothing_left()
    return done


@pytest.mark.every_server
def test_a_deploy_is_taken_back_by_downgrade_where_that_loses_nothing(orchard: Place) -> None:
    """Rows that the app has written since are kept."""
    orchard.database.sql("INSERT INTO items (name) VALUES ('damson')", url=orchard.url_of("fruits"))
    way = orchard.tenants("undo", "fruits", "--dry-run", "--json")
    assert way.code == 0, way.said
    assert (way.json["by"], way.json["to"], way.json["lost"], way.json["undone"]) == ("downgrade", "0001", [], False)
    done = undone(orchard)
    assert "0002 taken back by downgrade, at 0001" in done.err and "would run anew" in done.out
    assert ("damson",) in rows(orchard)
    query = (
        "SELECT attname FROM pg_attribute WHERE attrelid = 'fruits.items'::regclass AND attnum > 0 AND NOT attisdropped"
    )
    assert orchard.database.sql(query) == [("name",)]
    assert orchard.tenants("plan", "--check").code == 3, "the revision is pending again"
    orchard.deployed()
    assert ("damson",) in rows(orchard)


@pytest.mark.every_server
def test_where_a_downgrade_would_lose_something_the_snapshot_is_taken_and_what_goes_is_told(orchard: Place) -> None:
    url = orchard.url_of("fruits")
    orchard.database.sql("UPDATE items SET colour = 'red'; INSERT INTO items (name) VALUES ('damson')", url=url)
    way = orchard.tenants("undo", "fruits", "--dry-run")
    assert way.code == 0 and "no downgrade: it would lose something: fruits.items" in way.err, way.said
    assert "lost: fruits.items has 5 rows now, and 4 in the snapshot" in way.err
    refused = orchard.tenants("undo", "fruits", "--by", "downgrade", "--yes")
    assert refused.code == 2 and "would lose something" in refused.err, refused.said
    assert len(rows(orchard)) == 5, "nothing was done yet"
    done = undone(orchard)
    assert len(rows(orchard)) == 4 and "back at 0001" in done.out
    (line,) = [line for line in done.out.splitlines() if "To take that back" in line]
    back = orchard.tenants(*line.split("tenants ")[1].split())
    assert back.code == 0, back.said
    assert orchard.database.sql("SELECT count(*) FROM fruits.items WHERE colour = 'red'") == [(4,)]


def test_a_revision_without_a_way_back_is_undone_by_its_snapshot(place: Place) -> None:
    place.fruits()
    place.deployed()
    place.colour()
    place.deployed()
    done = undone(place)
    assert "0002_colour.py has no downgrade" in done.err and "no row was written since" not in done.err, done.said
    assert "fruits.items has other values" in done.err, "the column that goes"
    assert place.tenants("list", "--json").json["tenants"][0]["revision"] == "0001"


@pytest.mark.every_server
def test_a_restore_is_undone_by_the_schema_that_it_has_set_aside(orchard: Place) -> None:
    url = orchard.url_of("fruits")
    first = orchard.snapshot()
    orchard.database.sql("INSERT INTO items (name) VALUES ('damson')", url=url)
    before = orchard.database.dump("fruits")
    assert orchard.tenants("restore", "fruits", first).code == 0
    assert len(rows(orchard)) == 4
    orchard.database.sql("INSERT INTO items (name) VALUES ('elder'), ('fig')", url=url)
    with psycopg.connect(url, autocommit=True) as app:
        query = "SELECT count(*) FROM items"
        assert app.execute(query, prepare=True).fetchone() == (6,)
        done = undone(orchard)
        assert app.execute(query, prepare=True).fetchone() == (5,), "the app runs on"
    assert "takes its place again" in done.err and "fruits.items has 6 rows now, and 4 in the snapshot" in done.err
    assert orchard.database.dump("fruits") == before
    assert orchard.tenants("audit").code == 0 and orchard.tenants("deploy").code == 0


def test_a_restore_whose_former_schema_is_gone_is_undone_by_the_snapshot_of_it(orchard: Place) -> None:
    url = orchard.url_of("fruits")
    first = orchard.snapshot()
    orchard.database.sql("INSERT INTO items (name) VALUES ('damson')", url=url)
    aside = orchard.tenants("restore", "fruits", first, "--json").json["aside"]
    orchard.database.sql(f'DROP SCHEMA "{aside}" CASCADE')
    done = undone(orchard)
    assert "is put back" in done.err and len(rows(orchard)) == 5, done.said


def test_an_undo_is_not_undone_without_being_asked_for(orchard: Place) -> None:
    """Who types it twice at midnight does not end up where it began."""
    undone(orchard)
    again = orchard.tenants("undo", "fruits", "--yes")
    assert again.code == 2 and "was an undo" in again.err and "tenants restore fruits 2" in again.err, again.said
    assert orchard.tenants("list", "--json").json["tenants"][0]["revision"] == "0001"


def test_what_cannot_be_undone_is_said(place: Place) -> None:
    assert place.tenants("create", "fruits").code == 0
    nothing = place.tenants("undo", "fruits", "--yes")
    assert nothing.code == 2 and "nothing has been done to fruits" in nothing.err, nothing.said
    place.fruits()
    place.deployed()
    first = place.tenants("undo", "fruits", "--yes")
    assert first.code == 2 and "no snapshot from before the last deploy" in first.err, first.said
    unknown = place.tenants("undo", "pears", "--yes")
    assert unknown.code == 2 and "there is no tenant 'pears'" in unknown.err, unknown.said
    own = place.tenants("undo", "fruits", "--yes", DATABASE_URL=place.url_of("fruits"))
    assert own.code == 2 and "the admin's URL" in own.err, own.said


def test_nobody_is_there_to_be_asked(orchard: Place) -> None:
    done = orchard.tenants("undo", "fruits")
    assert done.code == 2 and "nothing was undone" in done.err and "tenants undo fruits --yes" in done.err, done.said
    assert orchard.tenants("list", "--json").json["tenants"][0]["revision"] == "0002"


def test_a_downgrade_that_fails_on_the_copy_never_runs_on_the_live_schema(orchard: Place) -> None:
    file = orchard.migrations / "fruits" / "0002_colour.py"
    file.write_text(file.read_text().replace('"colour")\n', '"colour")\n    op.execute("SELECT 1/0")\n', 2))
    before = orchard.database.dump("fruits")
    done = orchard.tenants("undo", "fruits", "--dry-run", "--json")
    assert done.code == 0 and done.json["by"] == "snapshot" and "division by zero" in done.json["why"], done.said
    assert orchard.database.dump("fruits") == before
    orchard.nothing_left()


@pytest.mark.parametrize("lie", ["pears~before~20261124T010203", "tenants", "public"])
def test_a_tenant_that_lies_in_the_catalog_cannot_have_a_schema_of_others(orchard: Place, lie: str) -> None:
    """A record that an older program let a tenant insert: it says that a restore has set something aside."""
    none = "20261124T010203Z-aaaaaa"
    orchard.tenants("create", "pears")
    orchard.database.sql(f'CREATE SCHEMA IF NOT EXISTS "{lie}"')
    orchard.database.sql(
        "INSERT INTO tenants.deploys (tenant, project, kind, from_heads, to_heads, applied, outcome, stages, snapshot,"
        " before, aside) VALUES ('fruits', 'fruits', 'restore', '{}', '{0002}', '{}', 'restored', '{}', %s, %s, %s)",
        [none, none, lie],
    )
    schemas = orchard.database.schemas()
    done = orchard.tenants("undo", "fruits", "--yes")
    assert done.code == 5 and f"there is no snapshot {none}" in done.err, done.said
    assert orchard.database.schemas() == schemas


def test_a_deploy_that_never_went_live_is_told_with_its_undo(orchard: Place) -> None:
    revision = {"GIT_REV": "a" * 40}
    orchard.revision("fruits", "0003", 'op.execute("SELECT 1")', "0002")
    assert orchard.tenants("deploy", **revision).code == 0
    assert "never marked" not in orchard.tenants("deploy", **revision).err, "it may still be starting"
    orchard.database.sql("UPDATE tenants.deploys SET recorded_at = recorded_at - interval '3 hours'")
    told = orchard.tenants("deploy", GIT_REV="b" * 40)
    assert told.code == 0 and "never marked as live" in told.err and "tenants undo fruits" in told.err, told.said
    status = orchard.tenants("status", "--json")
    (one,) = status.json["tenants"]
    assert any("never marked as live" in worry for worry in one["worries"]), json.dumps(one)
    assert orchard.tenants("live", GIT_REV="b" * 40).code == 0, "what serves now serves with what that one left"
    assert "never marked" not in orchard.tenants("deploy").err
    assert not any(
        "never marked" in worry for worry in orchard.tenants("status", "--json").json["tenants"][0]["worries"]
    )


def test_what_a_tenant_writes_about_itself_moves_no_cursor(orchard: Place) -> None:
    snapshot = orchard.snapshot()
    orchard.database.sql(
        "INSERT INTO tenants.deploys (tenant, project, kind, from_heads, to_heads, applied, outcome, stages, before)"
        " VALUES ('fruits', 'fruits', 'restore', ARRAY[E'\\x1b[2Jnone'], '{0002}', '{}', 'restored', '{}', %s)",
        [snapshot],
    )
    done = orchard.tenants("undo", "fruits", "--dry-run")
    assert done.code == 0 and "\x1b" not in done.said and "[2Jnone" in done.said, done.said


def test_what_is_not_on_record_is_not_undone_with_what_is(orchard: Place) -> None:
    """Somebody ran a revision by hand: the snapshot from before the last deploy is further back than it seems."""
    orchard.database.sql("UPDATE alembic_version SET version_num = '0003'", url=orchard.url_of("fruits"))
    done = orchard.tenants("undo", "fruits", "--yes")
    assert done.code == 2 and "is at 0003" in done.err and "not on record" in done.err, done.said
    assert orchard.tenants("undo", "fruits", "--dry-run", "--by", "snapshot").code == 0


def test_a_record_that_none_of_us_has_written_leads_nowhere(orchard: Place) -> None:
    """What is printed as the next step is typed by the admin."""
    words = (
        "INSERT INTO tenants.deploys (tenant, project, kind, from_heads, to_heads, applied, outcome, stages, before)"
        " VALUES ('fruits', 'fruits', %s, '{}', '{0002}', '{}', %s, '{}', 'x; reboot #')"
    )
    orchard.database.sql(words, ["drop", "migrated"])
    assert orchard.tenants("undo", "fruits", "--dry-run", "--json").json["by"] == "downgrade"
    orchard.database.sql(words, ["undo", "undone"])
    done = orchard.tenants("undo", "fruits", "--yes")
    assert done.code == 2 and "was an undo" in done.err and "reboot" not in done.said, done.said


def test_a_restore_is_undone_though_the_snapshot_that_it_took_is_gone(orchard: Place) -> None:
    first = orchard.snapshot()
    orchard.database.sql("INSERT INTO items (name) VALUES ('damson')", url=orchard.url_of("fruits"))
    assert orchard.tenants("restore", "fruits", first).code == 0
    for file in orchard.store.rglob("*"):
        if file.is_file():
            file.unlink()
    done = undone(orchard)
    assert "it cannot be told how much" in done.err and len(rows(orchard)) == 5


def test_what_is_written_while_the_question_stands_is_not_lost(orchard: Place) -> None:
    """The downgrade would have lost nothing when it was asked; now the app has filled the column."""
    master, slave = os.openpty()
    command = [TENANTS, "undo", "fruits"]
    with subprocess.Popen(
        command, env=orchard.environment, cwd=orchard.folder, stdin=slave, stderr=subprocess.PIPE
    ) as undoing:
        os.close(slave)
        assert undoing.stderr
        seen = b""
        while b"Go back?" not in seen:
            seen += os.read(undoing.stderr.fileno(), 4096)
        assert b"taken back by downgrade" in seen
        orchard.database.sql("UPDATE items SET colour = 'red'", url=orchard.url_of("fruits"))
        os.write(master, b"y\n")
        said = undoing.stderr.read().decode()
    os.close(master)
    assert undoing.returncode == 2 and "was written to meanwhile" in said, said
    assert orchard.database.sql("SELECT count(*) FROM fruits.items WHERE colour = 'red'") == [(4,)]
    orchard.nothing_left()


def test_a_restore_says_that_it_changes_the_revision_and_asks_whoever_is_there(orchard: Place) -> None:
    """The newest snapshot is that from before the deploy whose release serves."""
    told = "takes the schema from 0002 back to 0001: the release that serves may need 0002"

    def at_revision() -> str:
        return str(orchard.tenants("list", "--json").json["tenants"][0]["revision"])

    asked = on_terminal(orchard.folder, orchard.environment, "restore", "fruits", columns=200, typed="n\n")
    assert asked.code == 130 and told in asked.raw and "Put it back?" in asked.raw, asked.raw
    assert at_revision() == "0002"
    answered = on_terminal(orchard.folder, orchard.environment, "restore", "fruits", "--yes", columns=200)
    assert answered.code == 0 and told in answered.raw and "Put it back?" not in answered.raw, answered.raw
    assert at_revision() == "0001"
    orchard.deployed()
    script = orchard.tenants("restore", "fruits")
    assert script.code == 0 and told in script.err, "who is no terminal is not asked"
    orchard.deployed()
    same = orchard.snapshot()
    unasked = on_terminal(orchard.folder, orchard.environment, "restore", "fruits", same, columns=200)
    assert unasked.code == 0 and "takes the schema" not in unasked.raw, unasked.raw
    orchard.nothing_left()


def test_an_app_with_a_store_of_its_own_is_undone_with_that_store_and_a_dry_run_says_so(place: Place) -> None:
    place.fruits()
    place.deployed()
    place.colour()
    apps = f"file://{place.folder}/apps"
    url, folder = place.url_of("fruits"), str(place.migrations / "fruits")
    done = place.tenants("deploy", DATABASE_URL=url, TENANTS_STORE=apps, TENANTS_MIGRATIONS=folder)
    assert done.code == 0 and "Undo, with the admin's URL and this store: tenants undo fruits" in done.out, done.said
    dry = place.tenants("undo", "fruits", "--dry-run")
    assert dry.code == 5 and f"{place.store}" in dry.err and "stored elsewhere" in dry.err, dry.said
    assert "TENANTS_STORE" in dry.err.split("Next:")[1], dry.said
    for more in ("--dry-run", "--yes"):
        done = place.tenants("undo", "fruits", more, TENANTS_STORE=apps)
        assert done.code == 0, done.said
    assert place.database.sql("SELECT version_num FROM fruits.alembic_version") == [("0001",)]
