"""How long an app stalls while the tables that it lives on are migrated.

    python -m benchmarks.stalls --rows 300000 --times 2

For each kind of revision, in turn: `tenants deploy` with the admin's URL, snapshot and rehearsal included, and plain
`alembic upgrade head` with the tenant's own, on the same rows; and both again while somebody reads for long: a
transaction, as that of a report or a backup, that has read the tables before and ends some seconds after the migration
has come. The server flushes what it commits to the disk, as one that is in earnest does.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psycopg
from support import REPOSITORY, Done, Place, ending, fresh_database
from throwaway_postgres import throwaway_postgres

from benchmarks import app, observation
from benchmarks.observation import Seen
from benchmarks.shop import FIRST, KINDS, PAUSE, TABLES, Kind, Shop

SETTINGS = ["autovacuum=on", "log_statement=none", "shared_buffers=256MB", "max_wal_size=2GB", "min_wal_size=1GB"]
SETTINGS += ["fsync=on"]
ALEMBIC = str(Path(sys.executable).parent / "alembic")
PLAIN = "plain alembic"
"""What its session calls itself; that of a deploy says that it migrates."""
MIGRATING = """
SELECT FROM pg_stat_activity
WHERE datname = current_database() AND application_name IN ('tenants migrates fruits', %s)
"""
LONGEST = 1800.0
"""Seconds after which a command that hangs is given up."""


@dataclass(frozen=True)
class Outcome:
    """What a migration says of itself."""

    gave_up: bool
    """Because a lock was not to be had; the schema is as it was."""
    pauses: int
    """How often it let go of all locks and tried again later, before it succeeded."""
    foretold: str
    """By the rehearsal, in its words; empty if it had none."""


Found = dict[tuple[str, bool], list[Seen[Outcome]]]
"""The way and whether somebody reads for long; the runs."""


class Tenant:
    def __init__(self, place: Place, rows: int) -> None:
        self.place = place
        shutil.copy(REPOSITORY / "pyproject.toml", place.folder)
        shutil.copy(REPOSITORY / "migrations" / "env.py", place.migrations)
        place.revision("fruits", FIRST, f"op.execute({TABLES!r})")
        place.deployed()
        self.shop = Shop(place.url_of("fruits"), rows)
        self.ways: dict[str, Callable[[], Done]] = {"deploy": self._deploy, "alembic": self._alembic}

    def migrate(self, kind: Kind, way: str, reader: float, calm: float) -> Seen[Outcome]:
        """Run a revision of that kind under the app; `reader` is how long somebody else reads on, 0: nobody does."""
        for file in (self.place.migrations / "fruits").glob("0002_*.py"):
            file.unlink()
        step = self.place.revision("fruits", "0002", kind.body, FIRST, kind.slug).name
        self.shop.reset()
        self.place.database.sql("CHECKPOINT")  # what was written before is not to be waited for

        def deed() -> Outcome:
            with self._reading(reader):
                return self._outcome(self.ways[way](), step)

        return observation.observe(app.running(self.shop.url, self.shop.round, PAUSE), deed, calm)

    def _deploy(self) -> Done:
        with ending(self.place.start("deploy", "fruits", TENANTS_REHEARSAL=None)) as process:
            out, err = process.communicate(timeout=LONGEST)
        return Done(process.returncode, out, err)

    def _alembic(self) -> Done:
        environment = {"PATH": self.place.environment["PATH"], "DATABASE_URL": self.shop.url, "PGAPPNAME": PLAIN}
        done = subprocess.run(
            [ALEMBIC, "upgrade", "head"],
            cwd=self.place.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=LONGEST,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def _outcome(self, done: Done, step: str) -> Outcome:
        assert done.code == 0 or "lock timeout" in done.said, done.said
        told = [line.split(maxsplit=2)[2] for line in done.err.splitlines() if line.startswith("fruits   rehearse ")]
        tried = re.search(r"after (\d+) pauses? for locks", done.err)
        return Outcome(
            gave_up=done.code != 0,
            pauses=int(tried[1]) if tried else 0,
            foretold="; ".join(line.removeprefix(f"{step}: ") for line in told if " passed on a copy" not in line),
        )

    @contextmanager
    def _reading(self, seconds: float) -> Iterator[None]:
        """A transaction with one snapshot reads all tables, and is open until `seconds` after a migration has begun in
        this database, or until the block ends."""
        if not seconds:
            yield
            return
        over = threading.Event()
        with psycopg.connect(self.shop.url) as reader, psycopg.connect(self.place.database.url, autocommit=True) as eye:
            reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            for table in ("settings", "customers", "orders"):
                reader.execute(f"SELECT count(*) FROM {table}")

            def read_on() -> None:
                while not over.wait(0.02):
                    if eye.execute(MIGRATING, [PLAIN]).rowcount:
                        break
                over.wait(seconds)
                reader.rollback()

            thread = threading.Thread(target=read_on)
            thread.start()
            try:
                yield
            finally:
                over.set()
                thread.join()


def show(found: dict[Kind, Found], rows: int, times: int, reader: float) -> None:
    every = [seen for one in found.values() for runs in one.values() for seen in runs]
    calm, rate = max(seen.calm for seen in every), median(seen.rate for seen in every)
    print(f"\n{rows:,} rows; {times} times each way; the long reader reads on for {reader:g} s.")
    print(f"Longest wait of any statement, in ms, {'median / worst' if times > 1 else 'of one run'}.", end=" ")
    print(f"Before: {calm * 1000:,.0f} ms at worst. The app did {rate:.0f} transactions a second (median).\n")
    head = ["revision", "deploy", "alembic", "deploy, long reader", "alembic, long reader"]
    head += ["requests failed: deploy, alembic", "a deploy takes, with the reader", "outcome", "foretold"]
    observation.table(head, [_row(kind, one) for kind, one in found.items()])
    for kind, one in found.items():
        for (way, read), runs in one.items():
            for seen in runs:
                print(f"\n{kind.name}, {way}{', long reader' if read else ''}: {seen.story}")


def _row(kind: Kind, found: Found) -> list[str]:
    def failed(way: str) -> str:
        return str(sum(seen.account.failed.total() for (w, _), runs in found.items() for seen in runs if w == way))

    takes = [max(seen.ended - seen.began for seen in found["deploy", read]) for read in (False, True)]
    return [
        kind.name,
        *(_longest(found[way, read]) for read in (False, True) for way in ("deploy", "alembic")),
        f"{failed('deploy')}, {failed('alembic')}",
        ", ".join(f"{seconds:.1f} s" for seconds in takes),
        "; ".join(filter(None, (_outcome(*one) for one in found.items()))) or "done",
        found["deploy", False][0].answer.foretold or "–",
    ]


def _longest(runs: Sequence[Seen[Outcome]]) -> str:
    took = [seen.longest * 1000 for seen in runs]
    both = [max(took)] if len(took) == 1 else [median(took), max(took)]
    return " / ".join(f"{one:,.0f}" for one in both)


def _outcome(how: tuple[str, bool], runs: Sequence[Seen[Outcome]]) -> str:
    """What is worth saying of it: that it gave up, or that it had to try again."""
    name = how[0] + (", long reader" if how[1] else "")
    gave_up, pauses = sum(seen.answer.gave_up for seen in runs), max(seen.answer.pauses for seen in runs)
    if gave_up:
        return f"{name}: gave up {gave_up} of {len(runs)}"
    return f"{name}: pauses {pauses}" if pauses else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=30_000, help="of the large table")
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--reader", type=float, default=5, help="seconds that the long reader reads on")
    parser.add_argument("--calm", type=float, default=1, help="seconds before a migration, and after it")
    parser.add_argument("--only", action="append", choices=[kind.name for kind in KINDS], metavar="REVISION")
    wanted = parser.parse_args()
    kinds = [kind for kind in KINDS if not wanted.only or kind.name in wanted.only]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        for path in ("server", "place"):
            (folder / path).mkdir()
        server = stack.enter_context(throwaway_postgres(folder / "server", more=SETTINGS))
        tenant = Tenant(Place(folder / "place", stack.enter_context(fresh_database(server))), wanted.rows)
        found: dict[Kind, Found] = {
            kind: {(way, read): [] for read in (False, True) for way in tenant.ways} for kind in kinds
        }
        for _ in range(wanted.times):
            for kind, one in found.items():
                for (way, read), runs in one.items():
                    runs.append(tenant.migrate(kind, way, wanted.reader if read else 0, wanted.calm))
                print(kind.name, _row(kind, one)[1:5], file=sys.stderr, flush=True)
        show(found, wanted.rows, wanted.times, wanted.reader)


if __name__ == "__main__":
    main()
