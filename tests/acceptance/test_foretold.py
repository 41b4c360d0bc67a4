"""A restore says beforehand what it will mean for those who look at the tables from outside."""

from __future__ import annotations

import psycopg
import pytest
from support import Place


@pytest.fixture
def orchard(place: Place) -> Place:
    place.fruits()
    place.deployed()
    return place


def told(place: Place) -> list[str]:
    """What a restore says before it takes its snapshot."""
    done = place.tenants("restore", "fruits")
    assert done.code == 0, done.said
    before, snapshot, _ = done.err.partition("   snapshot ")
    assert snapshot
    return before.splitlines()[1:-1]


@pytest.mark.every_server
def test_who_follows_the_tables_from_outside_is_named_and_goes_on_with_the_former_ones(orchard: Place) -> None:
    sql = orchard.database.sql
    orchard.snapshot()
    sql(
        "CREATE SCHEMA reports; CREATE VIEW reports.names AS SELECT name FROM fruits.items;"
        "CREATE TABLE reports.orders (item text REFERENCES fruits.items);"
        "CREATE PUBLICATION everywhere FOR TABLE fruits.items"
    )
    said = "\n".join(told(orchard))
    for who in ("view reports.names", "reports.names", "reports.orders", "publication everywhere"):
        assert who.removeprefix("view ") in said, said
    assert "fruits.items" in said and "set aside" in said
    sql("DELETE FROM fruits.items")
    assert sql("SELECT count(*) FROM reports.names") == [(4,)], "as it was told: the view shows the former table"
    (published,) = sql("SELECT schemaname FROM pg_publication_tables")
    assert published[0].startswith("fruits~before~")


@pytest.mark.every_server
def test_whose_sessions_must_reconnect_is_told_and_they_must(orchard: Place) -> None:
    url = orchard.url_of("fruits")
    orchard.database.sql(
        "CREATE TYPE mood AS ENUM ('ripe', 'raw'); ALTER TABLE items ADD m mood DEFAULT 'raw'", url=url
    )
    orchard.snapshot()
    with psycopg.connect(url, autocommit=True) as client:
        query = "SELECT m FROM items"
        client.execute(query, prepare=True)
        said = told(orchard)
        assert any("fruits.mood" in line and "connect anew" in line for line in said), said
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="cached plan"):
            client.execute(query, prepare=True)
    with psycopg.connect(url, autocommit=True) as client:
        assert len(client.execute(query, prepare=True).fetchall()) == 4


@pytest.mark.every_server
def test_where_nobody_is_concerned_nothing_is_said_and_open_sessions_go_on(orchard: Place) -> None:
    url = orchard.url_of("fruits")
    orchard.snapshot()
    with psycopg.connect(url, autocommit=True) as client:
        insert, query = "INSERT INTO items VALUES (%s)", "SELECT count(*) FROM items"
        for n in range(7):  # past the number at which the server plans once and for all
            client.execute(insert, [f"later {n}"], prepare=True)
            client.execute(query, prepare=True)
        assert told(orchard) == []
        assert client.execute(query, prepare=True).fetchone() == (4,)
        client.execute(insert, ["after"], prepare=True)
    assert orchard.database.sql("SELECT count(*) FROM fruits.items") == [(5,)]


def test_the_first_query_after_a_restore_has_statistics_to_go_by(orchard: Place) -> None:
    orchard.database.sql(
        "CREATE TABLE other AS SELECT n FROM generate_series(1, 500) n",
        url=orchard.url_of("fruits"),
    )
    orchard.snapshot()
    assert orchard.tenants("restore", "fruits").code == 0
    query = "SELECT reltuples::int FROM pg_class WHERE oid IN ('fruits.other'::regclass, 'fruits.items'::regclass)"
    assert sorted(orchard.database.sql(query)) == [(4,), (500,)]
