"""A tenant with more tables than PostgreSQL has room for locks: its neighbours are served, and it can be shut out and
dropped. The server has room for few locks, so that few tables are enough."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from support import Place, old_catalog
from throwaway_postgres import Server, throwaway_postgres

from tenants.edges.sql import catalog_steps

SETTINGS = (
    *("max_locks_per_transaction=10", "max_connections=30", "max_prepared_transactions=5"),
    *("max_wal_senders=0", "max_worker_processes=1", "autovacuum_max_workers=1"),
)
MANY = 3000
TABLES = """DO $$ BEGIN FOR i IN 1..{many} LOOP EXECUTE format('CREATE TABLE {prefix}%s ()', i);
                IF i % 100 = 0 THEN COMMIT; END IF; END LOOP; END $$"""


@pytest.fixture(scope="module")
def server(binaries: Path | None) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="tests-") as folder:
        with throwaway_postgres(Path(folder), binaries, SETTINGS) as running:
            yield running


@pytest.fixture
def orchard(place: Place) -> Place:
    for name in ("apples", "fruits"):
        place.fruits(name)
    place.deployed()
    return place


@pytest.mark.every_server
def test_a_prepared_transaction_of_a_tenant_does_not_keep_the_catalog_from_being_updated(place: Place) -> None:
    url = old_catalog(place.database)
    with closing(psycopg.connect(url, autocommit=True)) as session:
        session.execute("BEGIN; TABLE tenants.deploys; PREPARE TRANSACTION 'left'")
    done = place.tenants("suspend", "fruits")
    assert done.code == 0, done.said
    assert place.database.sql("SELECT version FROM tenants.catalog") == [(len(catalog_steps()),)]
    assert place.database.sql("SELECT gid FROM pg_prepared_xacts") == []


def test_sessions_that_come_back_again_and_again_do_not_keep_the_catalog_from_being_updated(place: Place) -> None:
    url = old_catalog(place.database)
    over = threading.Event()

    def storm() -> None:
        while not over.is_set():
            try:
                with closing(psycopg.connect(url)) as session:
                    session.execute("TABLE tenants.deploys")
                    over.wait(30)
            except psycopg.Error:
                continue

    threads = [threading.Thread(target=storm) for _ in range(8)]
    try:
        for thread in threads:
            thread.start()
        done = place.tenants("suspend", "fruits")
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert done.code == 0, done.said


def crowd(orchard: Place, code: str = "", many: int = MANY) -> str:
    """Let fruits make many tables, and a reader look at them. Returns the URL of its login."""
    url = orchard.url_of("fruits")
    assert orchard.tenants("reader", "boss", "--of", "apples,fruits").code == 0
    assert orchard.tenants("create", "fruits", "--objects", "1000").code == 0
    for statement in (code or TABLES.format(many=many, prefix="t")).split("\n---\n"):
        orchard.database.sql(statement, url=url)
    return url


def test_a_tenant_with_too_many_tables_is_reported_and_its_neighbours_are_served(orchard: Place) -> None:
    url = crowd(orchard)
    orchard.colour("apples")
    codes = {"audit": 3, "apply": 0, "snapshot apples": 0, "deploy apples": 0, "status": 0, "nightly": 5}
    for command, code in codes.items():
        done = orchard.tenants(*command.split())
        assert done.code == code, done.said[:2000]
        assert len(done.said) < 20_000, command
    found = orchard.tenants("audit", "--json").json["findings"]
    assert [(f["tenant"], f["object"].endswith("of 1000 objects")) for f in found if f["rule"] == "objects"] == [
        ("fruits", True)
    ]
    assert orchard.database.sql("SELECT count(*) FROM items", url=url) == [(4,)], "it goes on"


def test_a_tenant_with_too_many_tables_is_shut_out_and_let_in_again(orchard: Place) -> None:
    url = crowd(orchard)
    done = orchard.tenants("suspend", "fruits")
    assert done.code == 0, done.said
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        psycopg.connect(url)
    done = orchard.tenants("resume", "fruits")
    assert done.code == 0, done.said
    assert orchard.database.sql("SELECT count(*) FROM items", url=url) == [(4,)]


def test_a_snapshot_that_locks_more_than_there_is_room_for_is_refused_in_a_few_words(orchard: Place) -> None:
    url = crowd(orchard)
    for command in (("snapshot", "fruits"), ("drop", "fruits", "--yes")):
        done = orchard.tenants(*command)
        assert done.code == 5 and len(done.said) < 3000, (len(done.said), done.said[:2000])
        assert "3,002 tables" in done.err and "max_locks_per_transaction" in done.err, done.said
    assert orchard.database.sql("SELECT count(*) FROM items", url=url) == [(4,)], "it was not dropped, and goes on"


SHAPES = {
    "tables": TABLES.format(many=MANY, prefix="t"),
    "functions": """DO $$ BEGIN FOR i IN 1..3000 LOOP EXECUTE format('CREATE FUNCTION f%s() RETURNS int LANGUAGE sql'
        ' AS ''SELECT 1''', i); IF i % 100 = 0 THEN COMMIT; END IF; END LOOP; END $$""",
    "types": """DO $$ BEGIN FOR i IN 1..3000 LOOP EXECUTE format('CREATE TYPE y%s AS ENUM ()', i);
        IF i % 100 = 0 THEN COMMIT; END IF; END LOOP; END $$""",
    "references": """CREATE TABLE top (id int PRIMARY KEY)
