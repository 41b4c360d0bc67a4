"""Pushes, as Dokku makes them: `tenants deploy` on real servers, in both modes."""

from __future__ import annotations

import pytest
from support import Place


@pytest.mark.every_server
def test_first_push_on_an_empty_server_makes_schema_owner_and_tables(place: Place) -> None:
    place.fruits()
    done = place.tenants("deploy", "--json")
    assert done.code == 0, done.said
    assert done.json["deploys"][0] | {"seconds": 0} == {
        "tenant": "fruits",
        "from": None,
        "to": "0001",
        "applied": ["0001"],
        "snapshot": None,
        "outcome": "migrated",
        "seconds": 0,
        "error": None,
    }
    assert place.database.roles() == ["fruits", "tenants~members"]
    owners = place.database.sql("SELECT tablename, tableowner FROM pg_tables WHERE schemaname = 'fruits' ORDER BY 1")
    assert owners == [("alembic_version", "fruits"), ("items", "fruits")]
    assert place.snapshots() == []
    place.nothing_left()
