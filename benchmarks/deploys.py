"""What a push costs beside what people do today: nothing pending, one revision, many tenants, a backup.

    python -m benchmarks.deploys --times 5 --tenants 200

Each thing is done in both ways, in turn, several times, on the same server; shown are medians, and their ratio. Where a
way is sampled (a shell loop over hundreds of schemas) a few are timed, and the rest is taken to be like them.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from support import Bucket
from throwaway_postgres import throwaway_postgres

from benchmarks import backups, objects, observation, town
from benchmarks.town import COLUMN, TABLE, Project
from benchmarks.turns import Bench, Row, Wanted, Way, in_turn, timed

DBMATE = shutil.which("dbmate")
"""Where it is to be had: `go install github.com/amacneil/dbmate/v2@latest`."""
MARK, END = "<!-- written by benchmarks.deploys -->", "<!-- until here -->"
SETTINGS = ["autovacuum=on", "log_statement=none", "shared_buffers=256MB", "max_wal_size=2GB", "min_wal_size=1GB"]
SETTINGS += ["fsync=on", "max_connections=100"]


@dataclass(frozen=True)
class Deploys(Bench):
    """What a push costs, and the commands that look at all tenants."""

    @contextmanager
    def settled(self, name: str, revisions: int, tenants: int) -> Iterator[Project]:
        with town.project(self.server, self.folder, name) as made:
            made.write(revisions, TABLE)
            made.settle(tenants)
            yield made

    def nothing_pending(self) -> Iterator[Row]:
        many, large = self.wanted.tenants, self.wanted.tenants * 5
        with (
            self.settled("one", 1, 1) as one,
            self.settled("fifty", self.wanted.revisions, 1) as fifty,
            self.settled("long", self.wanted.revisions * 10, 1) as long,
            self.settled("many", self.wanted.revisions, many) as town_,
            self.settled("large", self.wanted.revisions, large) as city,
        ):
            url = fifty.login("fifty-1")
            projects = [one, fifty, long, town_, city]
            ways: list[Way] = [lambda p=p: p.does("deploy") for p in projects]  # type: ignore[misc]
            ways.append(lambda: fifty.alembic(url))
            if DBMATE:
                fifty.write_for_dbmate(self.wanted.revisions)
                fifty.database.sql("CREATE SCHEMA dbmate")
                ways.append(lambda: fifty.dbmate(DBMATE, "dbmate"))
            got = in_turn(self.wanted.times, *ways)
            for project in projects:
                said = project.run("deploy").err
                assert "up to date" in said and "pending" not in said, "there was something to do"
        first, plain, lengthy, several, all_, alembic, *dbmate = got
        count = self.wanted.revisions
        yield Row(f"nothing pending, {count} revisions", "`alembic upgrade head`", plain, alembic, "0.30 ×")
        for took in dbmate:
            yield Row(f"nothing pending, {count} revisions", "`dbmate up`", plain, took, "–")
        yield Row(f"nothing pending, {count * 10} revisions", "ours with 1", lengthy, first, "1.15 ×")
        yield Row(f"nothing pending, {many:,} tenants", "ours for 1", several, plain, "1.3 ×")
        yield Row(f"nothing pending, {large:,} tenants", "ours for 1", all_, plain, "2 ×")

    def fleets(self) -> Iterator[Row]:
        """All databases stay until the end: ext4 takes longer to make a file where many were removed just now."""
        many, sample = self.wanted.tenants, self.wanted.sample
        ours, psql, columns, loop, dbmate = [], [], [], [], []
        api: dict[int, list[float]] = {1: [], 2: []}
        api_columns: dict[int, list[float]] = {1: [], 2: []}
        with ExitStack() as stack:

            def made(name: str, tenants: int) -> Project:
                one = stack.enter_context(town.project(self.server, self.folder, name))
                one.write(20, TABLE)
                one.settle(tenants, migrated=False)
                return one

            for n in range(self.wanted.times):
                one, other = (made(f"{name}{n}", many) for name in ("ours", "psql"))
                ours.append(timed(one.does, "deploy", "--no-snapshot"))
                psql.append(timed(other.psql, other.same_sql(other.tenants_)))
                one.write(19, COLUMN)
                loop.append(sum(timed(one.alembic, one.url_as(name)) for name in one.tenants_[:sample]) / sample * many)
                columns.append(timed(one.does, "deploy", "--no-snapshot") / (many - sample) * many)
                for at_once in api:
                    third = made(f"api{n}-{at_once}", many)
                    api[at_once].append(timed(third.alembic_loops, third.tenants_, at_once))
                    third.write(19, COLUMN)
                    api_columns[at_once].append(timed(third.alembic_loops, third.tenants_, at_once))
                if DBMATE:
                    fourth = made(f"mate{n}", sample)
                    fourth.write_for_dbmate(20)
                    dbmate.append(sum(timed(fourth.dbmate, DBMATE, name) for name in fourth.tenants_) / sample * many)
        what = f"20 revisions, a table and an index each, on {many} tenants, no snapshots"
        yield Row(what, "psql with the same SQL", median(ours), median(psql), "1.25 ×")
        yield Row(what, "Alembic's API in a loop", median(ours), median(api[1]), "–")
        yield Row(what, "the same in two processes", median(ours), median(api[2]), "–")
        if dbmate:
            yield Row(what, f"shell loop of `dbmate` ({sample} sampled)", median(ours), median(dbmate), "–")
        what = f"19 ADD COLUMN on {many} tenants, no snapshots"
        yield Row(what, f"shell loop of `alembic` ({sample} sampled)", median(columns), median(loop), "0.05 ×")
        yield Row(what, "Alembic's API in a loop", median(columns), median(api_columns[1]), "–")
        yield Row(what, "the same in two processes", median(columns), median(api_columns[2]), "–")

    def one_revision(self) -> Iterator[Row]:
        """Each run has its own revision: it cannot be run twice."""
        ours, theirs = [], []
        with (
            town.project(self.server, self.folder, "push") as push,
            town.project(self.server, self.folder, "plain") as plain,
        ):
            for one in (push, plain):
                one.write(1, TABLE)
                one.settle(1, migrated=False)
                one.does("deploy")
            push.environment |= Bucket.create(self.endpoint, "push").environment
            url = plain.login("plain-1")
            for _ in range(self.wanted.times + 1):
                for one in (push, plain):
                    one.write(1, COLUMN)
                ours.append(timed(push.does, "deploy"))
                theirs.append(timed(plain.alembic, url))
        what = "one small revision: snapshot to S3, rehearsal, migration"
        yield Row(what, "`alembic upgrade head` alone", median(ours[1:]), median(theirs[1:]), "3 ×")

    def commands(self) -> Iterator[Row]:
        few, many = self.wanted.tenants // 2, self.wanted.tenants * 5
        with self.settled("few", 1, few) as small, self.settled("hundreds", 1, many) as large:
            for name, arguments in {"list": ["list"], "status": ["status"], "audit": ["audit", "--json"]}.items():
                ways: list[Way] = [lambda p=p, a=arguments: p.run(*a) for p in (small, large)]  # type: ignore[misc]
                less, more = in_turn(self.wanted.times, *ways)
                yield Row(f"`tenants {name}`, {many:,} tenants", f"ours for {few:,}", more, less, "12 ×")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--tenants", type=int, default=200)
    parser.add_argument("--sample", type=int, default=5, help="tenants that a shell loop is timed for")
    parser.add_argument("--revisions", type=int, default=50)
    parser.add_argument("--megabytes", type=float, default=20)
    parser.add_argument("--only", action="append", choices=PARTS, metavar="PART")
    parser.add_argument("--write", type=Path, metavar="FILE", help="where the table goes as well, between its marks")
    wanted = parser.parse_args()
    sizes = Wanted(wanted.times, wanted.tenants, wanted.sample, wanted.revisions, wanted.megabytes)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        for path in ("server", "objects", "work"):
            (folder / path).mkdir()
        server = stack.enter_context(throwaway_postgres(folder / "server", more=SETTINGS))
        endpoint = stack.enter_context(objects.running(folder / "objects"))
        bench, rows = Deploys(server, folder / "work", endpoint, sizes), list[Row]()
        for part in wanted.only or PARTS:
            rows += PARTS[part](bench)
    model = next((x.partition(": ")[2] for x in _cpu() if x.startswith("model name")), platform.machine())
    head = ["what", "`tenants`", "beside", "takes", "ratio", "wanted, at most"]
    told = f"""\
{os.cpu_count()} × {model}, Linux {platform.release()}, Python {platform.python_version()}, PostgreSQL
of the wheel; medians of {sizes.times}; load {os.getloadavg()[0]:.1f} at the end.

{observation.as_table(head, [row.cells for row in rows])}
"""
    print(told)
    if wanted.write:
        before, mark, rest = wanted.write.read_text().partition(MARK)
        _, end, after = rest.partition(END)
        assert end, f"{wanted.write} has no place for it: {MARK} … {END}"
        wanted.write.write_text(f"{before}{mark}\n{told}{end}{after}")


def _cpu() -> list[str]:
    file = Path("/proc/cpuinfo")
    return file.read_text().splitlines() if file.exists() else []


PARTS: dict[str, Callable[[Deploys], Iterator[Row]]] = {
    "one_revision": Deploys.one_revision,
    "nothing_pending": Deploys.nothing_pending,
    "commands": Deploys.commands,
    "backups": backups.backups,
    "restores": backups.restores,
    "fleets": Deploys.fleets,  # last: see there
}

if __name__ == "__main__":
    main()
