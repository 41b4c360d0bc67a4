"""psql as a tenant: what the tenant may do, and nothing beyond; nothing of it stays."""

from __future__ import annotations

import subprocess
from contextlib import closing

import psycopg
import pytest
from support import TENANTS, Place, until


@pytest.fixture
def orchard(place: Place) -> Place:
    for name in ("fruits", "pears"):
        place.fruits(name)
    place.deployed()
    return place


def begun(orchard: Place) -> None:
    """Somebody's psql is at work."""
    query = "SELECT 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)'"
    until(lambda: orchard.database.sql(query), "the visit has begun")


@pytest.mark.every_server
def test_it_is_the_tenant_in_its_schema_and_reaches_no_neighbour(orchard: Place) -> None:
    done = orchard.tenants("connect", "fruits", "-Atc", "SELECT current_user, count(*) FROM items")
    assert (done.code, done.out) == (0, "fruits|4\n"), done.said
    done = orchard.tenants("connect", "fruits", "--", "--set=ON_ERROR_STOP=1", "-c", "SELECT * FROM pears.items")
    assert done.code == 1 and "permission denied for schema pears" in done.err
    assert orchard.tenants("connect", "fruits", "-c", "CREATE TABLE notes (line text)").code == 0
    query = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'notes'"
    assert orchard.database.sql(query) == [("fruits",)]
    assert [role for role in orchard.database.roles() if "~connect~" in role] == []
    assert orchard.tenants("audit").code == 0


def test_it_reads_what_is_piped_into_it(orchard: Place) -> None:
    command = [TENANTS, "connect", "fruits", "-At"]
    given = "INSERT INTO items VALUES ('kiwi');\nSELECT count(*) FROM items;\n"
    done = subprocess.run(
        command, env=orchard.environment, input=given, capture_output=True, text=True, check=True, cwd=orchard.folder
    )
    assert done.stdout == "INSERT 0 1\n5\n"


def test_with_a_tenants_own_url_it_is_that_login(orchard: Place) -> None:
    url = orchard.url_of("fruits")
    done = orchard.tenants("connect", "fruits", "-Atc", "SELECT session_user", DATABASE_URL=url)
    assert done.out.strip() in url
    assert orchard.tenants("connect", "pears", "-c", "SELECT", DATABASE_URL=url).code == 2


def test_it_waits_for_no_deploy_and_a_visit_that_was_killed_is_cleared_by_the_next(orchard: Place) -> None:
    visit = orchard.start("connect", "fruits", "-c", "SELECT pg_sleep(600)")
    try:
        begun(orchard)
        orchard.colour()
        orchard.deployed("fruits")
        (role,) = [role for role in orchard.database.roles() if "~connect~" in role]
        assert orchard.tenants("audit").code == 0, "a visit that goes on is nothing to be told"
        assert orchard.tenants("nightly").code == 0
        assert role in orchard.database.roles(), "nor to be ended"
    finally:
        visit.kill()
        visit.communicate()
    query = "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'tenants fruits~connect%'"
    until(lambda: not orchard.database.sql(query), "the killed visit's session has ended")
    assert [f["rule"] for f in orchard.tenants("audit", "--json").json["findings"]] == ["deploy-role"]
    assert orchard.tenants("connect", "fruits", "-c", "SELECT").code == 0
    assert role not in orchard.database.roles()
    assert orchard.tenants("audit").code == 0


def test_suspending_a_tenant_ends_the_visits_to_it(orchard: Place) -> None:
    url = orchard.url_of("fruits")
    with closing(psycopg.connect(url)):
        visit = orchard.start("connect", "fruits", "-c", "SELECT pg_sleep(600)")
        begun(orchard)
        assert "2 sessions ended" in orchard.tenants("suspend", "fruits").err
        out, err = visit.communicate(timeout=60)
    assert visit.returncode != 0 and "terminating connection" in err, err + out
    assert orchard.tenants("audit").code == 0
