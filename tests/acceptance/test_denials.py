"""One tenant's login cannot keep the others from being served: not by records, not by objects, not by locks."""

from __future__ import annotations

import threading
from contextlib import ExitStack, closing

import psycopg
import pytest
from support import Database, Place, old_catalog

from tenants.core.settings import DatabaseUrl
from tenants.edges import postgres, records
from tenants.edges.sql import catalog_steps

RECORD = """SELECT tenants.add_record(kind => {kind}, from_heads => '{{}}', to_heads => {heads}, applied => {applied},
    git_rev => 'abcdef0', snapshot => NULL, outcome => 'migrated', error => {error}, stages => {stages},
    command => NULL, output => NULL, changed => NULL)"""
PLAIN = {"kind": "'deploy'", "heads": "'{0001}'", "applied": "'{0001}'", "error": "NULL", "stages": "'{}'"}
SNAPSHOT = """SELECT tenants.add_snapshot(to_char(({at}) AT TIME ZONE 'UTC', 'YYYYMMDD"T"HH24MISS"Z"') || '-{token}',
    {at}, '0001', {bytes}, repeat('0', 64), {at}, NULL, repeat('0', 64), 's3://bucket')"""


@pytest.fixture
def orchard(place: Place) -> Place:
    for name in ("apples", "fruits"):
        place.fruits(name)
    place.deployed()
    return place


def refusal(database: Database, url: str, query: str) -> str | None:
    """The SQLSTATE with which PostgreSQL refuses the statement."""
    try:
        database.sql(query, url=url)
    except psycopg.Error as error:
        return error.sqlstate
    return None


def test_a_tenant_records_only_what_is_bounded_and_typed(orchard: Place) -> None:
    url = orchard.url_of("fruits")
    wrong = {
        "long": {"applied": "ARRAY[repeat('x', 390000)]"},
        "many": {"applied": "(SELECT array_agg(n::text) FROM generate_series(1, 5001) n)"},
        "heads": {"heads": "(SELECT array_agg(n::text) FROM generate_series(1, 101) n)"},
        "a drop": {"kind": "'drop'"},
        "stages": {"stages": """'{"migrate": "quick"}'"""},
        "a list": {"stages": "'[1]'"},
        "error": {"error": "repeat('x', 390000)"},
        "matrix": {"applied": "ARRAY[['a', 'b'], ['c', 'd']]"},
        "null": {"applied": "NULL"},
    }
    found = {name: refusal(orchard.database, url, RECORD.format(**PLAIN | one)) for name, one in wrong.items()}
    assert {name for name, state in found.items() if state not in ("22023", "23514")} == set(), found
    before = orchard.database.sql("SELECT count(*) FROM tenants.deploys")
    assert refusal(orchard.database, url, RECORD.format(**PLAIN)) is None
    written = "SELECT tenant, project, recorded_at > now() - interval '1 hour' FROM tenants.deploys WHERE by_tenant"
    assert orchard.database.sql(written) == [("fruits", "fruits", True)]
    assert orchard.database.sql("SELECT count(*) FROM tenants.deploys") == [(before[0][0] + 1,)]


def test_a_tenant_that_floods_its_records_meets_a_limit_and_pushes_out_its_own_alone(orchard: Place) -> None:
    url = orchard.url_of("fruits")
    largest = "(SELECT array_agg(repeat('x', 32)) FROM generate_series(1, 5000))"
    orchard.database.sql("UPDATE tenants.deploys SET recorded_at = recorded_at - interval '1 day'")
    flood = RECORD.format(**PLAIN | {"applied": largest})
    with psycopg.connect(url, autocommit=True) as session:
        for number in range(120):
            session.execute(f"SET TIME ZONE '{number % 12}:30'".encode())
            session.execute(flood.encode())
        with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="has written 120 records within this hour"):
            session.execute(flood.encode())
    kept = "SELECT by_tenant, count(*), sum(tenants.weight(applied)) FROM tenants.deploys WHERE tenant = 'fruits'"
    own, admins = orchard.database.sql(f"{kept} GROUP BY by_tenant ORDER BY by_tenant DESC")
    assert own[1] == 4 and own[2] <= 2_000_000 and admins[:2] == (False, 1)
    assert orchard.tenants("show", "fruits").code == 0
    assert {f["rule"] for f in orchard.tenants("audit", "fruits", "--json").json["findings"]} == {"record-rate"}
    orchard.database.sql("UPDATE tenants.written SET hour = hour - 1")
    assert refusal(orchard.database, url, flood) is None, "the next hour is another one"


