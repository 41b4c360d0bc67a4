"""The live app never waits long: a migration gives way, tells who is in its way, and tries again with empty hands."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from support import Place, ending, fresh_database, until
from throwaway_postgres import throwaway_postgres


@pytest.fixture
def busy(place: Place) -> Place:
    """A tenant with two tables, and a deploy that rehearses."""
    del place.environment["TENANTS_REHEARSAL"]
    place.fruits()
    place.deployed()
    place.database.sql("CREATE TABLE sold (id int)", url=place.url_of("fruits"))
    return place


@contextmanager
def holding(place: Place, statement: str) -> Iterator[psycopg.Connection]:
    """A session of the app that is in a transaction."""
    with psycopg.connect(place.url_of("fruits"), application_name="the report") as session:
        session.execute(statement.encode())
        yield session


def waiting(place: Place) -> list[tuple[object, ...]]:
    """What a migration that waits for a lock has said."""
    query = (
        "SELECT query FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name ~ '^tenants migrates'"
    )
    return place.database.sql(query)


@pytest.mark.every_server
def test_it_waits_with_empty_hands_and_tells_for_whom(busy: Place) -> None:
    """The revision would change one table and then wait for the other: the first must not be locked meanwhile."""
    change = [f"ALTER TABLE {table} ADD seen boolean" for table in ("items", "sold")]
    busy.revision("fruits", "0002", "\n".join(f"op.execute({words!r})" for words in change), "0001")
    url = busy.url_of("fruits")
    with holding(busy, "SELECT * FROM sold") as session, ending(busy.start("deploy")) as deploy:
        until(lambda: waiting(busy), "the migration waits for the table")
        with psycopg.connect(url, autocommit=True) as app:
            app.execute("SET lock_timeout = '10s'")
            for _ in range(20):
                app.execute("INSERT INTO items (name) VALUES (gen_random_uuid())")
        time.sleep(1)
        session.rollback()
        out, err = deploy.communicate(timeout=120)
    assert deploy.returncode == 0, out + err
    assert "trying again: LOCK TABLE" in err and "the report" in err and "idle in transaction" in err
    assert busy.database.sql("SELECT count(*) FROM fruits.items WHERE seen IS NULL") == [(24,)]
    busy.nothing_left()


def test_it_is_the_migration_that_gives_way_and_never_the_app(busy: Place) -> None:
    """Both take the same two tables, in the opposite order: a deadlock, each time that they meet."""
    busy.revision(
        "fruits",
        "0002",
        'op.execute("SELECT pg_sleep(0.4)")\nop.execute("ALTER TABLE items ADD seen int")\n'
        'op.execute("SELECT pg_sleep(0.3)")\nop.execute("ALTER TABLE sold ADD seen int")',
        "0001",
    )
    stop, problems, rounds = threading.Event(), list[psycopg.Error](), list[int]()
    url = busy.url_of("fruits")

    def app() -> None:
        with psycopg.connect(url) as session:
            while not stop.is_set():
                try:
                    session.execute("INSERT INTO sold (id) VALUES (1)")
                    time.sleep(0.05)
                    session.execute("SELECT name FROM items")
                    session.commit()
                    rounds.append(1)
                except psycopg.Error as error:
                    problems.append(error)
                    return

    threads = [threading.Thread(target=app) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        done = busy.tenants("deploy")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert done.code == 0, done.said
    assert problems == [] and rounds


def test_a_lock_that_is_not_to_be_had_ends_with_the_name_of_its_holder(busy: Place) -> None:
    """In an autocommit_block nothing is tried again: what it has done before stays."""
    body = 'with op.get_context().autocommit_block():\n    op.execute("ALTER TABLE sold ADD seen boolean")'
    busy.revision("fruits", "0002", body, "0001")
    with holding(busy, "SELECT * FROM sold"):
        done = busy.tenants("deploy")
    assert done.code == 6 and "lock timeout" in done.err and "the report" in done.err, done.said
    assert "end it, and push again" in done.err
    assert busy.tenants("deploy").code == 0


@pytest.mark.every_server
def test_an_index_that_is_built_concurrently_waits_for_an_older_transaction_and_says_so(busy: Place) -> None:
    """A backup of a neighbour, say, which reads none of the tenant's tables."""
    body = 'with op.get_context().autocommit_block():\n    op.execute("CREATE INDEX CONCURRENTLY soon ON sold (id)")'
    busy.revision("fruits", "0002", body, "0001")
    with psycopg.connect(busy.database.url, application_name="a long backup") as other:
        other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        other.execute("SELECT count(*) FROM pg_class")
        with ending(busy.start("deploy")) as deploy:
            assert deploy.stderr
            lines = [""]
            while "in the way" not in lines[-1]:
                lines.append(deploy.stderr.readline())
                assert lines[-1], "".join(lines)
            assert "a long backup" in lines[-1] and "until an older transaction ends" in lines[-1]
            other.rollback()
            assert deploy.wait(120) == 0
    assert busy.database.sql("SELECT indisvalid FROM pg_index WHERE indexrelid = 'fruits.soon'::regclass") == [(True,)]


