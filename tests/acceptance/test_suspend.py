"""A tenant that is suspended is out at once, whatever it holds, stays out, and comes back whole."""

from __future__ import annotations

from contextlib import closing

import psycopg
import pytest
from support import Place, until


@pytest.fixture
def orchard(place: Place) -> Place:
    """Two tenants at their first revision; a second one is pending for both."""
    for name in ("fruits", "pears"):
        place.fruits(name)
    place.deployed()
    return place


@pytest.mark.every_server
def test_what_a_suspended_tenant_held_is_free_and_no_session_of_it_comes_back(orchard: Place) -> None:
    url = orchard.url_of("fruits")
    with closing(psycopg.connect(url)) as one, closing(psycopg.connect(url, autocommit=True)) as two:
        one.execute("LOCK TABLE items IN ACCESS EXCLUSIVE MODE")
        two.execute("SELECT pg_advisory_lock(1)")
        done = orchard.tenants("suspend", "fruits")
        assert done.code == 0 and "2 sessions ended" in done.said and "Undo: tenants resume fruits" in done.out
    assert orchard.database.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)]
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        psycopg.connect(url)

    for command in ("apply", "nightly"):
        assert orchard.tenants(command).code == 0
    assert orchard.tenants("login", "fruits").code == 0
    assert orchard.database.sql("SELECT rolname FROM pg_roles WHERE rolname LIKE 'fruits~%' AND rolcanlogin") == []
    assert orchard.tenants("audit").code == 0
    assert orchard.tenants("show", "fruits", "--json").json["suspended_at"]

    done = orchard.tenants("resume", "fruits", "--json")
    assert done.json == {"tenant": "fruits", "suspended": False, "changed": True}
    assert len(orchard.database.sql("SELECT * FROM items", url=url)) == 4
    assert orchard.tenants("resume", "fruits", "--json").json["changed"] is False


def test_a_push_passes_a_suspended_tenant_by_and_migrates_the_others(orchard: Place) -> None:
    for name in ("fruits", "pears"):
        orchard.colour(name)
    orchard.tenants("suspend", "fruits")
    done = orchard.tenants("deploy", "--json")
    assert done.code == 0
    assert [(d["tenant"], d["outcome"], d["error"]) for d in done.json["deploys"]] == [
        ("fruits", "skipped", "suspended"),
        ("pears", "migrated", None),
    ]
    assert "tenants resume fruits" in done.err
    orchard.tenants("resume", "fruits")
    assert [d["outcome"] for d in orchard.tenants("deploy", "--json").json["deploys"]] == ["migrated", "up-to-date"]


def test_a_deploy_at_work_ends_with_the_tenant(orchard: Place) -> None:
    orchard.revision("fruits", "0002", 'op.execute("SELECT pg_sleep(600)")', "0001")
    running = orchard.start("deploy", "fruits")
    try:
        query = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
        until(lambda: orchard.database.sql(query), "the revision has begun")
        assert orchard.tenants("suspend", "fruits").code == 0
        out, err = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 6, err + out
    assert "untouched, at 0001" in err
    orchard.nothing_left()


def test_a_tenant_that_holds_more_than_it_is_wanted_to_is_named(orchard: Place) -> None:
    orchard.tenants("create", "fruits", "--size", "1MB")
    assert orchard.tenants("audit").code == 0
    url = orchard.url_of("fruits")
    rows = "SELECT repeat(md5(n::text), 20) FROM generate_series(1, 9999) n"
    orchard.database.sql(f"CREATE TABLE big WITH (autovacuum_enabled = off) AS {rows}", url=url)
    found = orchard.tenants("audit", "--json").json["findings"]
    assert [(f["rule"], f["tenant"]) for f in found] == [("size", "fruits")]
    assert found[0]["object"].endswith(" of 1MB")
    with closing(psycopg.connect(url)) as holding:
        holding.execute("LOCK TABLE big IN ACCESS EXCLUSIVE MODE")
        assert orchard.tenants("audit", "--json").json["findings"] == [], "nobody waits for a table to be let go"


def test_nobody_but_the_admin_suspends(orchard: Place) -> None:
    url = orchard.url_of("fruits")
    for command in ("suspend", "resume"):
        done = orchard.tenants(command, "fruits", DATABASE_URL=url)
        assert done.code == 2 and "needs the admin's URL" in done.err
        assert orchard.tenants(command, "nobody").code == 2
