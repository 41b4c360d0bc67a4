"""The seccomp filter of confined programs (seccomp(2)): which system calls the kernel answers with an error.

A filter sees the number of a call and its arguments, but nothing that an argument points to: no path, no flags in
memory. So it denies what it can judge, and closes the doors that it cannot see through: `clone3` answers ENOSYS, and C
libraries then use `clone`, whose flags are an argument. What Python, libpq, node, Bun, Go and the JVM need is left.

`program()` returns the filter as bytes, for the launcher (`tenants.edges.confine`) to install: it is made of a table,
and reads from top to bottom. x86_64 and aarch64 are known; elsewhere there is no filter, and no strong sandbox.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
from functools import cache

# linux/bpf_common.h and linux/seccomp.h
_LOAD, _AND, _EQUAL, _GREATER, _ANY_BIT, _RETURN = 0x20, 0x54, 0x15, 0x25, 0x45, 0x06
_ALLOW, _ERROR, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER, _ARCHITECTURE = 0, 4

_X32 = 0x40000000
"""Bit of the numbers of another calling convention of x86_64, with which the same calls have other numbers."""
_LAST = 462
"""The last system call that this table was made with, mseal. Later ones answer ENOSYS until somebody has read them."""

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# Number on x86_64, number on aarch64; None where the call does not exist.
_DENIED: dict[str, tuple[int | None, int | None]] = {
    # look into other processes, or act on them
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # namespaces and mounts
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "fanotify_init": (300, 262),
    # what the kernel keeps beyond the life of a process
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "semctl": (66, 191),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    # large, rarely needed parts of the kernel, and calls that go past this filter
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "userfaultfd": (323, 282),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "memfd_secret": (447, 447),
    "personality": (135, 92),
    "modify_ldt": (154, None),
    "iopl": (172, None),
    "ioperm": (173, None),
    "uselib": (134, None),
    "_sysctl": (156, None),
    # the machine
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "syslog": (103, 116),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "vhangup": (153, 58),
}

_NEW_NAMESPACE = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. (CLONE_NEWTIME cannot be asked for with clone.)"""
_SET_ID = 0o6000
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_STREAM, _SEQPACKET, _TYPE = 1, 5, 0xF
"""Pairs of these types stay pairs; one of datagrams can send to any socket that has a name."""
_TERMINAL_INPUT = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX, which type into a terminal."""

_CLONE, _CLONE3, _PRLIMIT, _SOCKET, _IOCTL = (56, 220), (435, 435), (302, 261), (41, 198), (16, 29)
_SOCKETPAIR = (53, 199)
# Calls with a mode: the numbers, and which argument the mode is.
_CHMODS = (((90, None), 1), ((91, 52), 1), ((268, 53), 2), ((452, 452), 2))

_Step = tuple[int, int, int, int]


def supported() -> bool:
    """Whether there is a filter for this machine."""
    return sys.platform == "linux" and os.uname().machine in _ARCHITECTURES and sys.maxsize > 2**32


@cache
def program(*, unix_sockets: bool) -> bytes:
    """The filter for this machine; empty where there is none. `unix_sockets`: whether sockets of AF_UNIX may be made,
    as libpq needs for a database whose host is a folder. Pairs of streams may be made in any case."""
    if not supported():
        return b""
    return b"".join(struct.pack("=HBBI", *step) for step in _steps(os.uname().machine, unix_sockets))


def _steps(machine: str, unix_sockets: bool) -> list[_Step]:
    """Each rule begins with the number of the call in the accumulator, and leaves it there or returns."""
    column = list(_ARCHITECTURES).index(machine)
    steps: list[_Step] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    steps += _if(_GREATER, _LAST, _answer(errno.ENOSYS))  # among them all of x32
    steps += _if(_EQUAL, _CLONE3[column], _answer(errno.ENOSYS))
    for numbers in _DENIED.values():
        if (number := numbers[column]) is not None:
            steps += _if(_EQUAL, number, _answer(errno.EPERM))
    steps += _if(_EQUAL, _CLONE[column], _argument(0, _if(_ANY_BIT, _NEW_NAMESPACE, _answer(errno.EPERM))))
    steps += _if(_EQUAL, _PRLIMIT[column], _argument(0, _unless([0], _answer(errno.EPERM))))  # 0: itself
    families = [_AF_INET, _AF_INET6, _AF_NETLINK, *([_AF_UNIX] if unix_sockets else [])]
    steps += _if(_EQUAL, _SOCKET[column], _argument(0, _unless(families, _answer(errno.EACCES))))
    pairs = [(_AND, 0, 0, _TYPE), *_unless([_STREAM, _SEQPACKET], _answer(errno.EACCES))]
    steps += _if(_EQUAL, _SOCKETPAIR[column], _argument(1, pairs))
    typing = [step for request in _TERMINAL_INPUT for step in _if(_EQUAL, request, _answer(errno.EPERM))]
    steps += _if(_EQUAL, _IOCTL[column], _argument(1, typing))
    for numbers, place in _CHMODS:
        if (number := numbers[column]) is not None:
            steps += _if(_EQUAL, number, _argument(place, _if(_ANY_BIT, _SET_ID, _answer(errno.EPERM))))
    steps.append((_RETURN, 0, 0, _ALLOW))
    return steps


def _if(comparison: int, value: int, then: list[_Step]) -> list[_Step]:
    """`then`, where the accumulator compares so; else what comes after it."""
    return [(comparison, 0, len(then), value), *then]


def _unless(values: list[int], then: list[_Step]) -> list[_Step]:
    """`then`, unless the accumulator has one of the values."""
    count = len(values)
    return [*((_EQUAL, count - place + len(then) - 1, 0, value) for place, value in enumerate(values)), *then]


def _argument(place: int, then: list[_Step]) -> list[_Step]:
    """`then` with the lower half of an argument in the accumulator, which is all that the kernel takes of an `int`;
    then the call is allowed. Both machines are little-endian."""
    return [(_LOAD, 0, 0, 16 + 8 * place), *then, (_RETURN, 0, 0, _ALLOW)]


def _answer(code: int) -> list[_Step]:
    return [(_RETURN, 0, 0, _ERROR | code)]
