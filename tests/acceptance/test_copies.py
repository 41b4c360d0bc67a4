"""What a snapshot or a file holds, elsewhere than it was: another tenant, another schema, one table alone."""

from __future__ import annotations

import re
import subprocess
import tarfile
from pathlib import Path

import pytest
from support import Place
from throwaway_postgres import wheel_binaries


@pytest.fixture
def orchard(place: Place) -> Place:
    place.fruits()
    place.deployed()
    return place


def dump(place: Place, schema: str, file: str = "db.dump") -> Path:
    """What `dokku postgres:export` writes: the whole database, or as here a schema of it."""
    target = place.folder / file
    command = [str(wheel_binaries() / "pg_dump"), "-Fc", "--no-acl", "--no-owner", "-n", schema, "-f", str(target)]
    subprocess.run([*command, f"--dbname={place.database.url}"], check=True)
    return target


@pytest.mark.every_server
def test_a_copy_under_another_name_has_all_of_it_and_leaves_the_original_alone(orchard: Place) -> None:
    sql, url = orchard.database.sql, orchard.url_of("fruits")
    assert orchard.tenants("extension", "fruits", "citext").code == 0
    sql(
        "CREATE TYPE mood AS ENUM ('ripe'); ALTER TABLE items ADD m mood DEFAULT 'ripe', ADD n citext DEFAULT 'Ab';"
        "CREATE VIEW names AS SELECT name FROM items;"
        "CREATE FUNCTION count() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM fruits.items';"
        "CREATE FUNCTION other() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM items; END",
        url=url,
    )
    id_ = orchard.snapshot()
    before = orchard.database.dump("fruits")
    done = orchard.tenants("restore", "fruits", "--into", "fruits-staging", "--json")
    assert done.code == 0, done.said
    assert (done.json["tenant"], done.json["undo"], done.json["revision"]) == ("fruits-staging", None, "0001")
    assert "count() has fruits in its text" in done.err and "other()" not in done.err
    copied = re.sub('"?fruits-staging"?', "fruits", orchard.database.dump("fruits-staging"))
    assert copied == before == orchard.database.dump("fruits")
    staging = orchard.url_of("fruits-staging")
    assert sql("DELETE FROM items WHERE n = 'aB' RETURNING 1", url=staging) == [(1,)] * 4
    assert sql("SELECT count(*) FROM fruits.items") == [(4,)]
    assert orchard.tenants("audit").code == 0, orchard.tenants("audit").said
    again = orchard.tenants("restore", "fruits", id_, "--into", "fruits-staging")
    assert again.code == 2 and "holds something" in again.err
    orchard.nothing_left()


@pytest.mark.every_server
def test_a_table_that_is_gone_comes_back_and_one_that_is_there_gets_its_rows_beside_it(orchard: Place) -> None:
    sql, url = orchard.database.sql, orchard.url_of("fruits")
    sql(
        "CREATE TABLE sold (id serial PRIMARY KEY, name text REFERENCES items, CHECK (id > 0));"
        "CREATE INDEX ON sold (name);"
        "INSERT INTO sold (name) VALUES ('apple'), ('banana')",
        url=url,
    )
    orchard.snapshot()
    definition = sql(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'fruits.sold'::regclass"
    )
    sql("DROP TABLE sold; DELETE FROM items WHERE name <> 'carrot'; UPDATE items SET name = 'leek'", url=url)
    done = orchard.tenants("restore", "fruits", "--table", "items", "--json")
    assert done.code == 0, done.said
    beside = done.json["tables"]["items"]
    assert beside.startswith("items~") and beside in done.err
    assert sql("SELECT name FROM fruits.items") == [("leek",)]
    sql(f'INSERT INTO items SELECT * FROM "{beside}"', url=url)
    assert sql("SELECT count(*) FROM fruits.items") == [(5,)]

    done = orchard.tenants("restore", "fruits", "--table", "sold", "--json")
    assert done.code == 0 and done.json["tables"] == {"sold": "sold"}, done.said
    query = "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'fruits.sold'::regclass"
    assert sorted(sql(query)) == sorted(definition)
    assert sql("INSERT INTO sold (name) VALUES ('apple') RETURNING id", url=url) == [(3,)]
    assert orchard.tenants("audit").code == 0
    orchard.nothing_left()


