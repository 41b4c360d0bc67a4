"""How programs can be confined on this machine: looked up once, from what the kernel says of this process."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tenants.edges import confine, seccomp

_FIRST_UID, _UIDS, _SLOTS = 0x70000000, 1 << 22, 63
"""Uids that no system gives out (systemd: "Users, Groups, UIDs and GIDs"): ranges of as many as there can be processes,
of which each pid namespace takes one."""
_FEW_UIDS = (20_000, 40_000)
"""The range where a user namespace has few: 65,536, as in a container without root."""
_CHOWN, _KILL, _SETGID, _SETUID, _SYS_ADMIN = 0, 5, 6, 7, 21


@dataclass(frozen=True)
class Confinement:
    """How programs can be confined here. The strong way is another uid for each run and a seccomp filter; Landlock
    stands on top of it, wherever the kernel has it."""

    uids: tuple[int, int] | None
    """First of the uids that runs take theirs from, and how many there are; None: programs keep our uid."""
    filtered: bool
    landlock: bool
    mounts: bool = False
    """Whether folders that are closed to other users can be replaced, in a mount namespace."""
    lacks: str = ""
    """Why the sandbox is weak; empty if it is strong."""
    remedy: str = ""
    """What makes it strong here; empty if that takes another machine or user."""

    @property
    def strong(self) -> bool:
        return self.uids is not None and self.filtered


@cache
def confinement() -> Confinement:
    landlock, filtered = confine.landlock_abi() > 0, seccomp.supported() and _has_filters()
    if not filtered:
        return Confinement(None, filtered, landlock, lacks=f"there is no seccomp filter for {os.uname().machine}")
    if os.geteuid() != 0:
        return Confinement(None, filtered, landlock, lacks="not root, so programs run with the uid of this command")
    capabilities, uids = _capabilities(), _uids()
    if any(not capabilities >> number & 1 for number in (_CHOWN, _SETGID, _SETUID)):
        return Confinement(None, filtered, landlock, lacks="root has no right to change to another uid here")
    if uids is None:
        return Confinement(None, filtered, landlock, lacks="the user namespace of this container has too few uids")
    mounts = bool(capabilities >> _SYS_ADMIN & 1)
    for path in () if mounts else python():
        if folder := closed_above(path):
            return Confinement(
                None,
                filtered,
                landlock,
                lacks=f"other users cannot reach Python, which is in {path}: {folder} is closed to them",
                remedy=f"install Python and this program outside of {folder}, in /usr/local for example",
            )
    return Confinement(uids, filtered, landlock, mounts)


@cache
def python() -> frozenset[str]:
    """Where Python and this package are."""
    return frozenset({sys.prefix, sys.base_prefix, sysconfig.get_path("platlib"), str(Path(__file__).parents[1])})


def closed_above(path: str) -> str | None:
    """The first folder on the way to the absolute path that other users may not walk through."""
    folder = "/"
    for name in path.strip("/").split("/"):
        try:
            if not os.stat(folder).st_mode & 0o001:  # noqa: PTH116  # this is before every program
                return folder
        except OSError:
            return None
        folder = f"{folder.rstrip('/')}/{name}"
    return None


def _has_filters() -> bool:
    """Whether the kernel takes filters (prctl(2)): it looks for this one at an address where there is none."""
    ctypes.set_errno(0)
    confine.LIBC.prctl(confine.PR_SET_SECCOMP, confine.SECCOMP_MODE_FILTER, None, 0, 0)
    return ctypes.get_errno() == errno.EFAULT


def _capabilities() -> int:
    """Those in force (capabilities(7))."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def _uids() -> tuple[int, int] | None:
    """A range that is mapped in our user namespace (user_namespaces(7))."""
    maps = [Path(f"/proc/self/{kind}_map").read_text().splitlines() for kind in ("uid", "gid")]
    slot = Path("/proc/self/ns/pid").stat().st_ino % _SLOTS
    for first, count in ((_FIRST_UID + slot * _UIDS, _UIDS), _FEW_UIDS):
        if all(any(_maps(line, first, count) for line in lines) for lines in maps):
            return first, count
    return None


def _maps(line: str, first: int, count: int) -> bool:
    inside, _, length = (int(word) for word in line.split())
    return inside <= first and first + count <= inside + length
