"""How long an app waits while its data is restored under it, and what it is told.

    python -m benchmarks.restore_latency --megabytes 200 --times 3

Three ways, one after the other, on the same PostgreSQL and with the same rows: `tenants restore` of one tenant from an
S3 over HTTP, and `pg_restore -cO` of a whole database as superuser from a file, without and with one transaction around
it. The server flushes what it commits to the disk, as one that is in earnest does; with `--no-flush` it does not, and
what is left are the waits that have nothing to do with the disk. Of several runs the worst is shown.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from support import Bucket, Database, Place, fresh_database
from throwaway_postgres import PASSWORD, Server, throwaway_postgres, wheel_binaries

from benchmarks import app, objects, observation
from benchmarks.observation import Seen

SETTINGS = ["autovacuum=on", "log_statement=none", "shared_buffers=256MB", "max_wal_size=2GB", "min_wal_size=1GB"]
LATER = "UPDATE state SET marker = 'later'"


def observe(database: Database, url: str, restore: Callable[[], int], calm: float) -> Seen[int]:
    """`restore` says how many errors it met."""
    database.sql(LATER, url=url)
    database.sql("CHECKPOINT")  # what was written before is not to be waited for
    return observation.observe(app.running(url), restore, calm)


class Tenant:
    """Ours."""

    def __init__(self, place: Place, size: int) -> None:
        self.place = place
        done = place.tenants("create", "fruits", "--json")
        assert done.code == 0, done.said
        self.url = str(done.json["url"])
        self.size = app.fill(self.url, "fruits", size)
        taken = place.tenants("snapshot", "fruits", "--json")
        assert taken.code == 0, taken.said
        self.snapshot = str(taken.json["id"])

    def restore(self, *, calm: float) -> Seen[int]:
        def restore() -> int:
            done = self.place.tenants("restore", "fruits", self.snapshot)
            assert done.code == 0, done.said
            return 0

        return observe(self.place.database, self.url, restore, calm)


class Whole:
    """A database of an app's own, as dokku-postgres makes one; the app is its superuser. It is made anew for each
    restore, since one under a running app may leave it without its constraints."""

    def __init__(self, database: Database, server: Server, folder: Path, size: int) -> None:
        self.database, self.url, self.backup = database, server.url("fruits"), folder / "backup"
        database.sql("CREATE DATABASE fruits")
        app.fill(self.url, "public", size)
        self._run("pg_dump", "-Fc", "--no-acl", "--no-owner", f"--file={self.backup}")

    def restore(self, *options: str, calm: float) -> Seen[int]:
        self.database.sql("DROP DATABASE fruits")
        self.database.sql("CREATE DATABASE fruits")
        self._run("pg_restore", str(self.backup))
        command = ["pg_restore", "-cO", *options, str(self.backup)]
        return observe(self.database, self.url, lambda: self._run(*command), calm)

    def _run(self, program: str, *arguments: str) -> int:
        """How many errors it told of."""
        command = [str(wheel_binaries() / program), f"--dbname={self.url}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env={"PGPASSWORD": PASSWORD}, check=False)
        return done.stderr.count("error: ")


def show(rows: dict[str, list[Seen[int]]], size: int) -> None:
    [ours, *_] = (max(seen.longest for seen in found) for found in rows.values())
    times = len(next(iter(rows.values())))
    print(f"\n{size / app.MB:,.0f} MB, {times} times each way; the worst of them.\n")
    head = [
        "",
        "takes",
        "statements/s",
        "longest wait",
        "of ours",
        "of reads",
        "999 of 1000 within",
        "longest wait before",
    ]
    head += ["statements failed", "wrong answers", "errors of the restore", "first restored row seen after"]
    lines = []
    for name, found in rows.items():
        longest = max(seen.longest for seen in found)
        saw = [seen.account.restored_at - seen.began for seen in found if seen.account.restored_at]
        cells = [
            f"`{name}`",
            f"{max(seen.ended - seen.began for seen in found):.1f} s",
            f"{min(seen.rate for seen in found):.0f}",
            f"{longest * 1000:,.0f} ms",
            f"{longest / ours:,.1f} ×",
            f"{max(seen.longest_read for seen in found) * 1000:,.0f} ms",
            f"{max(seen.slow for seen in found) * 1000:,.0f} ms",
            f"{max(seen.calm for seen in found) * 1000:,.0f} ms",
            f"{max(seen.account.failed.total() for seen in found):,}",
            f"{max(seen.account.wrong for seen in found):,}",
            f"{max(seen.answer for seen in found):,}",
            f"{max(saw):.1f} s" if saw else "never",
        ]
        lines.append(cells)
    observation.table(head, lines)
    for name, found in rows.items():
        for seen in found:
            print(f"\n`{name}`: {seen.story}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=50)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--calm", type=float, default=2, help="seconds before a restore, and after it")
    parser.add_argument("--no-flush", action="store_true", help="the server leaves it to the system when to write")
    wanted = parser.parse_args()
    size = round(wanted.megabytes * app.MB)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        for path in ("server", "objects", "place"):
            (folder / path).mkdir()
        server = stack.enter_context(
            throwaway_postgres(folder / "server", more=[*SETTINGS, f"fsync={'off' if wanted.no_flush else 'on'}"])
        )
        database = stack.enter_context(fresh_database(server))
        bucket = Bucket.create(stack.enter_context(objects.running(folder / "objects")), "benchmark")
        place = Place(folder / "place", database)
        place.environment |= bucket.environment
        tenant, whole = Tenant(place, size), Whole(database, server, folder, size)
        ways: dict[str, Callable[..., Seen[int]]] = {
            "tenants restore": tenant.restore,
            "pg_restore -cO": whole.restore,
            "pg_restore -cO -1": partial(whole.restore, "-1"),
        }
        rows = {name: [restore(calm=wanted.calm) for _ in range(wanted.times)] for name, restore in ways.items()}
        show(rows, tenant.size)


if __name__ == "__main__":
    main()
