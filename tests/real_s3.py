"""A real S3 server for the contract of object storage: versitygw, which keeps objects in a folder.

It is used where there is one: on the PATH, or built by an earlier run. To build it takes minutes, so that is done only
where TENANTS_TEST_S3=build asks for it, once for each machine.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

VERSION = "v1.8.0"
MODULE = f"github.com/versity/versitygw/cmd/versitygw@{VERSION}"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dokku-tenants" / f"versitygw-{VERSION}"
ACCESS, SECRET = "AKIATESTTESTTESTTEST", "storage-secret-of-the-tests"


@dataclass(frozen=True)
class Absent:
    why: str


def program() -> Path | Absent:
    """The program, built if it may be."""
    built = CACHE / "versitygw"
    if found := shutil.which("versitygw"):
        return Path(found)
    if built.exists():
        return built
    if os.environ.get("TENANTS_TEST_S3") != "build":
        return Absent("there is no versitygw here; TENANTS_TEST_S3=build makes one, with Go, in some minutes")
    if not (go := shutil.which("go")):
        return Absent("there is no versitygw here, and no Go to make one with")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several workers the first one builds
        if not built.exists():
            making = CACHE / "making"
            done = subprocess.run(
                [go, "install", MODULE], env={**os.environ, "GOBIN": str(making)}, capture_output=True, text=True
            )
            if done.returncode != 0:
                last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
                return Absent(f"versitygw could not be built: {last}")
            (making / "versitygw").rename(built)
    return built


@contextmanager
def running(versitygw: Path, folder: Path) -> Iterator[str]:
    """The endpoint of a server that keeps its objects in `folder`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    objects, aside = folder / "objects", folder / "attributes"
    for path in (objects, aside):
        path.mkdir()
    options = ["--access", ACCESS, "--secret", SECRET, "--region", "auto", "--port", f"127.0.0.1:{port}", "--quiet"]
    # the attributes in files of their own: not every folder for temporary files can have them
    command = [str(versitygw), *options, "posix", "--sidecar", str(aside), str(objects)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + 60
            while not _answers(port):
                assert process.poll() is None and time.monotonic() < end, "versitygw never came up"
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
