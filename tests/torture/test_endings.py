"""Endings that a kill at random hits too seldom, each brought about on purpose."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support import Bucket, Place, ending, until
from throwaway_postgres import wheel_binaries


@contextmanager
def programs_that_outlive_us() -> Iterator[str]:
    """PATH with a psql that does not die with the one who started it, as on systems that cannot ask for that; and as
    happens on any, for a moment, between the end of its input and the signal."""
    with tempfile.TemporaryDirectory(prefix="tests-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for program in ("pg_dump", "pg_restore", "psql"):
            how = "" if program == "psql" else "exec "
            (folder / program).write_text(f'#!/bin/sh\n{how}"{wheel_binaries() / program}" "$@"\n')
            (folder / program).chmod(0o755)
        yield name


def test_a_restore_whose_input_ends_because_it_was_killed_commits_nothing(place: Place, bucket: Bucket) -> None:
    place.environment.update(bucket.environment)
    place.fruits()
    place.deployed()
    many = (
        "SELECT n, md5(random()::text) || md5(random()::text) || md5(random()::text) FROM generate_series(1, 240000) n"
    )
    place.database.sql(f"CREATE TABLE notes AS {many}", url=place.url_of("fruits"))
    snapshot = place.snapshot()
    place.database.sql("INSERT INTO fruits.items VALUES ('date')")
    before = place.database.dump("fruits")
    bucket.switches.misbehave(operation="GetObject", key=f"{snapshot}.dump", skip=1, seconds=10)
    waits = (
        "SELECT 1 FROM pg_stat_activity WHERE application_name = 'tenants psql' AND query LIKE 'COPY %'"
        " AND wait_event = 'ClientRead'"
    )
    with programs_that_outlive_us() as folder:
        path = f"{folder}:{place.environment['PATH']}"
        with ending(place.start("restore", "fruits", snapshot, PATH=path)) as restoring:
            until(lambda: place.database.sql(waits) or restoring.poll() is not None, "psql waits for its input")
            assert restoring.poll() is None, restoring.communicate()
            restoring.kill()
            restoring.wait()
    gone = "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'tenants%'"
    until(lambda: place.database.sql(gone) == [], "its sessions end")
    assert place.database.dump("fruits") == before
    bucket.switches.behave()
    assert place.tenants("restore", "fruits", snapshot).code == 0
    place.nothing_left()
