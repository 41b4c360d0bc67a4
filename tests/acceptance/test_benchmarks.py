"""The benchmarks run, and print what they are for. What they measure is not looked at: docs/performance.md is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support import REPOSITORY

from benchmarks.deploys import END, MARK

ROWS = {
    "memory": (["--gigabytes", "0.004"], {"tenants snapshot, nothing in it", "tenants snapshot", "tenants restore"}),
    "restore_latency": (
        ["--megabytes", "4", "--calm", "0.3"],
        {"tenants restore", "pg_restore -cO", "pg_restore -cO -1"},
    ),
    "deploys": (
        [
            "--tenants=5",
            "--times=1",
            "--sample=1",
            "--revisions=2",
            "--megabytes=1",
            "--only=fleets",
            "--only=one_revision",
            "--only=backups",
            "--only=restores",
        ],
        {
            "20 revisions, a table and an index each, on 5 tenants, no snapshots",
            "19 ADD COLUMN on 5 tenants, no snapshots",
            "one small revision: snapshot to S3, rehearsal, migration",
            "snapshot of 1 MB to S3, read back and looked through",
            "the same until it is there, and not yet read back",
            "restore of 1 MB from S3",
        },
    ),
    "stalls": (
        ["--rows=100", "--calm=0.3", "--reader=0.3", "--only=SET NOT NULL", "--only=CREATE INDEX CONCURRENTLY"],
        {"SET NOT NULL", "CREATE INDEX CONCURRENTLY"},
    ),
}


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from Linux's /proc")
@pytest.mark.parametrize("name", ROWS)
def test_each_benchmark_prints_its_table(name: str, tmp_path: Path) -> None:
    options, rows = ROWS[name]
    page = tmp_path / "page.md"
    page.write_text(f"before\n{MARK}\nof the last time\n{END}\nafter\n")
    options = [*options, f"--write={page}"] if name == "deploys" else options
    command = [sys.executable, "-m", f"benchmarks.{name}", *options]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    head, *found = lines
    assert {line[0].strip("| `") for line in found} == rows
    assert {len(line) for line in found} == {len(head)}
    if name == "deploys":
        table = done.stdout[done.stdout.index("| what") :].strip()
        assert table in page.read_text() and "the last time" not in page.read_text()
        assert page.read_text().startswith("before\n") and page.read_text().endswith(f"{END}\nafter\n")
