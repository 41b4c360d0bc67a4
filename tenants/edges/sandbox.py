"""The sandbox: the one way in which a program is started, be it project code or a client program of PostgreSQL.

A confined program can neither see nor disturb us: it has an environment of its own, no open file of ours, a uid of this
run alone where we are root, a seccomp filter, limits, and a Landlock domain where the kernel has one
(`tenants.edges.confine` does it, `tenants.edges.machine` finds out what is possible). Its only writable place is a
temporary folder that goes with it. When it ends, all that it started ends (`tenants.edges.children`).
"""

from __future__ import annotations

import marshal
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO

from tenants.core import confinement as allowed
from tenants.core.errors import Refused
from tenants.core.settings import read_sandbox
from tenants.edges import children, confine, machine, seccomp, signals

_SCRATCH = "tenants-run-"
_CLEAN = ("PATH", "LANG", "LANGUAGE", "TZ", "TERM", "SSL_CERT_FILE", "SSL_CERT_DIR", "PGSSLROOTCERT")
_ETC = (
    *("resolv.conf", "hosts", "host.conf", "gai.conf", "nsswitch.conf", "services", "protocols", "passwd", "group"),
    *("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "timezone", "mime.types", "os-release"),
    *("ssl/certs", "ssl/openssl.cnf", "pki/tls/certs", "pki/tls/cert.pem", "pki/tls/openssl.cnf", "pki/ca-trust"),
    *("ca-certificates", "ca-certificates.conf", "crypto-policies", "krb5.conf", "krb5.conf.d", "gss"),
    *("alternatives", "postgresql-common", "debian_version", "perl"),
)
"""What programs need of /etc: names, certificates, libraries. No password, no key."""
_SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt", "/nix", "/proc"),
    *("/sys/devices/system/cpu", "/sys/fs/cgroup", "/sys/kernel/mm/transparent_hugepage"),
    *(f"/etc/{name}" for name in _ETC),
)
_ETC_OF_LANGUAGES = ("python3*", "java*", "ruby*", "php*")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


class Confined(subprocess.Popen[bytes]):
    """A confined program."""

    scratch: str
    free: int
    """Bytes that were free on the disk of its temporary folder when it started."""

    def excess(self) -> str:
        """Why it has to be stopped, by what it has written; empty if it need not be."""
        size = files = 0
        todo = [self.scratch]
        while todo and files <= allowed.FILES:
            with suppress(OSError), os.scandir(todo.pop()) as entries:
                for entry in entries:
                    files += 1
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
                    else:
                        size += entry.stat(follow_symlinks=False).st_blocks * 512
        return allowed.excess(size, files, _free(self.scratch), self.free)


def _free(folder: str) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def require_sound(environment: Mapping[str, str]) -> None:
    """Raises Refused where project code must not run beside the admin's URL."""
    how = machine.confinement()
    if how.strong:
        return
    if not how.landlock:
        raise Refused(
            f"project code cannot be kept apart from the admin's URL here: {how.lacks}, and there is no Landlock",
            next=how.remedy
            or "run as root (the Dockerfile of this repository does), or on Linux 5.13 or later, "
            "or deploy each app with its own URL",
        )
    if how.remedy:
        raise Refused(f"the sandbox is weak here, and can be strong: {how.lacks}", next=how.remedy)
    if not read_sandbox(environment):
        raise Refused(
            f"the sandbox is weak here, and DATABASE_URL is the admin's: {how.lacks}. "
            f"Project code could still {'; '.join(allowed.WEAK)}",
            next=f"run as root (the Dockerfile of this repository does), or accept that: export {allowed.REMEDY_WEAK}",
        )


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


def named(root: str, hidden: Callable[[str], bool], besides: Iterable[str] = ()) -> list[str]:
    """The paths below `root` whose name is a `hidden` one; folders of the names `besides` are not looked into, nor is
    Python's own."""
    ours, found, todo = machine.python(), list[str](), [root]
    while todo:
        with suppress(OSError), os.scandir(todo.pop()) as entries:
            for entry in entries:
                if hidden(entry.name):
                    found.append(entry.path)
                elif entry.is_dir(follow_symlinks=False) and entry.name not in besides and entry.path not in ours:
                    todo.append(entry.path)
    return found


def reaches(path: str, readable: Iterable[str], hidden: Iterable[str]) -> bool:
    """Whether a confined program with these paths may read that one. Where nothing confines it, it may."""
    real = os.path.realpath(path)
    roots = visible([*_system(), *readable], hidden)
    return not machine.confinement().landlock or any(
        real == root or real.startswith(root.rstrip("/") + "/") for root in roots
    )