@pytest.mark.every_server
def test_an_index_that_was_left_unfinished_is_named_and_made_anew_by_the_next_push(busy: Place) -> None:
    url = busy.url_of("fruits")
    busy.database.sql("INSERT INTO sold VALUES (1), (1)", url=url)
    words = 'op.execute("CREATE UNIQUE INDEX CONCURRENTLY soon ON sold (id)")'
    busy.revision("fruits", "0002", f"with op.get_context().autocommit_block():\n    {words}", "0001")
    done = busy.tenants("deploy", "--no-rehearsal")
    assert done.code == 6 and "index soon is unfinished" in done.err, done.said
    busy.database.sql("DELETE FROM sold", url=url)
    again = busy.tenants("deploy")
    assert again.code == 0 and "index soon, which" in again.err and "is dropped" in again.err, again.said
    assert busy.database.sql("SELECT indisvalid FROM pg_index WHERE indexrelid = 'fruits.soon'::regclass") == [(True,)]


@pytest.mark.every_server
def test_a_table_that_its_owner_may_only_add_to_is_altered_all_the_same(busy: Place) -> None:
    """To lock a table takes a right that to alter it does not."""
    busy.database.sql("REVOKE UPDATE, DELETE, TRUNCATE ON sold FROM fruits", url=busy.url_of("fruits"))
    busy.revision("fruits", "0002", "op.execute('ALTER TABLE sold ADD seen int')", "0001")
    done = busy.tenants("deploy")
    assert done.code == 0 and "sold locked for" in done.err, done.said


def test_an_index_that_was_dropped_for_us_is_no_change_that_anybody_has_to_take_back(busy: Place) -> None:
    url = busy.url_of("fruits")
    busy.database.sql("INSERT INTO sold VALUES (1), (1)", url=url)
    with pytest.raises(psycopg.Error):
        busy.database.sql("CREATE UNIQUE INDEX CONCURRENTLY soon ON sold (id)", url=url)
    busy.revision("fruits", "0002", "op.execute('SELECT 1 / 0')", "0001")
    done = busy.tenants("deploy", "--no-rehearsal")
    assert done.code == 6 and "index soon, which" in done.err and "untouched, at 0001" in done.err, done.said


def test_an_autovacuum_that_is_in_the_way_is_ended_and_does_not_end_the_push(tmp_path: Path) -> None:
    """PostgreSQL ends it only when who waits has waited for deadlock_timeout. It begins at once, and would go on for
    minutes."""
    for name in ("server", "place"):
        (tmp_path / name).mkdir()
    with throwaway_postgres(tmp_path / "server", more=["autovacuum=on", "autovacuum_naptime=1s"]) as server:
        with fresh_database(server) as database:
            place = Place(tmp_path / "place", database)
            place.fruits()
            place.deployed()
            eager = (
                f"autovacuum_vacuum_{what} = 0"
                for what in ("threshold", "scale_factor", "insert_threshold", "insert_scale_factor")
            )
            slow = "autovacuum_vacuum_cost_delay = 80, autovacuum_vacuum_cost_limit = 1"
            database.sql(
                f"CREATE TABLE sold (id int, note text) WITH ({', '.join(eager)}, {slow});"
                "INSERT INTO sold SELECT n, repeat('x', 300) FROM generate_series(1, 40000) n;"
                "DELETE FROM sold WHERE id % 3 = 0",
                url=place.url_of("fruits"),
            )
            at_work = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'autovacuum: VACUUM%sold%'"
            until(lambda: database.sql(at_work), "the vacuum is at work")
            place.revision("fruits", "0002", 'op.execute("ALTER TABLE sold ADD seen int")', "0001")
            done = place.tenants("deploy")
            assert done.code == 0, done.said
