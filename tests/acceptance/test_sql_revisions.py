"""Revisions in SQL: deployed like those in Python, beside them, and by the same rules."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import sql_corpus
from support import Done, Place
from throwaway_postgres import wheel_binaries

ITEMS = """\
-- migrate:up
CREATE TABLE items (name text PRIMARY KEY);
INSERT INTO items VALUES ('apple'), ('100% banana :ripe');

-- migrate:down
DROP TABLE items;
"""


def write(place: Place, name: str, text: str | bytes) -> Path:
    folder = place.migrations / "fruits"
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


@pytest.fixture
def orchard(place: Place) -> Place:
    """A tenant with two rows, at 0001."""
    write(place, "0001_items.sql", ITEMS)
    place.deployed()
    return place


def rows(place: Place, query: str = "SELECT name FROM fruits.items ORDER BY 1") -> list[object]:
    return [row[0] for row in place.database.sql(query)]


def at(place: Place) -> list[object]:
    return rows(place, "SELECT version_num FROM fruits.alembic_version")


def failed(place: Place, text: str, name: str = "0002_more.sql") -> Done:
    """Deploy it: it must fail, and nothing must be changed by it."""
    write(place, name, text)
    before = place.database.dump("fruits")
    done = place.tenants("deploy")
    assert done.code == 6, done.said
    assert place.database.dump("fruits") == before
    return done


@pytest.mark.every_server
def test_a_folder_of_dbmate_is_deployed_as_it_is(place: Place) -> None:
    write(place, "20260101120000_items.sql", ITEMS)
    write(
        place, "20260102120000_add_colour.sql", "-- migrate:up\nALTER TABLE items ADD colour text;\n\n-- migrate:down\n"
    )
    plan = place.tenants("plan", "--json").json["plans"][0]
    assert [(one["revision"], one["message"]) for one in plan["pending"]] == [
        ("20260101120000", "items"),
        ("20260102120000", "add colour"),
    ]
    place.deployed()
    assert rows(place) == ["100% banana :ripe", "apple"] and at(place) == ["20260102120000"]
    assert place.tenants("plan", "--check").code == 0


def test_files_of_both_kinds_are_one_history(place: Place) -> None:
    place.fruits()
    write(place, "0002_colour.sql", "-- migrate:up\nALTER TABLE items ADD colour text")
    place.revision("fruits", "0003", "op.execute(\"UPDATE items SET colour = 'red'\")", "0002")
    write(place, "0004_needed.sql", "-- migrate:up\nALTER TABLE items ALTER colour SET NOT NULL;")
    place.deployed()
    assert at(place) == ["0004"] and rows(place, "SELECT DISTINCT colour FROM fruits.items") == ["red"]


def test_an_error_is_told_with_the_place_that_postgresql_names(orchard: Place) -> None:
    done = failed(orchard, "-- migrate:up\nCREATE TABLE more (a int);\n\n  SELECT 'ä',\n    colour FROM items;\n")
    assert '0002_more.sql:5:5: column "colour" does not exist' in done.err
    assert "mend 0002_more.sql:5:5" in done.err and "in: SELECT 'ä', colour" in done.err
    assert at(orchard) == ["0001"]


def test_without_such_a_place_it_is_that_of_the_statement(orchard: Place) -> None:
    text = "-- migrate:up\nSELECT 1;\n  /* twice */ INSERT INTO items VALUES ('apple');\n"
    assert "0002_more.sql:3:15: duplicate key value" in failed(orchard, text).err


def test_a_rehearsal_finds_it_in_the_same_place(orchard: Place) -> None:
    write(orchard, "0002_more.sql", "-- migrate:up\nSELECT 1;\nINSERT INTO items VALUES ('apple');\n")
    done = orchard.tenants("deploy", TENANTS_REHEARSAL=None)
    assert done.code == 6 and "on a copy" in done.err and "0002_more.sql:3:1: duplicate key" in done.err, done.said


@pytest.mark.parametrize("word", ["COMMIT", "ROLLBACK", "COMMIT; BEGIN"])
def test_no_statement_ends_the_transaction(orchard: Place, word: str) -> None:
    done = failed(orchard, f"-- migrate:up\nCREATE TABLE more (a int);\n{word};\n")
    assert "must not end its transaction" in done.err and "0002_more.sql:3:1" in done.err, done.said


def test_what_must_not_run_in_a_transaction_does_not(orchard: Place) -> None:
    text = "-- migrate:up transaction:false\nCREATE INDEX CONCURRENTLY first ON items (name);\nSELECT no;\n"
    write(orchard, "0002_index.sql", text)
    done = orchard.tenants("deploy")
    assert done.code == 6 and "0002_index.sql:3:8" in done.err, done.said
    assert "CREATE INDEX CONCURRENTLY first" in done.err, "it is told that this stays"
    write(orchard, "0002_index.sql", text.replace("first", "second").replace("SELECT no;", ""))
    orchard.deployed()
    query = "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'fruits.items'::regclass AND indisvalid"
    assert set(rows(orchard, query)) == {"fruits.items_pkey", "fruits.first", "fruits.second"}


def test_undo_goes_by_the_down_section(orchard: Place) -> None:
    text = "-- migrate:up\nALTER TABLE items ADD colour text;\n-- migrate:down\nALTER TABLE items DROP colour;\n"
    write(orchard, "0002_colour.sql", text)
    orchard.deployed()
    done = orchard.tenants("undo", "fruits", "--yes")
    assert done.code == 0 and "0002 taken back by downgrade" in done.err, done.said
    assert at(orchard) == ["0001"]
    orchard.deployed()


def test_a_file_without_a_way_back_is_undone_by_its_snapshot(orchard: Place) -> None:
    write(orchard, "0002_colour.sql", "-- migrate:up\nALTER TABLE items ADD colour text;\n-- migrate:down\n-- none\n")
    orchard.deployed()
    done = orchard.tenants("undo", "fruits", "--yes")
    assert done.code == 0 and "taken back by downgrade" not in done.err, done.said
    assert at(orchard) == ["0001"]


def test_the_sql_of_a_plan_is_what_stands_in_the_file(orchard: Place) -> None:
    body = "-- why: 100% of :them\nSELECT ':a %s', $$x;\ty$$;\nCOPY items FROM STDIN;\ncherry\n\\.\n"
    write(orchard, "0002_more.sql", f"-- migrate:up\n{body}-- migrate:down\nSELECT 1;\n")
    done = orchard.tenants("plan", "--sql")
    assert done.code == 0, done.said
    for part in body.split("\nCOPY")[0], "COPY items FROM STDIN;\ncherry\n\\.\n":
        assert part in done.out
    assert "-- Running upgrade 0001 -> 0002\n" in done.out and "SELECT 1" not in done.out
    write(orchard, "0002_more.sql", "-- migrate:up\r\nSELECT\r\n1;\r\n")
    assert "\nSELECT\n1;\n" in orchard.tenants("plan", "--sql").out


def test_what_the_old_release_may_not_live_with_is_told_of_sql_too(orchard: Place) -> None:
    text = (
        "-- migrate:up\nCOPY items FROM STDIN;\nit's; a\\ttab\n\\.\n-- why\nALTER TABLE items RENAME name TO title;\n"
    )
    write(orchard, "0002_more.sql", text)
    done = orchard.tenants("plan", TENANTS_INCOMPATIBLE="warn")
    assert "0002_more.sql: column items.name becomes title" in done.said, done.said
    ignored = text.replace("-- why", "-- squawk-ignore renaming-column")
    write(orchard, "0002_more.sql", ignored)
    assert "becomes title" not in orchard.tenants("plan", TENANTS_INCOMPATIBLE="warn").said


@pytest.mark.parametrize("command", ["\\i other.sql", "\\connect - postgres", "SELECT 1 \\gset"])
def test_commands_of_psql_are_refused_by_name_before_anything_runs(orchard: Place, command: str) -> None:
    stored = orchard.stored()
    done = failed(orchard, f"-- migrate:up\nSELECT 1;\n{command}\n")
    name = command[command.index("\\") :].split()[0]
    assert f"0002_more.sql:3:{command.index(name) + 1}: {name} is a command of psql" in done.err
    assert orchard.stored() == stored, "not even a snapshot was taken"


def test_rows_of_a_copy_come_in_and_a_wrong_one_is_told_by_its_line(orchard: Place) -> None:
    text = "-- migrate:up\nCREATE TABLE prices (name text, price int);\nCOPY prices FROM STDIN;\na\t1\nb\tmuch\n\\.\n"
    assert "0002_more.sql:5:1: invalid input syntax" in failed(orchard, text).err
    write(orchard, "0002_more.sql", text.replace("much", "2") + "INSERT INTO prices VALUES ('c', 3);")
    orchard.deployed()
    assert rows(orchard, "SELECT price FROM fruits.prices ORDER BY 1") == [1, 2, 3]


def test_a_byte_order_mark_ends_of_lines_and_of_the_file_are_nothing_to_think_of(place: Place) -> None:
    text = ITEMS.replace("\n", "\r\n").removesuffix("\r\n")
    write(place, "0001_items.sql", b"\xef\xbb\xbf" + text.encode())
    place.deployed()
    assert rows(place) == ["100% banana :ripe", "apple"]
    write(place, "0002_more.sql", "-- migrate:up\r\nCOPY items FROM STDIN;\r\ncherry\r\n\\.")
    place.deployed()
    assert "cherry" in rows(place)


def test_a_file_that_slips_in_before_one_that_has_run_is_named_and_not_passed_over(orchard: Place) -> None:
    """It happens when branches are merged: by its name it would count as applied."""
    write(orchard, "0003_more.sql", "-- migrate:up\nCREATE TABLE more (a int);\n")
    orchard.deployed()
    file = write(orchard, "0002_late.sql", "-- migrate:up\nCREATE TABLE late (a int);\n")
    done = orchard.tenants("deploy")
    assert done.code == 6 and "0002_late.sql comes before 0003_more.sql, which has run already" in done.err, done.said
    own = orchard.tenants("deploy", DATABASE_URL=orchard.url_of("fruits"))
    assert own.code == 6 and "0002_late.sql comes before" in own.err, own.said
    file.rename(file.with_name("0004_late.sql"))
    orchard.deployed()
    assert rows(orchard, "SELECT a FROM fruits.late") == [] and at(orchard) == ["0004"]


def test_old_files_may_give_way_to_one_that_takes_their_place(orchard: Place) -> None:
    write(orchard, "0002_more.sql", "-- migrate:up\nCREATE TABLE more (a int);\n")
    orchard.deployed()
    (orchard.migrations / "fruits" / "0001_items.sql").rename(orchard.migrations / "fruits" / "0000_all.sql")
    orchard.deployed()
    assert at(orchard) == ["0002"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"SELECT 1;\n", "fruits/0002_more.sql: has no line `-- migrate:up`"),
        (b"SELECT 1;\n-- migrate:up\n", "fruits/0002_more.sql:1: stands above the first section"),
        (b"-- migrate:up\nSELECT '\xff';\n", "fruits/0002_more.sql: cannot be read"),
    ],
)
def test_a_file_that_is_no_revision_stops_the_push_by_name(orchard: Place, text: bytes, fault: str) -> None:
    write(orchard, "0002_more.sql", text)
    done = orchard.tenants("deploy")
    assert done.code == 6 and fault in done.err, done.said
    assert "\nData:     untouched\nRelease:  the old one goes on serving\nNext:     " in done.err, done.said


def test_a_link_that_leads_out_is_not_followed(orchard: Place) -> None:
    outside = orchard.folder / "elsewhere.sql"
    outside.write_text("-- migrate:up\nSELECT 1;\n")
    (orchard.migrations / "fruits" / "0002_more.sql").symlink_to(outside)
    done = orchard.tenants("deploy")
    assert done.code == 2 and "leads out of" in done.err, done.said


def dumped(url: str) -> str:
    """Schema and rows, less who owns what, and what is Alembic's."""
    command = [str(wheel_binaries() / "pg_dump"), "--no-owner", "--no-acl", "--restrict-key=same", "--schema=fruits"]
    command += ["--exclude-table=fruits.alembic_version", f"--dbname={url}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.every_server
def test_psql_makes_the_same_of_each_text_of_the_corpus(place: Place) -> None:
    files = sql_corpus.files()
    assert len(files) > 60
    for name, content in files.items():
        write(place, name, content)
    place.deployed()
    server = place.database.server
    place.database.sql("CREATE DATABASE other")
    place.database.sql("CREATE SCHEMA fruits", url=server.url("other"))
    for name in files:
        command = [str(wheel_binaries() / "psql"), "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-f", name]
        environment = {"PGOPTIONS": "-c search_path=fruits", "PGCLIENTENCODING": "UTF8", "LC_ALL": "C.UTF-8"}
        psql = subprocess.run(
            [*command, server.url("other")],
            cwd=place.migrations / "fruits",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert psql.returncode == 0, (name, psql.stderr)
    ours, theirs = dumped(place.database.url), dumped(server.url("other"))
    assert "CREATE TABLE fruits.z" in ours
    assert ours.splitlines() == theirs.splitlines()