def test_a_snapshot_that_a_tenant_forges_is_of_now_or_is_none(orchard: Place) -> None:
    url = orchard.url_of("fruits")
    good = {"at": "clock_timestamp()", "token": "aaaaaa", "bytes": 1}
    for forged in (
        {"at": "timestamptz '2199-01-01'"},
        {"at": "clock_timestamp() + interval '1 hour'"},
        {"at": "clock_timestamp() - interval '3 days'"},
        {"at": "timestamptz 'infinity'"},
        {"bytes": -1},
        {"bytes": 1 << 60},
        {"token": "AAAAAA"},
    ):
        assert refusal(orchard.database, url, SNAPSHOT.format(**good | forged)) in ("22008", "22023"), forged
    with psycopg.connect(url, autocommit=True) as session:
        for number in range(60):
            session.execute(SNAPSHOT.format(**good | {"token": f"aaa{number:03}"}).encode())
        with pytest.raises(psycopg.errors.ProgramLimitExceeded):
            session.execute(SNAPSHOT.format(**good | {"token": "zzzzzz"}).encode())
    assert orchard.database.sql("SELECT DISTINCT tenant, by_tenant FROM tenants.snapshots") == [("fruits", True)]


def test_a_deploy_and_a_snapshot_with_a_tenants_own_url_are_on_record(orchard: Place) -> None:
    orchard.colour("fruits")
    own = {"DATABASE_URL": orchard.url_of("fruits"), "GIT_REV": "a" * 40}
    assert orchard.tenants("deploy", **own).code == 0
    query = "SELECT outcome, to_heads, snapshot, live_at FROM tenants.deploys WHERE by_tenant"
    ((outcome, heads, snapshot, live),) = orchard.database.sql(query)
    assert (outcome, heads, live) == ("migrated", ["0002"], None)
    assert orchard.database.sql("SELECT id, by_tenant FROM tenants.snapshots") == [(snapshot, True)]
    assert orchard.tenants("live", "--json", **own).json == {"live": ["fruits"]}
    assert orchard.database.sql("SELECT live_at <= now() FROM tenants.deploys WHERE by_tenant") == [(True,)]
    assert orchard.tenants("live", "--json", **own).json == {"live": []}


def test_what_a_tenant_wrote_before_the_update_hurts_nobody_after_it(place: Place) -> None:
    url = old_catalog(place.database)
    words = "INSERT INTO tenants.deploys (tenant, project, kind, from_heads, to_heads, applied, outcome, stages) SELECT"
    for project, heads, applied in (
        ("'fruits'", "'{0001}'", "ARRAY[repeat('x', 390000)]"),
        ("repeat('x', 1000000)", "'{0001}'", "'{}'"),
        ("'fruits'", "'{0001}'", "array_fill(repeat('y', 32), ARRAY[5000])"),
    ):
        for _ in range(9):
            place.database.sql(
                f"{words} 'fruits', {project}, 'deploy', '{{}}', {heads}, {applied}, 'migrated', '{{}}'", url=url
            )
    place.database.sql("UPDATE tenants.deploys SET live_at = '2199-01-01'", url=url)
    future = "INSERT INTO tenants.snapshots (id, tenant, created_at, bytes, sha256, verified_at) VALUES"
    place.database.sql(f"{future} ('x', 'fruits', '2199-01-01', 1, repeat('0', 64), '2199-01-01')", url=url)
    place.database.sql("CREATE TABLE fruits.items (); SET ROLE fruits; CREATE TABLE fruits.more ()")

    (apples, fruits) = place.tenants("status", "--json").json["tenants"]
    assert apples["tenant"] == "apples" and fruits["snapshot_at"] is None
    kept = "SELECT count(*), sum(tenants.weight(applied)) <= 2000000, max(length(project)), max(live_at) <= now()"
    assert place.database.sql(f"{kept} FROM tenants.deploys") == [(9, True, 6, True)]


def test_a_snapshot_dated_in_the_future_counts_for_nothing(orchard: Place) -> None:
    orchard.database.sql(
        "INSERT INTO tenants.snapshots (id, tenant, created_at, bytes, sha256, verified_at)"
        " VALUES ('x', 'fruits', '2199-01-01', 1, repeat('0', 64), '2199-01-01')"
    )
    orchard.database.sql("UPDATE tenants.tenants SET created_at = created_at - interval '9 days';"
                         "UPDATE tenants.deploys SET recorded_at = recorded_at - interval '9 days'")  # fmt: skip
    fruits = orchard.tenants("status", "--json").json["tenants"][1]
    assert fruits["snapshot_at"] is None and "there is no snapshot of it" in str(fruits["worries"])
    assert "no-snapshot" in {f["rule"] for f in orchard.tenants("audit", "fruits", "--json").json["findings"]}


