"""The bucket alone is enough: an empty server gets every tenant back."""

from __future__ import annotations

import json

import pytest
from support import Place


@pytest.fixture
def orchard(place: Place) -> Place:
    for name in ("fruits", "pears", "plums"):
        place.fruits(name)
    place.deployed()
    return place


@pytest.mark.every_server
def test_an_empty_server_and_the_bucket_bring_back_every_tenant(orchard: Place) -> None:
    orchard.tenants("create", "fruits", "--app-role", "--connections", "7", "--statement-timeout", "2min")
    orchard.tenants("extension", "fruits", "citext")
    url = orchard.tenants("login", "fruits", "--owner", "--json").json["url"]
    orchard.database.sql("ALTER TABLE items ADD note citext DEFAULT 'Ripe'; CREATE SEQUENCE s START 42", url=url)
    assert orchard.tenants("nightly").code == 0
    assert orchard.tenants("drop", "plums", "--yes").code == 0
    before = {name: orchard.database.dump(name) for name in ("fruits", "pears")}
    orchard.lose_server()

    dry = orchard.tenants("recover", "--dry-run", "--json").json
    assert set(dry["snapshots"]) == {"fruits", "pears", "plums"} and dry["dropped"] == ["plums"]
    assert orchard.database.schemas() == ["public"]
    done = orchard.tenants("recover", *orchard.trust, "--json")
    assert done.code == 0, done.said
    assert [found["tenant"] for found in done.json["recovered"]] == ["fruits", "pears"]
    assert {name: orchard.database.dump(name) for name in ("fruits", "pears")} == before
    app = done.json["recovered"][0]["url"]
    assert orchard.database.sql("SELECT count(*) FROM items WHERE note = 'rIPE'", url=app) == [(4,)]
    assert orchard.database.sql("SHOW statement_timeout", url=app) == [("2min",)]
    assert orchard.database.sql("SELECT current_user::text", url=app) == [("fruits~app",)]
    assert orchard.tenants("audit").code == 0, orchard.tenants("audit").said
    assert [d["outcome"] for d in orchard.tenants("deploy", "fruits", "pears", "--json").json["deploys"]] == [
        "up-to-date",
        "up-to-date",
    ]

    done = orchard.tenants("recover", "plums", "--json")
    assert done.code == 0 and [f["tenant"] for f in done.json["recovered"]] == ["plums"]
    again = orchard.tenants("recover", "pears")
    assert again.code == 2 and "schema pears is here and holds something" in again.err


def test_what_was_dropped_and_lives_again_comes_back_too(orchard: Place) -> None:
    for name in ("fruits", "pears", "plums"):
        assert orchard.tenants("drop", name, "--yes").code == 0
    assert orchard.tenants("restore", "fruits").code == 0
    orchard.url_of("fruits")
    assert orchard.tenants("deploy", "pears", "--from-scratch").code == 0
    archives = [name for name in orchard.stored() if name.endswith(".zst") and "/fruits/" in name]
    assert len(archives) == 1, "what says that it lives is a manifest alone"
    orchard.lose_server()
    done = orchard.tenants("recover", *orchard.trust, "--json")
    assert done.code == 0, done.said
    assert [found["tenant"] for found in done.json["recovered"]] == ["fruits", "pears"]
    again = orchard.tenants("recover")
    assert "Warning:  plums had been dropped" in again.err and "tenants recover plums" in again.err


def test_what_a_restore_or_an_undo_has_replaced_is_not_what_comes_back(orchard: Place) -> None:
    assert orchard.tenants("snapshot", "fruits").code == 0
    orchard.database.sql("DELETE FROM fruits.items")
    assert orchard.tenants("restore", "fruits").code == 0
    orchard.colour("pears")
    assert orchard.tenants("deploy", "pears").code == 0
    assert orchard.tenants("undo", "pears", "--yes").code == 0
    orchard.lose_server()
    assert orchard.tenants("recover", *orchard.trust).code == 0
    assert orchard.database.sql("SELECT count(*) FROM fruits.items") == [(4,)]
    assert orchard.database.sql("SELECT version_num FROM pears.alembic_version") == [("0001",)]