---
DO $$ BEGIN FOR i IN 1..1500 LOOP EXECUTE format('CREATE TABLE t%s (id int REFERENCES top)', i);
        IF i % 50 = 0 THEN COMMIT; END IF; END LOOP; END $$""",
    "views": """CREATE TABLE top (id int)
---
DO $$ BEGIN FOR i IN 1..3000 LOOP EXECUTE format('CREATE VIEW v%s AS TABLE top', i);
        IF i % 100 = 0 THEN COMMIT; END IF; END LOOP; END $$""",
    "rings of views": """DO $$ BEGIN FOR i IN 0..59 LOOP FOR r IN 1..30 LOOP
        EXECUTE CASE i WHEN 0 THEN format('CREATE VIEW v%s_0 AS SELECT 1 AS a', r)
                       ELSE format('CREATE VIEW v%s_%s AS SELECT a FROM v%s_%s', r, i, r, i - 1) END;
        IF r % 10 = 0 THEN COMMIT; END IF; END LOOP; END LOOP;
        FOR r IN 1..30 LOOP
            EXECUTE format('CREATE OR REPLACE VIEW v%s_0 AS SELECT a FROM v%s_59', r, r);
        END LOOP; END $$""",
    "partitions": """CREATE TABLE top (id int) PARTITION BY LIST (id)
---
DO $$ BEGIN FOR i IN 1..3000 LOOP
        EXECUTE format('CREATE TABLE p%s PARTITION OF top FOR VALUES IN (%s)', i, i);
        IF i % 50 = 0 THEN COMMIT; END IF; END LOOP; END $$""",
    "defaults": """CREATE SEQUENCE top
---
DO $$ BEGIN FOR i IN 1..1500 LOOP EXECUTE format('CREATE TABLE t%s (id int DEFAULT nextval(''top''))', i);
        IF i % 50 = 0 THEN COMMIT; END IF; END LOOP; END $$""",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_tenant_with_too_many_objects_is_dropped(orchard: Place, shape: str) -> None:
    crowd(orchard, SHAPES[shape])
    done = orchard.tenants("drop", "fruits", "--yes", "--no-snapshot")
    assert done.code == 0 and len(done.said) < 3000, done.said[:2000]
    assert "fruits" not in orchard.database.schemas()
    assert [role for role in orchard.database.roles() if role.startswith("fruits")] == []
    orchard.nothing_left()


def test_a_tenant_that_makes_and_drops_tables_all_the_time_keeps_nobody_from_being_fixed(orchard: Place) -> None:
    url = crowd(orchard, "SELECT")
    over = threading.Event()
    churn = """DO $$ BEGIN FOR i IN 1..40 LOOP EXECUTE format('CREATE TABLE c%s ()', i); COMMIT;
               EXECUTE format('DROP TABLE c%s', i); COMMIT; END LOOP; END $$"""

    def work(number: int) -> None:
        with closing(psycopg.connect(url, autocommit=True)) as session:
            while not over.is_set():
                session.execute(churn.replace("c%s", f"c{number}_%s").encode())

    threads = [threading.Thread(target=work, args=[number]) for number in range(6)]
    try:
        for thread in threads:
            thread.start()
        for _ in range(5):
            orchard.database.sql('REVOKE SELECT ON apples.items FROM "apples~reader~boss"')
            done = orchard.tenants("apply", "--json")
            assert done.code == 0, done.said
            assert "reader-grants" in str(done.json["changed"]["apples"])
    finally:
        over.set()
        for thread in threads:
            thread.join()
