"""A snapshot for a laptop, and the one that was there at a time."""

from __future__ import annotations

import subprocess
import time
from datetime import UTC, datetime

import pytest
from support import TENANTS, Place
from throwaway_postgres import wheel_binaries


@pytest.fixture
def orchard(place: Place) -> Place:
    place.fruits()
    place.deployed()
    return place


def test_what_is_fetched_restores_with_pg_restore_alone(orchard: Place) -> None:
    id_ = orchard.snapshot()
    done = orchard.tenants("fetch", "fruits", "--json")
    file = orchard.folder / f"fruits-{id_}.dump"
    assert done.json == {"tenant": "fruits", "snapshot": id_, "file": file.name, "bytes": file.stat().st_size}
    assert file.stat().st_mode & 0o077 == 0
    orchard.database.sql("CREATE DATABASE laptop")
    try:
        url = orchard.database.server.url("laptop")
        restore = [str(wheel_binaries() / "pg_restore"), "--no-owner", "--no-privileges", f"--dbname={url}", str(file)]
        subprocess.run(restore, check=True)
        assert orchard.database.sql("SELECT count(*) FROM fruits.items", url=url) == [(4,)]
    finally:
        orchard.database.sql("DROP DATABASE laptop WITH (FORCE)")
    assert orchard.tenants("fetch", "fruits").code == 2, "it overwrites nothing"
    command = [TENANTS, "fetch", "fruits", "--output", "-"]
    piped = subprocess.run(command, env=orchard.environment, cwd=orchard.folder, capture_output=True, check=True)
    assert piped.stdout == file.read_bytes()
    assert orchard.tenants("fetch", "fruits", "--output", "no/such/folder").code == 2
    own = orchard.url_of("fruits")
    assert orchard.tenants("fetch", "fruits", "--output", "own.dump", DATABASE_URL=own).code == 0
    assert orchard.tenants("fetch", "pears", DATABASE_URL=own).code == 2


def test_a_damaged_one_leaves_no_file(orchard: Place) -> None:
    orchard.snapshot()
    (archive,) = orchard.store.rglob("*.zst")
    archive.write_bytes(archive.read_bytes()[:-9])
    before = sorted(orchard.folder.iterdir())
    assert orchard.tenants("fetch", "fruits").code == 5
    assert sorted(orchard.folder.iterdir()) == before


def test_the_snapshot_that_was_there_at_a_time_is_the_one_that_comes_back(orchard: Place) -> None:
    first = orchard.snapshot()
    at = datetime.now(UTC)
    time.sleep(1.1)  # a time is meant to the second
    orchard.database.sql("DELETE FROM items", url=orchard.url_of("fruits"))
    orchard.snapshot()
    done = orchard.tenants("restore", "fruits", "--at", at.isoformat(), "--json")
    assert done.json["snapshot"] == first
    assert orchard.database.sql("SELECT count(*) FROM fruits.items") == [(4,)]
    done = orchard.tenants("restore", "fruits", "--at", "2020-01-01T00:00Z")
    assert done.code == 5 and "no snapshot as old as 2020-01-01" in done.err
    assert orchard.tenants("restore", "fruits", "--at", "yesterday").code == 2
    assert orchard.tenants("restore", "fruits", first, "--at", "2020-01-01").code == 2
