"""Who comes from dbmate, or from plain Alembic, does not start over: what has run is carried over by the adoption."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import Place

FILES = {
    "20260101120000_items.sql": "-- migrate:up\nCREATE TABLE items (name text PRIMARY KEY);\n\n"
    "-- migrate:down\nDROP TABLE items;\n",
    "20260102120000_apples.sql": "-- migrate:up\nINSERT INTO items VALUES ('apple');\n\n"
    "-- migrate:down\nDELETE FROM items;\n",
}
NEXT = "-- migrate:up\nALTER TABLE items ADD colour text;\n\n-- migrate:down\nALTER TABLE items DROP colour;\n"
VERSIONS = [name.partition("_")[0] for name in FILES]


def write(place: Place, files: dict[str, str]) -> Path:
    folder = place.migrations / "fruits"
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def migrated(place: Place, versions: list[str], table: str = "version varchar(128) PRIMARY KEY") -> None:
    """As dbmate leaves it."""
    place.database.sql(f"CREATE TABLE items (name text PRIMARY KEY); CREATE TABLE schema_migrations ({table})")
    for version in versions:
        place.database.sql("INSERT INTO schema_migrations VALUES (%s)", [version])


@pytest.fixture(scope="session")
def dbmate(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tool itself."""
    if not (npm := shutil.which("npm")):
        pytest.skip("no npm: dbmate itself cannot be had")
    folder = tmp_path_factory.mktemp("dbmate")
    command = [npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--silent", "dbmate@2"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip("no registry of npm packages: dbmate itself cannot be had")
    programs = sorted(folder.glob("node_modules/@dbmate/*/bin/dbmate"))
    if not programs:
        pytest.skip("npm's dbmate has no program for this machine")
    return str(programs[0])


def test_what_dbmate_has_run_is_carried_over_and_the_next_push_runs_the_new_file_alone(
    place: Place, dbmate: str
) -> None:
    folder = write(place, FILES)

    def run(command: str, url: str) -> str:
        options = ["--url", f"{url}?sslmode=disable", "--migrations-dir", str(folder), "--no-dump-schema"]
        environment = {"PATH": os.environ["PATH"]}
        done = subprocess.run([dbmate, *options, command], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    run("up", place.database.url)
    dry = place.tenants("adopt", "fruits", "--from", "public", "--dry-run")
    assert dry.code == 0 and f"VALUES ('{VERSIONS[1]}')" in dry.out, dry.said
    assert "dbmate has run 2 versions, up to 20260102120000" in dry.err
    done = place.tenants("adopt", "fruits", "--from", "public", "--json")
    assert done.code == 0, done.said
    assert place.tenants("plan", "--check").code == 0
    (folder / "20260103120000_colour.sql").write_text(NEXT)
    done_push = place.tenants("deploy", "--json")
    assert done_push.json["deploys"][0]["applied"] == ["20260103120000"], done_push.said
    assert place.database.sql("SELECT * FROM fruits.items") == [("apple", None)]
    assert "[X] 20260102120000_apples.sql" in run("status", done.json["url"]), "dbmate by hand still sees what it did"
    place.tenants("adopt", "fruits", "--finish")
    assert place.tenants("audit").code == 0
    place.nothing_left()


def test_what_plain_alembic_has_run_is_carried_over(place: Place) -> None:
    place.fruits()
    (place.folder / "alembic.ini").write_text(
        f"[alembic]\nscript_location = environment\nversion_locations = {place.migrations / 'fruits'}\n"
        "path_separator = newline\n"
    )
    (place.folder / "environment").mkdir()
    url = place.database.url.replace("postgresql://", "postgresql+psycopg://").replace(
        "postgres://", "postgresql+psycopg://"
    )
    (place.folder / "environment" / "env.py").write_text(
        "from alembic import context\nfrom sqlalchemy import create_engine\n"
        f"with create_engine({url!r}).connect() as connection:\n"
        "    context.configure(connection=connection)\n"
        "    with context.begin_transaction():\n        context.run_migrations()\n"
    )
    command = [str(Path(sys.executable).parent / "alembic"), "upgrade", "head"]
    subprocess.run(command, cwd=place.folder, check=True, capture_output=True)
    assert place.database.sql("SELECT version_num FROM public.alembic_version") == [("0001",)]
    place.colour()
    done = place.tenants("adopt", "fruits", "--from", "public")
    assert done.code == 0, done.said
    done = place.tenants("deploy", "--json")
    assert done.json["deploys"][0]["applied"] == ["0002"], done.said


def test_a_version_of_alembics_that_the_folder_does_not_have_stops_the_adoption(place: Place) -> None:
    place.fruits()
    place.database.sql(
        "CREATE TABLE items (name text); CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);"
        "INSERT INTO alembic_version VALUES ('gone')"
    )
    done = place.tenants("adopt", "fruits", "--from", "public")
    assert done.code == 2 and "'gone', which this folder does not have" in done.err, done.said
    assert place.database.schemas() == ["public"]


@pytest.mark.parametrize(
    ("versions", "told"),
    [
        (
            ["20260102120000"],
            "20260101120000_items.sql did not run, says schema_migrations, but 20260102120000_apples.sql",
        ),
        ([*VERSIONS, "20260109120000"], "schema_migrations has 20260109120000, which the folder does not have"),
        (["x'; DROP TABLE items; --\x1b[2J"], "\\x1b[2J, which the folder does not have"),
    ],
    ids=["gap", "unknown", "hostile"],
)
def test_a_list_that_is_no_beginning_of_the_folder_stops_the_adoption(
    place: Place, versions: list[str], told: str
) -> None:
    write(place, FILES)
    migrated(place, versions)
    before = place.database.dump("public")
    for arguments in ([], ["--dry-run"]):
        done = place.tenants("adopt", "fruits", "--from", "public", *arguments)
        assert done.code == 2 and told in done.err and "--at REVISION" in done.err + "--at REVISION", done.said
    assert place.database.dump("public") == before and place.database.schemas() == ["public"]
    done = place.tenants("adopt", "fruits", "--from", "public", "--at", VERSIONS[0])
    assert done.code == 0, done.said
    assert place.database.sql("SELECT version_num FROM fruits.alembic_version") == [(VERSIONS[0],)]


def test_an_empty_list_means_that_nothing_has_run(place: Place) -> None:
    write(place, {"20260101120000_more.sql": "-- migrate:up\nALTER TABLE items ADD colour text;\n"})
    migrated(place, [])
    assert place.tenants("adopt", "fruits", "--from", "public").code == 0
    done = place.tenants("deploy", "--json")
    assert done.json["deploys"][0]["applied"] == ["20260101120000"], done.said


def test_without_the_folder_nobody_knows_and_it_stops(place: Place) -> None:
    migrated(place, VERSIONS)
    done = place.tenants("adopt", "fruits", "--from", "public")
    assert done.code == 2 and "there is no folder of fruits to find them in" in done.err, done.said


def test_some_tables_alone_do_not_take_the_list_along_unasked(place: Place) -> None:
    write(place, FILES)
    migrated(place, VERSIONS)
    done = place.tenants("adopt", "fruits", "--from", "public", "--table", "items")
    assert done.code == 2 and "or --table schema_migrations" in done.err, done.said
    done = place.tenants("adopt", "fruits", "--from", "public", "--table", "items", "--table", "schema_migrations")
    assert done.code == 0 and place.tenants("plan", "--check").code == 0, done.said


TRAPS = {
    "another tool's": "version bigint PRIMARY KEY, dirty boolean",
    "generated": "version text GENERATED ALWAYS AS ('x' || pg_backend_pid()::text) STORED",
    "a type of its own": "version trap",
}


@pytest.mark.parametrize("what", TRAPS)
def test_a_table_that_is_not_dbmates_is_not_read(place: Place, what: str) -> None:
    """Whatever its rows would set off."""
    write(place, FILES)
    place.database.sql("CREATE DOMAIN trap AS text CHECK (VALUE IS NULL OR VALUE <> '')")
    text = TRAPS[what].replace(" || pg_backend_pid()::text", "")
    migrated(place, [], text)
    done = place.tenants("adopt", "fruits", "--from", "public")
    assert done.code == 2 and "nothing says which revision of fruits the tables are at" in done.err, done.said
    done = place.tenants("adopt", "fruits", "--from", "public", "--at", VERSIONS[1])
    assert done.code == 0 and place.tenants("plan", "--check").code == 0, done.said
