"""The launcher that a confined program starts through. It runs by its path, with nothing but the standard library:

    python -I -S confine.py ORDER program argument…

The order is an `Order`, marshalled, as hexadecimal digits. This comes before every program: nothing is imported that
takes long, as json and signal do.

The launcher gives up every right that the program must not have, for good, and becomes the program:

- resource limits, none of which the program can raise; no core dump;
- where the launcher is root: a uid of this run alone (`uid_of`), no group, and no process of an earlier run with it;
- a mount namespace where folders on the way to what the program needs are closed to other users: an empty folder takes
  the place of each, with only what is needed in it;
- no capability, and no new rights through setuid programs (prctl(2), PR_SET_NO_NEW_PRIVS);
- a Landlock domain (landlock(7)): the file system reduced to the given paths, and no way to look into a process
  outside of the domain, through /proc or ptrace, even with the same uid; no signals to it (since ABI 6);
- SIGKILL when the process that started the program dies;
- a seccomp filter (`tenants.edges.seccomp`).

What cannot be done is an error (exit 126), not a warning.
"""

from __future__ import annotations

import ctypes
import marshal
import os
import resource
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypedDict

    class Order(TypedDict):
        """What the launcher is to do."""

        uids: tuple[int, int] | None
        """First uid and number of uids to take one from; None: the program keeps ours."""
        parent: int
        limits: dict[str, int]
        """By the names that `resource` has for them, without RLIMIT_."""
        folder: str
        """Where the program starts."""
        scratch: str
        """The folder that is to be its own."""
        closed: dict[str, list[str]]
        """Folders that are closed to other users, and the paths below each that the program needs."""
        landlock: bool
        list: list[str]
        read: list[str]
        write: list[str]
        filter: bytes
        """For seccomp; empty: none."""


LIBC = ctypes.CDLL(None, use_errno=True)

SIGKILL = 9
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 22, 24, 38
SECCOMP_MODE_FILTER = 2
CLONE_NEWNS = 0x20000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 1 << 1, 1 << 2, 1 << 12, 1 << 14, 1 << 18
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446  # the same on all architectures

# landlock.h, LANDLOCK_ACCESS_FS_…
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
CHANGES = sum(1 << bit for bit in range(4, 13))  # remove, make
READ = EXECUTE | READ_FILE | READ_DIR
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV


class Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def landlock_abi() -> int:
    """The kernel's version of Landlock; 0 where there is none."""
    if sys.platform != "linux":
        return 0
    return max(0, int(LIBC.syscall(LANDLOCK_CREATE_RULESET, None, 0, 1)))


def _checked(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def enter_landlock(names: list[str], read: list[str], write: list[str]) -> None:
    """Restrict this process and all that it starts: to the `names` of what lies below some paths, to reading, and to
    writing. Paths that do not exist are passed over."""
    abi = landlock_abi()
    handled = READ | WRITE_FILE | CHANGES
    handled |= (REFER if abi >= 2 else 0) | (TRUNCATE if abi >= 3 else 0) | (IOCTL_DEV if abi >= 5 else 0)
    ruleset = Ruleset(handled, 0, 0b11 if abi >= 6 else 0)  # scoped: abstract unix sockets, signals
    length = 24 if abi >= 6 else 16 if abi >= 4 else 8
    rules = _checked(LIBC.syscall(LANDLOCK_CREATE_RULESET, ctypes.byref(ruleset), length, 0), "landlock")
    for paths, access in ((names, READ_DIR), (read, READ), (write, handled)):
        for path in paths:
            try:
                parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError:
                continue
            allowed = access & handled & (~0 if os.path.isdir(path) else OF_FILES)  # noqa: PTH112
            rule = PathBeneath(allowed, parent)
            _checked(LIBC.syscall(LANDLOCK_ADD_RULE, rules, 1, ctypes.byref(rule), 0), f"landlock, {path}")
            os.close(parent)
    _checked(LIBC.syscall(LANDLOCK_RESTRICT_SELF, rules, 0), "landlock")
    os.close(rules)


def empty_bounding_set() -> None:
    """No program started from here on can gain a capability, not even root's."""
    for capability in range(64):
        if LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            break  # the last one is behind us, or we have no right to drop any, and so none to lose


def drop_capabilities() -> None:
    """Out of the sets in force (capset(2), version 3)."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    _checked(LIBC.capset(header, (ctypes.c_uint32 * 6)()), "capset")


def uid_of(uids: tuple[int, int], pid: int) -> int:
    """The uid of the program that has this pid: no other one has it while this one runs."""
    first, count = uids
    return first + pid % count


def become(uid: int) -> None:
    """Take the uid, and end whatever a run that was killed has left with it."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    if os.getresuid() != (uid, uid, uid) or uid == 0:
        raise OSError("the uid is another one")
    drop_capabilities()  # root's power to signal everybody among them
    try:
        os.kill(-1, SIGKILL)  # all processes that this uid may signal, which are its own, but for this one
    except ProcessLookupError:
        return


def reopen(closed: dict[str, list[str]]) -> None:
    """In a mount namespace of our own: in the place of each closed folder an empty one, with the paths in it."""
    _checked(LIBC.unshare(CLONE_NEWNS), "unshare")
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    mask = os.umask(0o022)
    for folder, paths in closed.items():
        held = [(os.open(path, os.O_PATH | os.O_CLOEXEC), path, os.path.isdir(path)) for path in paths]  # noqa: PTH112
        _mount("tmpfs", folder, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=1m")
        for descriptor, path, is_folder in held:
            os.makedirs(path if is_folder else os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
            if not is_folder and not os.path.exists(path):  # noqa: PTH110
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
            _mount(f"/proc/self/fd/{descriptor}", path, None, MS_BIND | MS_REC)
            os.close(descriptor)
    os.umask(mask)


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind, data)]
    _checked(LIBC.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]), f"mount, {target}")


def filter_calls(program: bytes) -> None:
    """Hand the filter to the kernel (struct sock_fprog: the number of its steps of eight bytes, and where they are)."""
    steps = ctypes.create_string_buffer(program)

    class Fprog(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))

    header = Fprog(len(program) // 8, ctypes.addressof(steps))
    _checked(LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(header), 0, 0), "seccomp")


def confine(order: Order) -> None:
    for name, limit in {"CORE": 0, **order["limits"]}.items():
        number = getattr(resource, "RLIMIT_" + name, None)
        if number is None:
            continue  # macOS has fewer
        most = resource.getrlimit(number)[1]
        limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
        resource.setrlimit(number, (limit, limit))
    linux = sys.platform == "linux"
    uids = order["uids"]
    uid = uid_of(uids, os.getpid()) if uids else None
    if uid is not None:
        os.chown(order["scratch"], uid, uid)
    if order["closed"]:
        reopen(order["closed"])
    if linux:
        empty_bounding_set()
    if uid is not None:
        become(uid)
    os.chdir(order["folder"])
    if linux:
        drop_capabilities()
        _checked(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
        if order["landlock"]:
            enter_landlock(order["list"], order["read"], order["write"])
        _checked(LIBC.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0), "pdeathsig")
    if os.getppid() != order["parent"]:
        sys.exit(126)  # it died before we could ask to be told
    if order["filter"]:
        filter_calls(order["filter"])


def main() -> None:
    try:
        confine(marshal.loads(bytes.fromhex(sys.argv[1])))  # noqa: S302  # it is from the one who started us
        os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606
    except OSError as error:
        sys.stderr.write(f"cannot confine {sys.argv[2]}: {error}\n")
        sys.exit(126)


if __name__ == "__main__":
    main()
