"""What the apps of the examples and of the tutorial need."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """One of the workers at a time."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def bun(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of Bun's program, as npm has it; it is installed once for all workers."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed: Bun comes from there")
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    folder = shared / "bun"
    with alone(shared / "bun.lock"):
        program = folder / "node_modules" / ".bin" / "bun"
        if not program.exists():
            folder.mkdir(exist_ok=True)
            command = [npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", "bun@1"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
            if not program.exists():
                pytest.skip(f"npm cannot install Bun here: {done.stderr.strip().splitlines()[-1:]}")
    return str(program.parent)
