"""A push with nothing to do: it is told in a moment, reads nothing of what migrates, and misses nothing."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing

import psycopg
import pytest
from support import Done, Place

HEAVY = {"psycopg", "psycopg_binary", "sqlalchemy", "alembic", "boto3", "botocore", "rich", "zstandard"}


def pushed(place: Place, *arguments: str) -> tuple[Done, set[str]]:
    """A deploy in a process of its own, and the packages that it has imported."""
    command = [sys.executable, "-X", "importtime", "-m", "tenants", "deploy", *arguments]
    environment = {**place.environment, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, env=environment, cwd=place.folder, capture_output=True, text=True, timeout=60, check=False
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    rest = "".join(line + "\n" for line in done.stderr.splitlines() if not line.startswith("import time:"))
    packages = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
    return Done(done.returncode, done.stdout, rest), packages


@pytest.fixture
def settled(place: Place) -> Place:
    """Two tenants, at their heads."""
    for name in ("fruits", "pears"):
        place.fruits(name)
    place.deployed()
    return place


def test_a_push_with_nothing_to_do_reads_nothing_of_what_migrates(settled: Place) -> None:
    before = settled.database.written()
    done, packages = pushed(settled)
    assert done.code == 0, done.said
    lines = ["fruits   plan      up to date at 0001", "pears    plan      up to date at 0001"]
    assert done.err.splitlines() == lines and done.out == ""
    assert "tenants" in packages and packages & HEAVY == set()
    assert settled.database.written() == before
    settled.nothing_left()


def test_with_a_tenants_own_url_it_reads_as_little(settled: Place) -> None:
    settled.environment["DATABASE_URL"] = settled.url_of("fruits")
    done, packages = pushed(settled)
    assert (done.code, done.err) == (0, "fruits   plan      up to date at 0001\n"), done.said
    assert packages & HEAVY == set()


def test_scripts_get_the_same_answer_from_both_ways(settled: Place) -> None:
    quick, packages = pushed(settled, "--json")
    full, others = pushed(settled, "--json", "fruits", "pears")
    assert packages & HEAVY == set() and "psycopg" in others
    assert quick.json == full.json


def test_what_is_pending_or_wrong_is_found_as_ever(settled: Place) -> None:
    settled.colour("pears")
    database = settled.database
    database.sql("ALTER TABLE fruits.alembic_version RENAME TO hidden; CREATE VIEW fruits.alembic_version AS SELECT 1")
    done, packages = pushed(settled, "--no-snapshot")
    assert done.code == 6 and "psycopg" in packages
    assert "fruits.alembic_version is not the table that Alembic makes: it is a view" in done.err
    assert "pears   migrated to 0002" in done.out


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO fruits.alembic_version SELECT 'x' || i FROM generate_series(1, 5000) AS i",
        "UPDATE fruits.alembic_version SET version_num = E'a\\tend\\n'",
        "UPDATE fruits.alembic_version SET version_num = E'pears\\tbegin'",
        "TRUNCATE fruits.alembic_version",
    ],
)
def test_rows_of_a_version_table_that_are_not_alembics_deceive_nobody(settled: Place, statement: str) -> None:
    settled.database.sql("ALTER TABLE fruits.alembic_version ALTER version_num TYPE text; " + statement)
    done, _ = pushed(settled)
    assert done.code == 6 and "pears    plan      up to date at 0001" in done.err, done.said
    assert "fruits   plan      up to date" not in done.err


def test_a_version_table_that_is_locked_is_told_and_the_others_are_answered(settled: Place) -> None:
    with closing(psycopg.connect(settled.database.url)) as other:
        other.execute("LOCK TABLE fruits.alembic_version")
        done, _ = pushed(settled)
    assert done.code == 6 and "fruits.alembic_version is locked by another session" in done.err
    assert "pears    plan      up to date at 0001" in done.err


def test_nothing_of_a_schema_that_only_looks_like_the_catalog_is_run(settled: Place) -> None:
    """Its tables would be views over functions that run as the admin."""
    database = settled.database
    database.sql("""
        DROP SCHEMA tenants CASCADE;
        CREATE ROLE stranger LOGIN PASSWORD 'stranger';
        CREATE SCHEMA tenants AUTHORIZATION stranger;
        SET ROLE stranger;
        CREATE FUNCTION tenants.trap() RETURNS int LANGUAGE plpgsql AS
            'BEGIN RAISE LOG ''trapped as %'', current_user; RETURN 3; END';
        CREATE VIEW tenants.catalog AS SELECT tenants.trap() AS version, 'x' AS server;
        CREATE VIEW tenants.tenants AS SELECT 'fruits' AS name, 'fruits' AS project, tenants.trap()
    """)
    done, _ = pushed(settled)
    assert done.code == 2 and "exists in database" in done.err, done.said
    assert "trapped as postgres" not in database.server.log()


def test_a_release_that_never_served_is_told_here_too(settled: Place) -> None:
    settled.database.sql("""
        UPDATE tenants.deploys SET recorded_at = now() - interval '3 hours', git_rev = '0123abc' WHERE tenant = 'fruits'
    """)
    done, packages = pushed(settled)
    assert packages & HEAVY == set()
    assert (
        "fruits   plan      the release that it was migrated to 0001 for, 3 h ago, was never marked as live" in done.err
    )


def test_a_sql_file_that_slipped_in_is_not_taken_for_one_that_ran(place: Place) -> None:
    folder = place.migrations / "fruits"
    folder.mkdir()
    for id_ in ("0001", "0003"):
        (folder / f"{id_}_step.sql").write_text(f"-- migrate:up\nCREATE TABLE t{id_} ();\n")
    place.deployed()
    done, packages = pushed(place)
    assert done.code == 0 and packages & HEAVY == set(), done.said
    (folder / "0002_step.sql").write_text("-- migrate:up\nCREATE TABLE t0002 ();\n")
    done, _ = pushed(place)
    assert done.code == 6 and "0002_step.sql comes before 0003_step.sql, which has run already" in done.err


def test_what_a_killed_run_has_left_is_tidied(settled: Place) -> None:
    settled.database.sql('CREATE ROLE "fruits~deploy~abc234" LOGIN')
    done, _ = pushed(settled)
    assert done.code == 0
    settled.nothing_left()
