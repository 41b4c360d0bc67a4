"""How much memory and disk a snapshot and a restore of a large schema take.

    python -m benchmarks.memory --gigabytes 5

A tenant is filled with rows that do not compress well, snapshotted into an S3 over HTTP, changed, and restored, which
takes a snapshot of what was there as well. PostgreSQL and the S3 are processes of their own and not counted: counted
is the command with all that it starts. Needs Linux, and room on the disk for six times the size.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from support import Bucket, Place, ending, fresh_database
from throwaway_postgres import throwaway_postgres

from benchmarks import app, objects, observation, process_tree
from benchmarks.app import MB
from benchmarks.process_tree import Taken


def run(place: Place, *arguments: str) -> Taken:
    with ending(place.start(*arguments)) as process:
        taken = process_tree.watch(process)
        assert process.returncode == 0 and process.stderr, process.stderr and process.stderr.read()
    return taken


def show(rows: dict[str, Taken], size: int) -> None:
    print(f"\nA schema of {size / MB:,.0f} MB.\n")
    head = ["command", "seconds", "peak of memory (PSS)", "sum of RSS", "bytes written to disk", "largest file on disk"]
    observation.table(head, [_row(name, taken) for name, taken in rows.items()])
    for name, t in rows.items():
        parts = ", ".join(f"{part} {size / MB:.0f}" for part, size in sorted(t.parts.items(), key=lambda x: -x[1]))
        print(f"\n`{name}` at its peak, in MB of PSS: {parts}.")
        for file, largest in sorted(t.files.items()):
            print(f"Open for writing: {file}, at most {largest:,} bytes.")


def _row(name: str, taken: Taken) -> list[str]:
    largest = max(taken.files.values(), default=0)
    return [
        f"`{name}`",
        f"{taken.seconds:.0f}",
        f"{taken.pss / MB:.0f} MB",
        f"{taken.rss / MB:.0f} MB",
        f"{taken.written:,}",
        f"{largest:,}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=0.1)
    size = round(parser.parse_args().gigabytes * 1000 * MB)
    rows = {}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder, kept = Path(name), Path(name) / "objects"
        for path in (kept, folder / "server", folder / "place"):
            path.mkdir()
        settings = ["shared_buffers=128MB", "max_wal_size=2GB"]
        with (
            throwaway_postgres(folder / "server", more=settings) as server,
            fresh_database(server) as database,
            objects.running(kept) as endpoint,
        ):
            place = Place(folder / "place", database)
            place.environment |= Bucket.create(endpoint, "benchmark").environment
            done = place.tenants("create", "large", "--size", "1TB", "--json")
            assert done.code == 0, done.said
            rows["tenants snapshot, nothing in it"] = run(place, "snapshot", "large")
            size = app.fill(done.json["url"], "large", size)
            rows["tenants snapshot"] = run(place, "snapshot", "large")
            database.sql("UPDATE notes SET body = 'another' WHERE id = 1", url=done.json["url"])
            rows["tenants restore"] = run(place, "restore", "large")
    show(rows, size)


if __name__ == "__main__":
    main()