@cache
def _system() -> tuple[str, ...]:
    """What every confined program may read: the system's programs and libraries, Python, and this package."""
    languages = (str(path) for pattern in _ETC_OF_LANGUAGES for path in Path("/etc").glob(pattern))
    return (*_SYSTEM, *languages, *machine.python())


@cache
def _system_seen(hidden: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(visible(_system(), hidden))


@cache
def _system_closed() -> Mapping[str, Sequence[str]]:
    return _closed(_system(), {})


def _closed(paths: Iterable[str], known: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The folders that other users may not walk through, with those of the paths that lie below each; more than is
    `known`."""
    found = {folder: [*inside] for folder, inside in known.items()}
    for path in sorted({os.path.abspath(path) for path in paths}):  # noqa: PTH100
        if (folder := machine.closed_above(path)) and os.path.exists(path):  # noqa: PTH110
            inside = found.setdefault(folder, [])
            if not any(path == other or path.startswith(other + "/") for other in inside):
                inside.append(path)
    return found


def _require_reach(paths: Iterable[str], closed: Iterable[str]) -> None:
    """Raises Refused where a uid of its own keeps a program from what it is there to read."""
    for path in paths:
        with suppress(OSError):
            mode = Path(path).stat().st_mode
            needed = 0o005 if mode & 0o040000 else 0o004
            if mode & needed != needed:
                raise Refused(
                    f"confined programs run as users of their own, and {path} is closed to other users",
                    next=f"chmod -R o+rX {path}",
                )
    for folder in () if machine.confinement().mounts else closed:
        raise Refused(
            f"confined programs run as users of their own, and {folder} is closed to other users",
            next=f"chmod o+x {folder}",
        )


@cache
def _dump_no_core() -> None:
    """Our memory has passwords in it: no core file of it, whoever makes us crash. One byte is what the kernel takes for
    none, also where cores go to a program (core(5), RLIMIT_CORE): 0 is not."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    if hard != 0:
        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))


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
    unix_sockets: bool = False,
) -> Iterator[Confined]:
    """Start a confined program. On leaving the block it and everything it started are dead, and its folder is gone.

    `readable` are paths that it may read beside the system's and Python's own; `hidden` ones it may not, wherever they
    are; of `listed` ones it sees the names of what lies below, hidden or not; `folder` is where it starts. With
    `unix_sockets` it may connect to a database whose host is a folder. Raises Refused where a uid of its own could not
    read what is readable.
    """
    how = machine.confinement()
    _dump_no_core()
    readable, listed = list(readable), list(listed)
    clear_scratch()
    scratch = process = None
    try:
        with signals.held():
            scratch = tempfile.mkdtemp(prefix=f"{_SCRATCH}{os.getpid()}-")
        free = _free(scratch)
        hidden = tuple(hidden)
        own = visible(readable, hidden)
        places = [*own, *readable, *listed, argv[0], scratch, *filter(None, [folder])]
        closed = _closed(places, _system_closed()) if how.uids else {}
        if how.uids:
            _require_reach([*readable, *filter(None, [folder])], closed)
        order: confine.Order = {
            "uids": how.uids,
            "parent": os.getpid(),
            "limits": dict(allowed.limits(own_uid=how.uids is not None)),
            "folder": folder or scratch,
            "scratch": scratch,
            "closed": closed,
            "landlock": how.landlock,
            "list": listed,
            "read": [*_system_seen(hidden), *own],
            "write": [*_DEVICES, scratch],
            "filter": seccomp.program(unix_sockets=unix_sockets) if how.filtered else b"",
        }
        command = [sys.executable, "-I", "-S", confine.__file__, marshal.dumps(dict(order)).hex(), *argv]
        with signals.held():
            process = children.start(
                lambda: Confined(
                    command,
                    env={**environment, "TMPDIR": scratch, "HOME": scratch, "PYTHONDONTWRITEBYTECODE": "1"},
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    pass_fds=pass_fds,
                    start_new_session=True,
                )
            )
        process.scratch, process.free = scratch, free
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
            if _ours(folder.lstat().st_uid) and not folder.is_symlink() and pid.isdigit() and not _alive(int(pid)):
                _remove(folder)


def _ours(uid: int) -> bool:
    first, count = machine.confinement().uids or (0, 0)
    return uid == os.geteuid() or first <= uid < first + count


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
