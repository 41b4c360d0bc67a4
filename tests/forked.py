"""Commands in processes of their own, forked from one that has loaded the program: half of what a command costs is
Python reading its modules, and the tests run thousands of them.

Each has its arguments, environment, folder and pipes as if it had been started. What it does not have is an environment
of its own in /proc, where an attacker would look: what tests that is marked `own_process`.
"""

from __future__ import annotations

import array
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NoReturn


def run(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path, seconds: float, address: str | None = None
) -> tuple[int, str, str]:
    """Run `tenants …` to its end: its exit code, as subprocess has it, and what it wrote to stdout and stderr. One that
    takes longer than `seconds` is killed, and TimeoutExpired raised. `address` is that of another process's server."""
    pipes = [os.pipe(), os.pipe()]
    request = json.dumps({"arguments": arguments, "environment": environment, "folder": str(folder)}).encode()
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(address or server())
        socket.send_fds(asking, [len(request).to_bytes(4, "big")], [writing for _, writing in pipes])
        asking.sendall(request)
        for _, writing in pipes:
            os.close(writing)
        pid = int.from_bytes(asking.recv(4), "big")
        out, err = _read([reading for reading, _ in pipes], pid, time.monotonic() + seconds)
        status = array.array("i")
        status.frombytes(asking.recv(4))
    return os.waitstatus_to_exitcode(status[0]), out, err


def _read(pipes: Sequence[int], pid: int, end: float) -> list[str]:
    read = dict.fromkeys(pipes, b"")
    waiting = list(pipes)
    while waiting:
        ready, _, _ = select.select(waiting, [], [], max(0, end - time.monotonic()))
        if not ready:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired("tenants", 0, b"".join(read.values()))
        for pipe in ready:
            data = os.read(pipe, 1 << 16)
            read[pipe] += data
            if not data:
                waiting.remove(pipe)
                os.close(pipe)
    return [text.decode().replace("\r\n", "\n") for text in read.values()]


@cache
def server() -> str:
    """The address of this worker's server. It ends with the worker."""
    address = tempfile.mktemp(prefix="tests-", suffix=".sock")
    alive, kept = os.pipe()
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    command = [sys.executable, "-W", "ignore", __file__, address]
    subprocess.Popen(command, env=environment, stdin=alive, cwd="/").returncode = 0  # not waited for: it is not ours
    os.close(alive)
    os.set_inheritable(kept, False)  # closed when we end, whatever ends us
    while not os.path.exists(address):
        time.sleep(0.01)
    return address


def _serve(address: str) -> None:
    import gc

    import boto3  # noqa: F401
    import zstandard  # noqa: F401

    from tenants.cli import MODULES

    for module in MODULES:
        import_module(f"tenants.cli.{module}")
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listening:
        unready = address + ".new"
        listening.bind(unready)
        listening.listen(64)
        os.rename(unready, address)
        try:
            while True:
                ready, _, _ = select.select([listening.fileno(), 0], [], [])
                if 0 in ready:
                    return  # the worker has ended
                asking, _ = listening.accept()
                if os.fork() == 0:
                    listening.close()
                    _answer(asking)
                asking.close()
        finally:
            os.unlink(address)


def _answer(asking: socket.socket) -> NoReturn:
    """Start the command, wait for its end, and tell how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, pipes, _, _ = socket.recv_fds(asking, 4, 2)
    length, data = int.from_bytes(head, "big"), b""
    while len(data) < length:
        data += asking.recv(length - len(data))
    pid = os.fork()
    if pid == 0:
        asking.close()
        _command(json.loads(data), pipes)
    for pipe in pipes:
        os.close(pipe)
    asking.sendall(pid.to_bytes(4, "big"))
    _, status = os.waitpid(pid, 0)
    with suppress(BrokenPipeError):
        asking.sendall(array.array("i", [status]).tobytes())
    os._exit(0)


def _command(request: Mapping[str, object], pipes: Sequence[int]) -> NoReturn:
    null = os.open(os.devnull, os.O_RDONLY)
    for descriptor, number in zip((null, *pipes), (0, 1, 2), strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request["environment"])  # type: ignore[call-overload]
    time.tzset()
    os.chdir(str(request["folder"]))
    sys.argv = ["tenants", *request["arguments"]]  # type: ignore[misc]
    code: object = 1
    try:
        from tenants.cli import main

        main()
    except SystemExit as ending:
        code = ending.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    _serve(sys.argv[1])
