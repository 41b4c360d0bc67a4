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
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from support import Bucket, Database, Place, fresh_database
from throwaway_postgres import PASSWORD, Server, throwaway_postgres, wheel_binaries

from benchmarks import app, objects

SETTINGS = ["autovacuum=on", "log_statement=none", "shared_buffers=256MB", "max_wal_size=2GB", "min_wal_size=1GB"]
LATER = "UPDATE state SET marker = 'later'"


@dataclass
class Seen:
    """One restore, as the app saw it."""

    account: app.Account
    errors: int
    """Of the restore itself."""
    began: float
    ended: float
    stopped: float

    @property
    def rate(self) -> float:
        return len(self.account.since(self.began)) / (self.stopped - self.began)

    @property
    def longest(self) -> float:
        return max(took for _, took, _ in self.account.since(self.began))

    @property
    def longest_read(self) -> float:
        return max(took for _, took, what in self.account.since(self.began) if what.startswith("SELECT"))

    @property
    def calm(self) -> float:
        """The longest wait before it."""
        return max(took for at, took, _ in self.account.waits if at + took < self.began)

    @property
    def slow(self) -> float:
        """So long or less waited 999 of 1000."""
        took = sorted(took for _, took, _ in self.account.since(self.began))
        return took[len(took) * 999 // 1000]


def observe(database: Database, url: str, restore: Callable[[], int], calm: float) -> Seen:
    """The app lives for `calm` seconds before the restore, and after it. `restore` says how many errors it met."""
    database.sql(LATER, url=url)
    database.sql("CHECKPOINT")  # what was written before is not to be waited for
    with app.running(url) as account:
        time.sleep(calm)
        began = time.monotonic()
        errors = restore()
        ended = time.monotonic()
        time.sleep(calm)
    return Seen(account, errors, began, ended, time.monotonic())


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

    def restore(self, *, calm: float) -> Seen:
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

    def restore(self, *options: str, calm: float) -> Seen:
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


def show(rows: dict[str, list[Seen]], size: int) -> None:
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
    print("| " + " | ".join(head) + " |")
    print("|---|" + "---:|" * (len(head) - 1))
    for name, found in rows.items():
        longest = max(seen.longest for seen in found)
        saw = [seen.account.restored_at - seen.began for seen in found if seen.account.restored_at]
        cells = [
            f"{max(seen.ended - seen.began for seen in found):.1f} s",
            f"{min(seen.rate for seen in found):.0f}",
            f"{longest * 1000:,.0f} ms",
            f"{longest / ours:,.1f} ×",
            f"{max(seen.longest_read for seen in found) * 1000:,.0f} ms",
            f"{max(seen.slow for seen in found) * 1000:,.0f} ms",
            f"{max(seen.calm for seen in found) * 1000:,.0f} ms",
            f"{max(seen.account.failed.total() for seen in found):,}",
            f"{max(seen.account.wrong for seen in found):,}",
            f"{max(seen.errors for seen in found):,}",
            f"{max(saw):.1f} s" if saw else "never",
        ]
        print(f"| `{name}` | " + " | ".join(cells) + " |")
    for name, found in rows.items():
        for seen in found:
            at, took, statement = max(seen.account.since(seen.began), key=lambda wait: wait[1])
            why = ", ".join(f"{count} × {kind}" for kind, count in seen.account.failed.items()) or "none failed"
            print(f"\n`{name}`: {why}, {seen.account.wrong} wrong; the longest, {took * 1000:.0f} ms,", end=" ")
            print(f"{at - seen.began:.2f} s after it began, was {statement}.")


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
        ways: dict[str, Callable[..., Seen]] = {
            "tenants restore": tenant.restore,
            "pg_restore -cO": whole.restore,
            "pg_restore -cO -1": partial(whole.restore, "-1"),
        }
        rows = {name: [restore(calm=wanted.calm) for _ in range(wanted.times)] for name, restore in ways.items()}
        show(rows, tenant.size)


if __name__ == "__main__":
    main()