def test_a_table_that_does_not_fit_any_more_changes_nothing(orchard: Place) -> None:
    sql, url = orchard.database.sql, orchard.url_of("fruits")
    sql("CREATE TABLE sold (name text REFERENCES items); INSERT INTO sold VALUES ('apple')", url=url)
    orchard.snapshot()
    sql("DROP TABLE sold; DELETE FROM items", url=url)
    before = orchard.database.dump("fruits")
    done = orchard.tenants("restore", "fruits", "--table", "sold")
    assert done.code == 5 and "--into COPY" in done.err and "foreign key" in done.err, done.said
    unknown = orchard.tenants("restore", "fruits", "--table", "nothing")
    assert unknown.code == 2 and "fruits.items" in unknown.err
    assert orchard.database.dump("fruits") == before
    orchard.nothing_left()


@pytest.mark.every_server
def test_a_backup_of_dokku_postgres_that_holds_public_becomes_a_tenant(orchard: Place) -> None:
    sql = orchard.database.sql
    sql(
        "CREATE EXTENSION citext SCHEMA public; "
        "CREATE TABLE public.old (x public.citext UNIQUE, at date DEFAULT now());"
        "INSERT INTO public.old VALUES ('Ab'), ('c'); CREATE VIEW public.seen AS SELECT x FROM public.old;"
        "CREATE TABLE public.alembic_version (version_num varchar(32) PRIMARY KEY);"
        "INSERT INTO public.alembic_version VALUES ('0001')"
    )
    whole = orchard.folder / "db.dump"
    command = [str(wheel_binaries() / "pg_dump"), "-Fc", "--no-acl", "--no-owner", "-f", str(whole)]
    subprocess.run([*command, f"--dbname={orchard.database.url}"], check=True)
    sql("DROP TABLE public.old CASCADE; DROP TABLE public.alembic_version; DROP EXTENSION citext")
    packed = orchard.folder / "backup.tgz"
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(whole, "backup/export")
    assert orchard.tenants("create", "old").code == 0

    unclear = orchard.tenants("restore", "old", "--file", "db.dump")
    assert unclear.code == 2 and "fruits" in unclear.err and "public" in unclear.err and "--from" in unclear.err
    for file in ("db.dump", "backup.tgz"):
        done = orchard.tenants("restore", "old", "--file", file, "--from", "public", "--json")
        assert done.code == 0, done.said
        assert done.json["revision"] == "0001"
        url = orchard.url_of("old")
        assert sql("SELECT count(*) FROM old JOIN seen USING (x) WHERE x = 'aB'", url=url) == [(1,)]
    assert done.json["undo"] and done.json["aside"]
    assert orchard.tenants("audit").code == 0, orchard.tenants("audit").said
    orchard.nothing_left()


def test_what_fetch_wrote_goes_back_in(orchard: Place) -> None:
    orchard.snapshot()
    before = orchard.database.dump("fruits")
    assert orchard.tenants("fetch", "fruits", "--output", "fruits.dump").code == 0
    orchard.database.sql("TRUNCATE fruits.items")
    done = orchard.tenants("restore", "fruits", "--file", "fruits.dump")
    assert done.code == 0, done.said
    assert orchard.database.dump("fruits") == before
    (stored,) = [file for file in orchard.store.rglob("*.zst") if file.stat().st_size][:1]
    assert orchard.tenants("restore", "fruits", "--file", str(stored)).code == 0


def test_a_tenant_of_many_megabytes_goes_into_another_one(orchard: Place) -> None:
    """pg_dump runs for longer than it takes to read the list at the beginning of what it writes."""
    orchard.large()
    orchard.snapshot()
    done = orchard.tenants("restore", "fruits", "--into", "staging")
    assert done.code == 0, done.said
    assert orchard.database.sql("SELECT count(*), max(id) FROM staging.large") == [(300_000, 300_000)]
    orchard.nothing_left()


