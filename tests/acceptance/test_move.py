"""A tenant goes to another server, and nothing is lost on the way, nor where it came from."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from support import Database, Place, fresh_database
from throwaway_postgres import throwaway_postgres


@pytest.fixture(scope="module")
def newer() -> Iterator[Database]:
    """The other server."""
    with tempfile.TemporaryDirectory(prefix="tests-") as folder, throwaway_postgres(Path(folder)) as server:
        with fresh_database(server) as database:
            yield database


@pytest.fixture
def orchard(place: Place, newer: Database) -> Iterator[Place]:
    place.fruits()
    place.deployed()
    place.environment["TENANTS_MOVE_TO"] = newer.url
    yield place
    with psycopg.connect(newer.server.url(), autocommit=True) as connection:
        connection.execute('DROP DATABASE "db.main" WITH (FORCE)')
        for (name,) in connection.execute("SELECT quote_ident(rolname) FROM pg_roles WHERE oid >= 16384").fetchall():
            connection.execute(f"DROP ROLE {name}".encode())
        connection.execute('CREATE DATABASE "db.main"')


@pytest.mark.every_server
def test_it_is_there_with_all_its_rows_and_here_it_stays_shut_out(orchard: Place, newer: Database) -> None:
    assert orchard.tenants("create", "fruits", "--app-role", "--connections", "7").code == 0
    assert orchard.tenants("extension", "fruits", "citext").code == 0
    owner = orchard.tenants("login", "fruits", "--owner", "--json").json["url"]
    orchard.database.sql("ALTER TABLE items ADD n citext DEFAULT 'Ab'; CREATE SEQUENCE s START 42", url=owner)
    with psycopg.connect(orchard.url_of("fruits"), autocommit=True) as app:
        done = orchard.tenants("move", "fruits", "--yes", "--json")
        assert done.code == 0, done.said
        with pytest.raises(psycopg.OperationalError):
            app.execute("SELECT 1")
    assert (done.json["tables"], done.json["rows"]) == (2, 5)
    there = done.json["url"]
    assert newer.sql("SELECT name FROM items WHERE n = 'aB' ORDER BY 1", url=there)[0] == ("another-apple",)
    assert newer.sql("SELECT current_user::text", url=there) == [("fruits~app",)]
    moved = orchard.tenants("show", "fruits", "--json", DATABASE_URL=newer.url).json
    assert moved["revision"] == "0001"
    assert orchard.tenants("audit", DATABASE_URL=newer.url).code == 0
    assert orchard.database.sql("SELECT count(*) FROM fruits.items") == [(4,)], "the way back"
    assert orchard.tenants("resume", "fruits").code == 0
    assert orchard.database.sql("SELECT count(*) FROM items", url=owner) == [(4,)]
    orchard.nothing_left()


def test_a_tenant_of_many_megabytes_gets_there_whole(orchard: Place, newer: Database) -> None:
    """pg_dump runs for longer than it takes to read the list at the beginning of what it writes."""
    orchard.large()
    done = orchard.tenants("move", "fruits", "--yes")
    assert done.code == 0, done.said
    assert newer.sql("SELECT count(*), max(id) FROM fruits.large") == [(300_000, 300_000)]
    orchard.nothing_left()


def test_what_stands_in_the_way_there_is_said_and_nobody_is_shut_out(orchard: Place, newer: Database) -> None:
    url = orchard.url_of("fruits")
    newer.sql("CREATE SCHEMA fruits; CREATE TABLE fruits.items ()")
    with psycopg.connect(url, autocommit=True) as app:
        taken = orchard.tenants("move", "fruits", "--yes")
        assert taken.code == 2 and "holds something" in taken.err, taken.said
        same = orchard.tenants("move", "fruits", "--yes", "--to", orchard.database.url)
        assert same.code == 2 and "very database" in same.err, same.said
        assert orchard.tenants("move", "fruits").code == 2, "nobody is there to be asked"
        assert orchard.tenants("move", "fruits", "--yes", "--to", "nonsense").code == 2
        assert app.execute("SELECT count(*) FROM items").fetchone() == (4,)


def test_one_that_does_not_get_there_is_served_here_as_before(orchard: Place) -> None:
    """What a materialised view was made from is gone since: it cannot be made anew there."""
    url = orchard.url_of("fruits")
    orchard.database.sql(
        "CREATE FUNCTION g() RETURNS int LANGUAGE plpgsql AS"
        " $$BEGIN IF EXISTS (SELECT FROM pg_tables WHERE tablename = 'home') THEN RETURN 1; END IF; RAISE 'no'; END$$;"
        "CREATE TEMP TABLE home (); CREATE MATERIALIZED VIEW n AS SELECT g()",
        url=url,
    )
    before = orchard.database.dump("fruits")
    done = orchard.tenants("move", "fruits", "--yes")
    assert done.code != 0 and "served here as before" in done.err, done.said
    assert orchard.database.dump("fruits") == before
    assert orchard.database.sql("SELECT count(*) FROM items", url=url) == [(4,)]
    again = orchard.tenants("move", "fruits", "--yes")
    assert again.code == done.code, "what the first try has left is not in the way"
    orchard.nothing_left()


def test_a_tenant_that_others_may_read_comes_along_without_what_it_has_granted_them(orchard: Place) -> None:
    assert orchard.tenants("reader", "dash", "--of", "fruits").code == 0
    done = orchard.tenants("move", "fruits", "--yes")
    assert done.code == 0 and "fruits~reader~dash" in done.err, done.said
