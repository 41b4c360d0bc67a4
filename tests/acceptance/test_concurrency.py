"""Several at once: nothing happens twice, nothing is lost, and who waits is told for whom."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack

import psycopg
import pytest
from support import NAME, Done, Place, ending, until


@pytest.fixture
def orchard(place: Place) -> Place:
    """Two tenants with something pending, and a deploy that rehearses."""
    del place.environment["TENANTS_REHEARSAL"]
    for name in ("fruits", "pears"):
        place.fruits(name)
    place.deployed()
    for name in ("fruits", "pears"):
        place.revision(name, "0002", "op.execute(\"INSERT INTO items (name) VALUES ('once')\")", "0001")
    return place


def together(place: Place, *commands: str) -> list[Done]:
    """Begin all of them, and wait for their ends."""
    with ExitStack() as stack:
        running = [stack.enter_context(ending(place.start(*command.split()))) for command in commands]
        return [ended(process) for process in running]


def ended(process: subprocess.Popen[str]) -> Done:
    out, err = process.communicate(timeout=120)
    return Done(process.returncode, out, err)


def once(place: Place, name: str) -> None:
    """Its revision was run, and no more than once."""
    assert place.database.sql(f"SELECT count(*) FROM {name}.items WHERE name = 'once'") == [(1,)]
    query = "SELECT count(*) FROM tenants.deploys WHERE tenant = %s AND outcome = 'migrated' AND to_heads = '{0002}'"
    assert place.database.sql(query, [name]) == [(1,)]
    assert place.database.sql(f"SELECT version_num FROM {name}.alembic_version") == [("0002",)]


@pytest.mark.every_server
def test_of_eight_deploys_one_migrates_and_the_others_wait_or_name_it(orchard: Place) -> None:
    done = together(orchard, *["deploy fruits"] * 4, *["deploy fruits --wait 0.1"] * 4)
    once(orchard, "fruits")
    migrated = [one for one in done if "fruits   migrated to 0002" in one.out]
    assert len(migrated) == 1
    for one in done:
        assert one.code in (0, 4), one.said
        if one.code == 4:
            assert "fruits is locked by deploy, since" in one.err and "pid" in one.err, one.said
    assert [one.code for one in done[:4]] == [0] * 4, "who waits long enough comes to its end"
    orchard.nothing_left()


@pytest.mark.parametrize(
    "other", ["nightly --again", "restore fruits", "snapshot fruits", "apply", "audit --fix", "drill fruits"]
)
def test_a_push_and_something_else_end_well_both(orchard: Place, other: str) -> None:
    """Whichever comes first: a restore after the push would take the revision back, and says where it has led."""
    orchard.snapshot()
    push, that = together(orchard, "deploy", other)
    assert (push.code, that.code) == (0, 0), push.said + that.said
    for name in ("fruits", "pears"):
        (revision,) = [t["revision"] for t in orchard.tenants("list", "--json").json["tenants"] if t["tenant"] == name]
        if revision == "0001":  # the restore came last
            assert other == "restore fruits" and name == "fruits"
            assert orchard.tenants("deploy").code == 0
        assert orchard.database.sql(f"SELECT count(*) FROM {name}.items WHERE name = 'once'") == [(1,)]
    orchard.nothing_left()


@pytest.mark.every_server
@pytest.mark.parametrize("command", ["deploy fruits", "create plums", "rotate fruits", "apply"])
def test_who_grants_something_on_the_database_at_the_same_moment_stops_nobody(orchard: Place, command: str) -> None:
    """Two at once fail in PostgreSQL, "tuple concurrently updated": the one that has waited for the other."""
    orchard.url_of("fruits")
    database = orchard.database
    (login,) = [role for role in database.roles() if role.startswith("fruits~")]
    if command == "apply":  # there is something for it to grant
        database.sql(f'REVOKE CONNECT ON DATABASE "{NAME}" FROM "{login}"')
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'tenants %%'"
    with psycopg.connect(database.url) as other:
        other.execute(f'GRANT TEMPORARY ON DATABASE "{NAME}" TO pg_monitor')
        with ending(orchard.start(*command.split())) as process:
            until(lambda: database.sql(waiting), "it waits for the other")
            other.commit()
            done = ended(process)
    database.sql(f'REVOKE TEMPORARY ON DATABASE "{NAME}" FROM pg_monitor')
    assert done.code == 0, done.said
    orchard.nothing_left()


def test_pushes_of_different_tenants_do_not_wait_for_each_other(orchard: Place) -> None:
    done = together(orchard, "deploy fruits", "deploy pears", "snapshot pears", "create plums")
    assert [one.code for one in done] == [0] * 4, "".join(one.said for one in done)
    assert "waiting for" not in done[0].err
    once(orchard, "fruits")
    once(orchard, "pears")
    orchard.nothing_left()
