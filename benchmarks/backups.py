"""Backups and restores of one large schema, beside what people do today with the same client programs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any

from support import Bucket
from throwaway_postgres import PASSWORD, wheel_binaries

from benchmarks import app, town
from benchmarks.town import Project, call
from benchmarks.turns import Bench, Row, in_turn, timed

TABLES = """
CREATE TABLE orders (id bigint, customer int, placed timestamptz, status text, amount numeric(10, 2), token uuid,
    note text, details jsonb);
CREATE TABLE latest (id bigint);
INSERT INTO latest VALUES (1)
"""
ROWS = """
WITH words AS (SELECT regexp_split_to_array('the of and to in for on with as by at from that this it was is be not or an
    are his but had have her which you they were all their one we there been if more when will would who so no out up
    into than them can only other time new some could these two may first then do any like my now over such our man me
    even most made after also did many', '[[:space:]]+') AS w)
INSERT INTO orders
SELECT n, n * 7919 %% 50000, timestamptz '2024-01-01' + n * interval '37 s',
    (ARRAY['new', 'paid', 'sent', 'done'])[n %% 4 + 1], n * 104729 %% 100000 / 100.0, md5(n::text)::uuid,
    concat_ws(' ', w[1 + h %% 89], w[1 + h / 89 %% 89], w[1 + h / 7921 %% 89], w[1 + h %% 83], w[1 + h / 83 %% 83],
        w[1 + h / 6889 %% 83], w[1 + h %% 79], w[1 + h / 79 %% 79]),
    jsonb_build_object('items', n %% 7 + 1, 'from', w[1 + h %% 71], 'weight', h %% 5000)
FROM generate_series(%s::bigint, %s::bigint) n, words, LATERAL (SELECT abs(hashint8(n)::bigint)::int AS h) hashed
"""
KEYS = """
ALTER TABLE orders ADD PRIMARY KEY (id);
CREATE INDEX orders_customer ON orders (customer, placed)
"""
STEP = 100_000


class Kept:
    """A tenant that holds something, and a bucket for it."""

    def __init__(self, bench: Bench, project: Project) -> None:
        self.project, self.folder = project, bench.folder
        self.bucket = Bucket.create(bench.endpoint, project.prefix)
        self.tenant = f"{project.prefix}-1"
        self.url = project.login(self.tenant)
        self.client = self.bucket.client()
        project.environment |= self.bucket.environment
        self.number = 0

    def sql(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        return self.project.database.sql(statement, parameters, url=self.url)

    def program(self, name: str, *arguments: str) -> None:
        call([str(wheel_binaries() / name), *arguments, self.project.database.url], self.folder, PGPASSWORD=PASSWORD)

    def upload(self, file: str) -> None:
        self.number += 1
        self.client.upload_file(file, self.bucket.name, f"theirs/{self.number}")


def fill(here: Kept, size: int) -> None:
    """Rows such as a shop has, of some 200 bytes, until the table is as large; then its indexes."""
    here.sql(TABLES)
    done = 0
    while here.sql("SELECT pg_table_size('orders')")[0][0] < size:
        here.sql(ROWS, [done + 1, done + STEP])
        done += STEP
    here.sql(KEYS)


@contextmanager
def kept(bench: Bench, name: str) -> Iterator[Kept]:
    with town.project(bench.server, bench.folder, name) as project:
        project.settle(1, migrated=False)
        made = Kept(bench, project)
        fill(made, round(bench.wanted.megabytes * app.MB))
        yield made


def backups(bench: Bench) -> Iterator[Row]:
    file, sent = bench.folder / "export", list[float]()
    with kept(bench, "kept") as here:

        def ours() -> None:
            here.sql("UPDATE latest SET id = id + 1")
            began = time.time()
            here.project.does("snapshot", here.tenant)
            archives = (bench.folder.parent / "objects" / here.bucket.name).rglob("*.dump.*")
            sent.append(max(path.stat().st_mtime for path in archives) - began)

        def dokku() -> None:
            """As dokku-postgres does: into a file, tar and gzip, upload."""
            here.program("pg_dump", "-Fc", "--no-acl", "--no-owner", f"--file={file}")
            call(["tar", "-czf", f"{file}.tgz", "-C", str(file.parent), file.name], here.folder)
            here.upload(f"{file}.tgz")

        def piped() -> None:
            dump = f"'{wheel_binaries()}/pg_dump' --no-owner '{here.project.database.url}' | gzip > '{file}.gz'"
            call(["sh", "-c", dump], here.folder, PGPASSWORD=PASSWORD)
            here.upload(f"{file}.gz")

        def bare() -> None:
            here.program("pg_dump", "-Fc", "-Z0", "--no-sync", "--file=/dev/null")

        mine, theirs, pipe, dump = in_turn(bench.wanted.times, ours, dokku, piped, bare)
    what = f"snapshot of {bench.wanted.megabytes:g} MB to S3, read back and looked through"
    yield Row(what, "`pg_dump -Fc`, tar, gzip, upload", mine, theirs, "0.22 ×")
    yield Row(what, "`pg_dump`, gzip, upload", mine, pipe, "–")
    yield Row("the same until it is there, and not yet read back", "`pg_dump -Fc -Z0`", median(sent[1:]), dump, "1.9 ×")


def restores(bench: Bench) -> Iterator[Row]:
    """All tables are lost. Ours come from the bucket, into the schema of an app that may be running."""
    file, ours, theirs = bench.folder / "local", list[float](), list[float]()
    with kept(bench, "lost") as here:
        done = here.project.run("snapshot", here.tenant, "--json")
        id_ = json.loads(done.out)["id"]
        here.program("pg_dump", "-Fc", f"--schema={here.tenant}", f"--file={file}")

        def pg_restore() -> None:
            command = [str(wheel_binaries() / "pg_restore"), "-j1", f"--schema={here.tenant}"]
            call([*command, f"--dbname={here.project.database.url}", str(file)], here.folder, PGPASSWORD=PASSWORD)

        for _ in range(bench.wanted.times + 1):
            here.sql("DROP TABLE orders, latest")
            ours.append(timed(here.project.does, "restore", here.tenant, id_))
            here.sql("DROP TABLE orders, latest")
            theirs.append(timed(pg_restore))
    what = f"restore of {bench.wanted.megabytes:g} MB from S3"
    yield Row(what, "`pg_restore -j1` of a local file", median(ours[1:]), median(theirs[1:]), "1.1 ×")
