"""A tenant that sleeps costs a manifest a night; what a manifest says of its archive was found in the archive."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from support import Place


def manifest(place: Place, id_: str) -> dict[str, Any]:
    (file,) = place.store.rglob(f"{id_}.json")
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def archives(place: Place) -> list[Path]:
    return sorted(place.store.rglob("*.dump.zst"))


@pytest.fixture
def orchard(place: Place) -> Place:
    place.fruits()
    place.deployed()
    return place


@pytest.mark.every_server
def test_a_snapshot_of_what_has_not_changed_names_the_archive_that_is_there(orchard: Place) -> None:
    first, second, third = orchard.snapshot(), orchard.snapshot(), orchard.snapshot()
    assert [path.name for path in archives(orchard)] == [f"{first}.dump.zst"]
    assert [manifest(orchard, id_)["archive"] for id_ in (first, second, third)] == [None, first, first]
    assert f"unchanged since {first}" in orchard.tenants("nightly").err

    orchard.database.sql("DELETE FROM items WHERE name = 'banana'", url=orchard.url_of("fruits"))
    changed = orchard.snapshot()
    assert manifest(orchard, changed)["archive"] is None and len(archives(orchard)) == 2
    orchard.database.sql("INSERT INTO items VALUES ('banana')", url=orchard.url_of("fruits"))

    done = orchard.tenants("restore", "fruits", third)
    assert done.code == 0, done.said
    assert [row[0] for row in orchard.database.sql("SELECT name FROM fruits.items")][2] == "banana"


@pytest.mark.every_server
def test_what_changes_around_a_tenant_is_no_change_of_it_and_what_looks_alike_is(orchard: Place) -> None:
    url = orchard.url_of("fruits")
    first = orchard.snapshot()
    orchard.fruits("pears")
    orchard.deployed("pears")
    orchard.database.sql("VACUUM pg_db_role_setting")
    for name in ("pears", "fruits"):
        assert orchard.tenants("rotate", name).code == 0
    assert manifest(orchard, orchard.snapshot())["archive"] == first

    for role in ("fruits~deploy~aaaaaa", "fruits~deploy~bbbbbb"):  # rows that look like what is left out
        text = f'GRANT CONNECT ON DATABASE "db.main" TO "{role}"'
        orchard.database.sql("DELETE FROM items WHERE name LIKE 'GRANT%'", url=url)
        orchard.database.sql("INSERT INTO items VALUES (%s)", [text], url=url)
        assert manifest(orchard, orchard.snapshot())["archive"] is None


def test_an_archive_that_is_spoiled_does_not_do_for_the_next_snapshot(orchard: Place) -> None:
    first = orchard.snapshot()
    (archive,) = archives(orchard)
    sound = archive.read_bytes()
    archive.write_bytes(sound[:-20] + bytes(20))
    done = orchard.tenants("snapshot", "fruits", "--json")
    assert done.code == 0 and "is damaged" in done.err and "stored anew" in done.err, done.said
    assert manifest(orchard, done.json["id"])["archive"] is None
    assert orchard.tenants("restore", "fruits", done.json["id"]).code == 0
    assert orchard.tenants("restore", "fruits", first).code == 5


def test_a_manifest_that_claims_to_hold_what_it_does_not_is_not_believed(orchard: Place) -> None:
    empty = orchard.snapshot()
    orchard.database.sql("INSERT INTO items VALUES ('cherry')", url=orchard.url_of("fruits"))
    full = orchard.snapshot()
    lie = manifest(orchard, empty) | {"id": full, "content_sha256": manifest(orchard, full)["content_sha256"]}
    (file,) = orchard.store.rglob(f"{full}.json")
    file.chmod(0o600)
    lies = json.dumps(lie | {"archive": empty})
    file.write_text(lies)
    digest = hashlib.sha256(lies.encode()).hexdigest()
    orchard.database.sql("UPDATE tenants.snapshots SET manifest = %s WHERE id = %s", [digest, full])
    done = orchard.tenants("snapshot", "fruits", "--json")
    assert done.code == 0 and "holds something else" in done.err, done.said
    assert manifest(orchard, done.json["id"])["archive"] is None
    assert manifest(orchard, done.json["id"])["tables"]["fruits.items"]["rows"] == 5


def test_a_manifest_tells_what_is_in_each_table_and_what_the_tenant_was(orchard: Place) -> None:
    assert orchard.tenants("create", "fruits", "--app-role", "--connections", "7").code == 0
    assert orchard.tenants("extension", "fruits", "citext").code == 0
    url = orchard.tenants("login", "fruits", "--owner", "--json").json["url"]
    orchard.database.sql('CREATE TABLE "T ""x"" (y)" (id serial, t text); CREATE TABLE void ()', url=url)
    orchard.database.sql("""INSERT INTO "T ""x"" (y)" (t) VALUES (E'a\\nb\\\\.\\n'), (NULL), ('')""", url=url)
    found = manifest(orchard, orchard.snapshot())
    rows = {name: table["rows"] for name, table in found["tables"].items()}
    assert rows == {
        "fruits.items": 4,
        'fruits."T ""x"" (y)"': 3,
        "fruits.alembic_version": 1,
        "fruits.void": 0,
        "sequences": 1,
    }
    assert found["tables"]["fruits.items"]["bytes"] == len("apple\nanother-apple\nbanana\ncarrot\n")
    assert found["limits"]["connections"] == 7 and found["app_role"] is True and found["extensions"] == ["citext"]
