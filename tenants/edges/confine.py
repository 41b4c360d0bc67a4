"""The launcher that a confined program starts through. It runs by its path, with nothing but the standard library:

    python -I -S confine.py ORDER program argument…

The order is a dictionary, marshalled, as hexadecimal digits: {"uid": …, "parent": …, "landlock": true, "list": […],
"read": […], "write": […]}. This comes before every program: nothing is imported that takes long, as json and signal do.

It gives up every right that the program is not to have, for good, and becomes the program:

- another uid, where it is told one (it needs to be root for that), and no capability in any case;
- no new rights through setuid programs (prctl(2), PR_SET_NO_NEW_PRIVS);
- a Landlock domain (landlock(7)): the file system reduced to the given folders, and no way to look into a process
  outside of the domain, through /proc or ptrace, even with the same uid; no signals to it (since ABI 6);
- no core dump, and SIGKILL when the one who started it dies.

What cannot be done is an error (exit 126), not a warning.
"""

from __future__ import annotations

import ctypes
import marshal
import os
import resource
import sys

LIBC = ctypes.CDLL(None, use_errno=True)

SIGKILL = 9
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 24, 38
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


def confine(order: dict[str, object]) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    linux = sys.platform == "linux"
    if linux:
        empty_bounding_set()
    uid = order.get("uid")
    if isinstance(uid, int):
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    if linux:
        drop_capabilities()
        _checked(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
        if order.get("landlock"):
            enter_landlock(*(list(order[key]) for key in ("list", "read", "write")))  # type: ignore[call-overload]
        _checked(LIBC.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0), "pdeathsig")
    if os.getppid() != order["parent"]:
        sys.exit(126)  # it died before we could ask to be told


def main() -> None:
    try:
        confine(marshal.loads(bytes.fromhex(sys.argv[1])))  # noqa: S302  # it is from the one who started us
        os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606
    except OSError as error:
        sys.stderr.write(f"cannot confine {sys.argv[2]}: {error}\n")
        sys.exit(126)


if __name__ == "__main__":
    main()
