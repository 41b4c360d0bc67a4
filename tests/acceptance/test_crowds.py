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

SETTINGS = ("max_locks_per_transaction=10", "max_connections=40", "max_prepared_transactions=5")
MANY = 1500
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