def test_a_new_server_says_that_it_is_one_wherever_somebody_looks_first(orchard: Place) -> None:
    assert orchard.tenants("nightly", "--no-drill").code == 0
    orchard.lose_server()
    new = "this server is new; the bucket has 3 tenants of another"
    for words in (["status"], ["list"], ["snapshots"], ["snapshots", "fruits"]):
        done = orchard.tenants(*words)
        assert done.code == 0 and f"{new}\nNext:     tenants recover\n" in done.err, done.said
    assert orchard.tenants("list", "--json").json == {"tenants": []}
    checks = orchard.tenants("doctor", "--json").json["checks"]
    assert [(c["message"], c["next"]) for c in checks if c["name"] == "tenants"] == [(new, "tenants recover")]
    for command in ("plan", "deploy"):
        done = orchard.tenants(command)
        assert done.code == 6 and new in done.said and "Next:     tenants recover " in done.err, done.said
    away = orchard.migrations.rename(orchard.folder / "away")
    orchard.migrations.mkdir()
    (orchard.migrations / ".gitkeep").touch()
    for command in ("deploy", "plan"):
        done = orchard.tenants(command)
        assert done.code == 0, "a push without projects is released, so that there is an agent"
        assert f"{new}\nNext:     tenants recover\n" in done.err, done.said
    assert orchard.tenants("deploy", TENANTS_STORE="s3://not.there/at-all").code == 0, "nor for want of storage"
    orchard.migrations.joinpath(".gitkeep").unlink()
    orchard.migrations.rmdir()
    away.rename(orchard.migrations)
    assert orchard.tenants("recover", *orchard.trust).code == 0
    orchard.deployed()
    assert new not in orchard.tenants("status").said


def test_what_cannot_be_read_fails_by_itself_and_a_lie_about_limits_is_not_believed(orchard: Place) -> None:
    assert orchard.tenants("nightly", "--no-drill").code == 0
    orchard.lose_server()
    for file in orchard.store.rglob("*.ledger"):
        file.unlink()  # as if an earlier version had taken them
    for file in orchard.store.rglob("*.json"):
        if file.parent.name == "pears":
            file.write_text("{}")
        elif file.parent.name == "plums":
            lie = {
                "limits": {"connections": -1, "statement_timeout": "0; DROP", "size": "1TB"},
                "extensions": ["dblink"],
            }
            file.write_text(json.dumps(json.loads(file.read_text()) | lie))
    done = orchard.tenants("recover", "--unsigned", "--json")
    assert done.code == 5
    assert [found["tenant"] for found in done.json["recovered"]] == ["fruits", "plums"]
    assert set(done.json["failures"]) == {"pears"}
    assert "would break the separation" in done.err
    query = "SELECT connections, statement_timeout, size FROM tenants.tenants WHERE name = 'plums'"
    assert orchard.database.sql(query) == [(20, "5min", "1TB")]
    assert orchard.database.sql("SELECT 1 FROM pg_extension WHERE extname = 'dblink'") == []


def test_of_several_servers_one_has_to_be_named(orchard: Place) -> None:
    assert orchard.tenants("nightly", "--no-drill").code == 0
    orchard.lose_server()
    assert orchard.tenants("recover", *orchard.trust).code == 0
    assert orchard.tenants("nightly", "--no-drill").code == 0
    orchard.lose_server()
    done = orchard.tenants("recover")
    assert done.code == 2 and "the snapshots of several servers" in done.err and "(3 tenants, last 2" in done.err
    newest = max((path.name, path.parts[-3]) for path in orchard.store.glob("*/*/*.json"))[1]
    assert f"tenants recover --server {newest}" in done.err
    assert orchard.tenants("recover", "--server", newest, *orchard.trust).code == 0, "and a key is enough to find one"
    for wrong in ("../etc", "abcdefghij23"):
        assert orchard.tenants("recover", "--server", wrong).code == 2


def test_an_empty_bucket_is_said(place: Place) -> None:
    done = place.tenants("recover")
    assert done.code == 2 and "no snapshots of another server" in done.err
    place.fruits()
    place.deployed()
    done = place.tenants("recover", DATABASE_URL=place.url_of("fruits"))
    assert done.code == 2 and "needs the admin's URL" in done.err
