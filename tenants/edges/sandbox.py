"""The sandbox: the one way in which a program is started, be it project code or a client program of PostgreSQL.

A confined program can neither see nor disturb us: it has an environment of its own, no open file of ours, another uid
where we are root, and a Landlock domain where the kernel has one (`tenants.edges.confine`). Its only writable place is
a temporary folder that goes with it. When it ends, all that it started ends: strays become our children, because we are
their subreaper, and are killed.
"""

from __future__ import annotations

import marshal
import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

from tenants.core.errors import Refused
from tenants.edges import children, confine, signals

PROJECT_USER = "tenants-project"
"""The user that project code runs as, if we are root and there is one of this name."""

NO_USER = 64198
"""Its uid where there is none of that name: one that owns nothing anywhere."""

_SCRATCH = "tenants-run-"
_CLEAN = ("PATH", "LANG", "LANGUAGE", "TZ", "TERM", "SSL_CERT_FILE", "SSL_CERT_DIR", "PGSSLROOTCERT")
_SYSTEM = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc",
    "/opt",
    "/nix",
    "/proc",
    "/sys",
    "/run/systemd/resolve",
)
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


@dataclass(frozen=True)
class Confinement:
    """How programs can be confined here."""

    uid: int | None
    landlock: bool

    @property
    def sound(self) -> bool:
        """Whether a program cannot read the environment and memory of ours."""
        return self.uid is not None or self.landlock

    @property
    def apart(self) -> bool:
        """Whether none of the programs can read what is in the environment of another one. Those that have nothing but
        a uid of their own share it."""
        return self.landlock or self.uid is None


@cache
def confinement() -> Confinement:
    """Another uid as root, if that uid can reach Python and this package; Landlock wherever the kernel has it."""
    uid = None
    if os.geteuid() == 0:
        needed = (sys.executable, str(Path(sys.executable).resolve()), __file__, sysconfig.get_path("platlib"))
        if all(_open_to_others(Path(path)) for path in needed):
            try:
                uid = pwd.getpwnam(PROJECT_USER).pw_uid
            except KeyError:
                uid = NO_USER
    return Confinement(uid, confine.landlock_abi() > 0)


def require_sound() -> None:
    """Raises Refused where project code could read the admin's URL: there it must not run beside it."""
    if not confinement().sound:
        raise Refused(
            "project code cannot be kept apart from the admin's URL here: not root, and this kernel has no Landlock",
            next="run as root (the Dockerfile of this repository does), or on Linux 5.13 or later, "
            "or deploy each app with its own URL",
        )


def _open_to_others(path: Path) -> bool:
    """Whether any user may read it and walk to it."""
    modes = [path.stat().st_mode, *(parent.stat().st_mode for parent in path.absolute().parents)]
    return bool(modes[0] & 0o004) and all(mode & 0o001 for mode in modes[1:])


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What of our environment a confined program may see."""
    return {k: v for k, v in environment.items() if k in _CLEAN or k.startswith("LC_")}


def visible(roots: Iterable[str], hidden: Iterable[str]) -> list[str]:
    """`roots` without `hidden`: a root that has something hidden below it is replaced by its other children.
    Landlock knows only what is allowed, so what is to be hidden has to be gone around."""
    hidden = [os.path.realpath(path) for path in hidden if os.path.lexists(path)]
    seen: list[str] = []
    todo = [os.path.realpath(root) for root in roots]
    while todo:
        root = todo.pop()
        if any(path == root or root.startswith(path + "/") for path in hidden):
            continue
        if any(path.startswith(root.rstrip("/") + "/") for path in hidden):
            with suppress(OSError):
                todo.extend(entry.path for entry in os.scandir(root) if not entry.is_symlink())
        else:
            seen.append(root)
    return sorted(seen)


def reaches(path: str, readable: Iterable[str], hidden: Iterable[str]) -> bool:
    """Whether a confined program with these paths may read that one. Where nothing confines it, it may."""
    real = os.path.realpath(path)
    roots = visible([*_SYSTEM, *_python(), *readable], hidden)
    return not confinement().landlock or any(real == root or real.startswith(root.rstrip("/") + "/") for root in roots)


def _python() -> set[str]:
    """Where Python and this package are."""
    return {sys.prefix, sys.base_prefix, sysconfig.get_path("platlib"), str(Path(__file__).parents[1])}


@contextmanager
def start(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    readable: Iterable[str] = (),
    hidden: Iterable[str] = (),
    listed: Iterable[str] = (),
    folder: str | None = None,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.PIPE,
    stderr: int | IO[bytes] = subprocess.PIPE,
    pass_fds: Sequence[int] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a confined program. On leaving the block it and everything it started are dead, and its folder is gone.

    `readable` are paths that it may read beside the system's and Python's own; `hidden` ones it may not, wherever they
    are; of `listed` ones it sees the names of what lies below, hidden or not; `folder` is where it starts.
    """
    how = confinement()
    clear_scratch()
    scratch = process = None
    try:
        with signals.held():
            scratch = tempfile.mkdtemp(prefix=f"{_SCRATCH}{os.getpid()}-")
        if how.uid is not None:
            os.chown(scratch, how.uid, how.uid)
        order = {
            "uid": how.uid,
            "parent": os.getpid(),
            "landlock": how.landlock,
            "list": list(listed),
            "read": visible([*_SYSTEM, *_python(), *readable], hidden),
            "write": [*_DEVICES, scratch],
        }
        command = [sys.executable, "-I", "-S", confine.__file__, marshal.dumps(order).hex(), *argv]
        with signals.held():
            process = children.start(
                lambda: subprocess.Popen(
                    command,
                    env={**environment, "TMPDIR": scratch, "HOME": scratch, "PYTHONDONTWRITEBYTECODE": "1"},
                    cwd=folder or scratch,
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    pass_fds=pass_fds,
                    start_new_session=True,
                )
            )
        yield process
    finally:
        with signals.held():
            if process:
                children.end(process)
            if scratch:
                _remove(Path(scratch))


@cache
def clear_scratch() -> None:
    """Remove the temporary folders of runs that were killed. Only our own: their names tell whose they are."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*-*"):
        pid = folder.name.removeprefix(_SCRATCH).partition("-")[0]
        with suppress(OSError):
            mine = folder.lstat().st_uid in (os.geteuid(), confinement().uid) and not folder.is_symlink()
            if mine and pid.isdigit() and not _alive(int(pid)):
                _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a folder whose content is somebody else's: it may be closed, or nested deeper than Python can follow."""
    if folder.is_symlink():
        folder.unlink()
        return
    try:
        shutil.rmtree(folder)
    except (OSError, RecursionError):
        for command in (["chmod", "-R", "u+rwX"], ["rm", "-rf"]):
            children.run_quietly(["/bin/" + command[0], *command[1:], "--", str(folder)])


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