def test_a_file_of_many_megabytes_goes_back_in(orchard: Place) -> None:
    orchard.large()
    dump(orchard, "fruits")
    orchard.database.sql("TRUNCATE fruits.large")
    done = orchard.tenants("restore", "fruits", "--file", "db.dump")
    assert done.code == 0, done.said
    assert orchard.database.sql("SELECT count(*), max(id) FROM fruits.large") == [(300_000, 300_000)]
    orchard.nothing_left()


@pytest.mark.parametrize("what", ["nothing", "text", "half", "tar", "folder", "empty"])
def test_a_file_that_is_no_archive_is_said_before_anything_is_touched(orchard: Place, what: str) -> None:
    file = orchard.folder / what
    if what == "text":
        file.write_text("\\! touch pwned\nSELECT 1;\n")
    elif what == "half":
        whole = dump(orchard, "fruits").read_bytes()
        file.write_bytes(whole[: len(whole) // 2])
    elif what == "tar":
        with tarfile.open(file, "w:gz") as tar:
            tar.add(orchard.migrations, "migrations")
    elif what == "folder":
        file.mkdir()
    elif what == "empty":
        file.touch()
    before, stored = orchard.database.dump("fruits"), orchard.stored()
    done = orchard.tenants("restore", "fruits", "--file", what)
    assert done.code in (2, 5) and "Traceback" not in done.said and "Next:" in done.err, done.said
    assert (orchard.database.dump("fruits"), orchard.stored()) == (before, stored)
    orchard.nothing_left()


def test_a_hostile_file_reaches_nothing_beyond_a_scratch_database(orchard: Place) -> None:
    """Its check sets off a function, which tries to become superuser where the copy is made, and in the schema."""
    sql = orchard.database.sql
    sql(
        "CREATE SCHEMA evil; CREATE FUNCTION evil.f(text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN"
        " BEGIN RESET ROLE; ALTER ROLE fruits SUPERUSER; EXCEPTION WHEN OTHERS THEN NULL; END;"
        " BEGIN SET ROLE NONE; EXECUTE 'ALTER ROLE ' || quote_ident(session_user) || ' SUPERUSER';"
        " EXCEPTION WHEN OTHERS THEN NULL; END; RETURN true; END$$;"
        "CREATE TABLE evil.t (x text); INSERT INTO evil.t VALUES ('x');"
        "ALTER TABLE evil.t ADD CHECK (evil.f(x)) NOT VALID"
    )
    file = dump(orchard, "evil")
    sql("DROP SCHEMA evil CASCADE")
    done = orchard.tenants("restore", "fruits", "--file", file.name)
    assert done.code == 0, done.said
    assert sql("SELECT rolname FROM pg_roles WHERE rolsuper AND rolname LIKE 'fruits%%'") == []
    assert sql("SELECT count(*) FROM fruits.t") == [(1,)]
    orchard.nothing_left()


@pytest.mark.parametrize(
    ("extension", "words"),
    [("pageinspect", "break the separation"), ("pgstattuple", "tenants extension fruits pgstattuple")],
)
def test_a_file_makes_no_extension_that_postgresql_does_not_trust(orchard: Place, extension: str, words: str) -> None:
    """Whoever wrote the file would be lent a superuser's right."""
    orchard.database.sql(
        "CREATE SCHEMA other; CREATE TABLE other.t (x int); CREATE FUNCTION other.f() RETURNS text LANGUAGE sql AS $$"
        f" SELECT '\nCREATE EXTENSION IF NOT EXISTS {extension} WITH SCHEMA other;\n'$$"
    )
    file = dump(orchard, "other")
    done = orchard.tenants("restore", "fruits", "--file", file.name)
    assert done.code == 2 and words in done.err, done.said
    assert orchard.database.sql("SELECT extname::text FROM pg_extension WHERE extname <> 'plpgsql'") == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("--into", "a", "--table", "b"),
        ("--from", "public"),
        ("20261123T064714Z-k3f9ab", "--file", "x"),
        ("--into", "A"),
    ],
)
def test_options_that_do_not_go_together_are_refused(orchard: Place, arguments: tuple[str, ...]) -> None:
    assert orchard.tenants("restore", "fruits", *arguments).code == 2
