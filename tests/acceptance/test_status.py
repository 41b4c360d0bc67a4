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
    assert lines[0].split() == ["TENANT", "SIZE", "REVISION", "LAST", "LIVE", "SNAPSHOT", "PROVEN", "AUDIT"]
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
