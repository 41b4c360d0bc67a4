"""The filter's decisions, by an interpreter of the few instructions that it uses; and its table, against the kernel's
headers where this machine has them."""

from __future__ import annotations

import errno
import re
import struct
from pathlib import Path

import pytest

from tenants.edges import seccomp

ALLOWED, KILLED = "allowed", "killed"
X86, ARM = 0xC000003E, 0xC00000B7


def decide(machine: str, architecture: int, number: int, *arguments: int, unix_sockets: bool = False) -> str | int:
    """What the kernel does with the call: ALLOWED, KILLED, or the error that it answers."""
    data = struct.pack("=IIQ6Q", number, architecture, 0, *(arguments + (0,) * 6)[:6])
    steps, place, value = seccomp._steps(machine, unix_sockets), 0, 0
    while True:
        code, if_so, if_not, k = steps[place]
        place += 1
        if code == 0x20:
            (value,) = struct.unpack_from("=I", data, k)
        elif code == 0x54:
            value &= k
        elif code == 0x06:
            return {0x7FFF0000: ALLOWED, 0x80000000: KILLED}.get(k, k & 0xFFFF)
        else:
            true = {0x15: value == k, 0x25: value > k, 0x45: bool(value & k)}[code]
            place += if_so if true else if_not


CLONE_NEWUSER, SIGCHLD, THREAD = 0x10000000, 17, 0x3D0F00


@pytest.mark.parametrize(
    ("x86", "arm", "arguments", "answer"),
    [
        (0, 63, (), ALLOWED),  # read
        (56, 220, (SIGCHLD,), ALLOWED),
        (56, 220, (THREAD,), ALLOWED),
        (56, 220, (CLONE_NEWUSER | SIGCHLD,), errno.EPERM),
        (56, 220, (0x40000000 | SIGCHLD,), errno.EPERM),
        (56, 220, (0x00020000 | SIGCHLD,), errno.EPERM),
        (435, 435, (0, 0), errno.ENOSYS),  # clone3
        (272, 97, (CLONE_NEWUSER,), errno.EPERM),
        (302, 261, (0, 7, 0, 0), ALLOWED),  # prlimit of itself
        (302, 261, (4242, 7, 0, 0), errno.EPERM),
        (302, 261, ((1 << 32) | 4242, 7, 0, 0), errno.EPERM),
        (302, 261, (1 << 32, 7, 0, 0), ALLOWED),  # the kernel takes 32 bits of a pid
        (41, 198, (2, 1, 0), ALLOWED),  # socket
        (41, 198, (10, 1, 0), ALLOWED),
        (41, 198, (16, 3, 0), ALLOWED),
        (41, 198, (1, 1, 0), errno.EACCES),
        (41, 198, (17, 3, 0), errno.EACCES),  # AF_PACKET
        (41, 198, (38, 5, 0), errno.EACCES),  # AF_ALG
        (41, 198, (40, 1, 0), errno.EACCES),  # AF_VSOCK
        (53, 199, (1, 1, 0), ALLOWED),  # socketpair
        (53, 199, (1, 0o2004001, 0), ALLOWED),  # SOCK_CLOEXEC, SOCK_NONBLOCK
        (53, 199, (1, 5, 0), ALLOWED),
        (53, 199, (1, 2, 0), errno.EACCES),  # datagrams
        (53, 199, (1, 0o2000003, 0), errno.EACCES),  # SOCK_RAW, which is the same
        (30, 196, (7,), errno.EPERM),  # shmat
        (16, 29, (0, 0x5401, 0), ALLOWED),
        (16, 29, (0, 0x5412, 0), errno.EPERM),  # TIOCSTI
        (16, 29, (0, (1 << 32) | 0x5412, 0), errno.EPERM),
        (91, 52, (0, 0o755), ALLOWED),
        (91, 52, (0, 0o4755), errno.EPERM),
        (268, 53, (0, 0, 0o2755), errno.EPERM),
        (452, 452, (0, 0, 0o4777, 0), errno.EPERM),
        (425, 425, (8, 0), errno.EPERM),
        (444, 444, (), ALLOWED),  # a program may confine itself further
        (463, 463, (), errno.ENOSYS),
        (0xFFFFFFFF, 0xFFFFFFFF, (), errno.ENOSYS),
    ],
)
def test_each_machine_answers_the_same(x86: int, arm: int, arguments: tuple[int, ...], answer: str | int) -> None:
    assert decide("x86_64", X86, x86, *arguments) == answer
    assert decide("aarch64", ARM, arm, *arguments) == answer


def test_other_ways_to_call_are_closed() -> None:
    assert decide("x86_64", 0x40000003, 0) == KILLED, "a program of 32 bits"
    assert decide("aarch64", X86, 0) == KILLED
    assert decide("x86_64", X86, 0x40000000 | 101) == errno.ENOSYS, "x32"


def test_a_database_behind_a_unix_socket_can_be_reached_and_nothing_else_is_opened_by_that() -> None:
    assert decide("x86_64", X86, 41, 1, 1, 0, unix_sockets=True) == ALLOWED
    assert decide("x86_64", X86, 41, 38, 5, 0, unix_sockets=True) == errno.EACCES


@pytest.mark.parametrize(
    ("column", "header"),
    [(0, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), (1, "/usr/include/asm-generic/unistd.h")],
)
def test_the_numbers_are_those_of_the_kernel(column: int, header: str) -> None:
    if not Path(header).exists():
        pytest.skip(f"{header} is not here")
    defined = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", Path(header).read_text())
    known = {name: int(number) for name, number in defined}
    missing = [name for name, numbers in seccomp._DENIED.items() if numbers[column] not in (None, known.get(name))]
    assert [name for name in missing if name in known] == []
    assert known["clone"] == seccomp._CLONE[column]
    assert known["prlimit64"] == seccomp._PRLIMIT[column]
    assert known["socket"] == seccomp._SOCKET[column]
    assert known["ioctl"] == seccomp._IOCTL[column]