def test_what_is_read_of_a_tenants_history_is_bounded_whatever_is_there(orchard: Place) -> None:
    orchard.database.sql("""
        INSERT INTO tenants.deploys (tenant, project, kind, from_heads, to_heads, applied, outcome, stages, recorded_at)
        SELECT 'fruits', 'fruits', 'deploy', '{}', '{0001}', array_fill(repeat('x', 390), ARRAY[1000]), 'migrated',
               '{}', now() - n * interval '1 hour' FROM generate_series(1, 30) n
    """)
    with postgres.connect(DatabaseUrl.parse(orchard.database.url), "tenants test") as connection:
        found = records.runs(connection, ["apples", "fruits"])
    read = sum(len(revision) for _, applied in found["fruits"] for revision in applied)
    assert 0 < read <= 2_000_000 and len(found["apples"]) == 1


@pytest.mark.parametrize(
    "holding",
    ["SELECT count(*) FROM tenants.deploys", "UPDATE tenants.deploys SET live_at = now()", "TABLE tenants.tenants"],
)
@pytest.mark.every_server
def test_a_tenant_that_holds_the_catalog_does_not_keep_it_from_being_updated(place: Place, holding: str) -> None:
    url = old_catalog(place.database)
    with closing(psycopg.connect(url)) as holder:
        holder.execute(holding.encode())
        for command in ("suspend fruits", "status", "apply", "audit"):
            done = place.tenants(*command.split())
            assert done.code in (0, 3), done.said
        with pytest.raises(psycopg.OperationalError):
            holder.execute("SELECT 1")
    assert place.database.sql("SELECT version FROM tenants.catalog") == [(len(catalog_steps()),)]


def test_a_session_that_is_no_tenants_is_named_and_not_ended_when_it_holds_the_catalog(place: Place) -> None:
    old_catalog(place.database)
    with closing(psycopg.connect(place.database.url)) as holder:
        holder.execute("TABLE tenants.deploys")
        done = place.tenants("status")
        assert done.code == 4 and f"pid {holder.info.backend_pid}" in done.err, done.said
        assert holder.execute("SELECT 1").fetchone() == (1,)
    assert place.database.sql("SELECT version FROM tenants.catalog") == [(4,)]
    assert place.tenants("status").code == 0


def test_a_tenant_that_cannot_be_brought_back_does_not_keep_the_others_from_it(orchard: Place) -> None:
    orchard.database.sql("ALTER SCHEMA apples RENAME TO elsewhere; ALTER ROLE apples RENAME TO somebody;"
                         "ALTER ROLE fruits LOGIN")  # fmt: skip
    done = orchard.tenants("apply")
    assert done.code == 1 and "could not apply apples" in done.err, done.said
    assert orchard.database.sql("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'fruits'") == [(False,)]


HELD = {
    "the row of the database": 'GRANT CONNECT ON DATABASE "db.main" TO PUBLIC',
    "a schema of all": "GRANT USAGE ON SCHEMA extensions TO PUBLIC",
    "its own role": "ALTER ROLE CURRENT_USER SET work_mem = '4MB'",
}


@pytest.mark.every_server
@pytest.mark.parametrize("held", HELD.values(), ids=list(HELD))
def test_a_row_that_a_tenant_holds_without_any_right_keeps_no_command_waiting(orchard: Place, held: str) -> None:
    """A GRANT that grants nothing is a warning, and holds the row until its transaction ends."""
    url = orchard.url_of("fruits")
    orchard.colour("apples")
    for words in (["deploy", "apples"], ["create", "pears", "--app-role"], ["suspend", "fruits"]):
        with psycopg.connect(url) as session:
            session.execute(held.encode())
            done = orchard.tenants(*words)
            assert done.code == 0, done.said
            session.close()
    assert "not permitted to log in" in str(refused(url))


def refused(url: str) -> psycopg.Error | None:
    try:
        psycopg.connect(url).close()
    except psycopg.Error as error:
        return error
    return None


def test_tenants_that_queue_for_the_lock_on_roles_keep_no_deploy_waiting(orchard: Place) -> None:
    url, over = orchard.url_of("fruits"), threading.Event()
    orchard.colour("apples")

    def queue() -> None:
        while not over.is_set():
            try:
                with closing(psycopg.connect(url, autocommit=True)) as session:
                    session.execute("SELECT pg_advisory_lock(%s)", [postgres.lock_key("roles")])
                    over.wait(5)
            except psycopg.Error:
                continue

    threads = [threading.Thread(target=queue) for _ in range(6)]
    with ExitStack() as stack:
        for thread in threads:
            stack.callback(thread.join)
        stack.callback(over.set)
        for thread in threads:
            thread.start()
        done = orchard.tenants("deploy", "apples")
        assert done.code == 0, done.said
