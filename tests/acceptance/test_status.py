"""The one screen for the morning: what is well, and what somebody ought to look at."""

from __future__ import annotations

import pytest
from support import Place


@pytest.mark.every_server
def test_it_shows_every_tenant_and_shouts_when_something_is_too_old(place: Place) -> None:
    assert place.tenants("status").code == 0
    for name in ("fruits", "pears"):
        place.fruits(name)
    place.deployed()
    assert place.tenants("nightly").code == 0
    place.tenants("suspend", "pears")
    done = place.tenants("status", "--check")
    assert done.code == 0, done.said
    lines = done.out.splitlines()
    columns = "TENANT SIZE DAY WEEK REVISION PENDING LAST LIVE SNAPSHOT PROVEN AUDIT"
    assert lines[0].split() == columns.split()
    assert lines[1].split()[0] == "fruits" and "migrated 0 min ago" in lines[1] and "pears (suspended)" in lines[2]

    (fruits, _) = place.tenants("status", "--json").json["tenants"]
    assert fruits["revision"] == "0001" and fruits["bytes"] > 0 and fruits["proven_at"] and fruits["worries"] == []
    place.database.sql("UPDATE tenants.snapshots SET created_at = created_at - interval '9 days',"
                       " proven_at = proven_at - interval '9 days' WHERE tenant = 'fruits'")  # fmt: skip
    place.database.sql("ALTER ROLE fruits CREATEDB")
    place.revision("pears", "0002", 'op.execute("SELECT 1 / 0")', "0001")
    place.tenants("resume", "pears")
    assert place.tenants("deploy", "pears").code == 6
    done = place.tenants("status", "--check")
    assert done.code == 3
    for told in (
        "fruits: its last snapshot is too old",
        "fruits: its last proof is too old: tenants drill fruits",
        "fruits: the audit has 3 findings",
        "pears: its last deploy failed",
    ):
        assert told in done.err
    rules = {f["rule"] for f in place.tenants("audit", "fruits", "--json").json["findings"]}
    assert rules == {"no-snapshot", "no-proof", "role-createdb"}


def test_it_tells_what_the_audit_finds_of_the_database_as_a_whole(place: Place) -> None:
    place.fruits()
    place.deployed()
    assert place.tenants("nightly").code == 0
    assert place.tenants("status", "--check").code == 0
    place.database.sql("CREATE TABLE public.stray (id int)")
    done = place.tenants("status", "--check")
    assert done.code == 3 and "!  1 finding of the database: tenants audit\n" in done.err, done.said
    assert place.tenants("status", "--json").json["database_findings"] == 1


def test_it_is_for_the_admin_and_a_tenant_writes_no_proof_of_its_own(place: Place) -> None:
    place.fruits()
    place.deployed()
    url = place.url_of("fruits")
    assert place.tenants("status", DATABASE_URL=url).code == 2
    with pytest.raises(Exception, match="permission denied"):
        place.database.sql("UPDATE tenants.snapshots SET proven_at = now()", url=url)
    with pytest.raises(Exception, match="permission denied"):
        place.database.sql(
            "INSERT INTO tenants.snapshots (id, tenant, created_at, bytes, sha256, verified_at, proven_at)"
            " VALUES ('x', 'fruits', now(), 1, repeat('a', 64), now(), now())",
            url=url,
        )


def test_a_tenant_that_no_night_has_ever_looked_after_is_shouted_about(place: Place) -> None:
    place.fruits()
    place.deployed()
    assert place.tenants("create", "empty").code == 0
    assert place.tenants("status", "--check").code == 0, "the first night is yet to come"
    place.database.sql("UPDATE tenants.tenants SET created_at = created_at - interval '9 days'")
    done = place.tenants("status", "--check")
    assert done.code == 3 and "empty" not in done.err, done.said
    assert "fruits: there is no snapshot of it: tenants nightly" in done.err
    assert "fruits: no snapshot of it was ever proven: tenants drill fruits" in done.err


def test_it_shows_what_has_grown_what_is_pending_and_what_is_to_be_looked_at_first(place: Place) -> None:
    for name in ("apples", "fruits", "pears"):
        place.fruits(name)
    place.deployed()
    older = """INSERT INTO tenants.snapshots (id, tenant, created_at, bytes, sha256, verified_at, proven_at)
               VALUES (%s, 'fruits', now() - %s::interval, %s, repeat('a', 64), now(), now())"""
    for number, (when, count) in enumerate([("0", 9_000), ("1 hour", 1), ("25 hours", 10_000), ("8 days", 2_000)]):
        place.database.sql(older, [f"s{number}", when, count])
    place.colour()
    place.revision("pears", "0002", "pass", "0001")
    place.revision("pears", "0002b", "pass", "0001")

    apples, fruits, pears = place.tenants("status", "--json").json["tenants"]
    assert fruits["growth"] == {"day": -1_000, "week": 7_000} and apples["growth"] == {"day": None, "week": None}
    assert fruits["pending"] == ["0002_colour.py"] and apples["pending"] == [] and fruits["worries"] == []
    assert pears["pending"] == [] and "there are 2 heads" in pears["worries"][0], "the others are shown all the same"

    done = place.tenants("status")
    rows = [line.split()[0] for line in done.out.splitlines()]
    assert rows == ["TENANT", "pears", "apples", "fruits"] and done.err.startswith("!  pears: ")
    assert "-1.0 kB  +7.0 kB  0001      1 " in done.out
    assert place.tenants("status", "--json", TENANTS_MIGRATIONS="elsewhere").json["tenants"][1]["pending"] is None
