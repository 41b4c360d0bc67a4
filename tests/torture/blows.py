"""The blows: what is hit, and how. Each says in words what it hit, or nothing where there is nothing to be hit yet."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from torture.world import World

Running = subprocess.Popen[str]
_OURS = (", since ", "tenants deploy", "tenants restore", "tenants nightly", "tenants adopt", "tenants drop")


@dataclass(frozen=True)
class Blow:
    name: str
    hit: Callable[[World, Running, random.Random], str]
    store: str = "folder"
    """Where snapshots are: a `folder`, a `bucket`, or a `disk` that can be full."""
    kills: bool = False
    """Whether the command itself ends by it, and has no more to say."""


def descendants(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, task.read_text().split()):
                found += [child, *descendants(child)]
    return found


def _send(pid: int, what: signal.Signals) -> str:
    try:
        name = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        os.kill(pid, what)
    except OSError:
        return ""
    said = b" ".join(name[-3:]) if b"confine.py" in b"".join(name) else b" ".join(name[:3])
    return f"{what.name} to {pid}: {said.decode(errors='replace')[:90]}"


def _parent(what: signal.Signals) -> Callable[[World, Running, random.Random], str]:
    return lambda world, running, chance: _send(running.pid, what)


def _tree(world: World, running: Running, chance: random.Random) -> str:
    pids = [running.pid, *descendants(running.pid)]
    chance.shuffle(pids)
    return "; ".join(filter(None, [_send(pid, signal.SIGKILL) for pid in pids]))


def _child(what: signal.Signals) -> Callable[[World, Running, random.Random], str]:
    def hit(world: World, running: Running, chance: random.Random) -> str:
        pids = descendants(running.pid)
        return _send(chance.choice(pids), what) if pids else ""

    return hit


def _end(world: World, wanted: Callable[[str], bool], chance: random.Random, *, all_of_them: bool = False) -> str:
    found = [(pid, name) for pid, name in world.sessions() if wanted(name)]
    if not found:
        return ""
    chosen = found if all_of_them else [chance.choice(found)]
    world.database.sql("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) pid", [[pid for pid, _ in chosen]])
    return f"ended the sessions {chosen} of {found}"


def _lock(world: World, running: Running, chance: random.Random) -> str:
    return _end(world, lambda name: ", since " in name, chance)


def _main(world: World, running: Running, chance: random.Random) -> str:
    return _end(world, lambda name: name in _OURS, chance)


def _worker(world: World, running: Running, chance: random.Random) -> str:
    return _end(world, lambda name: not any(name == ours or ", since " in name for ours in _OURS), chance)


def _sessions(world: World, running: Running, chance: random.Random) -> str:
    return _end(world, lambda _: True, chance, all_of_them=True)


def _wire(world: World, running: Running, chance: random.Random) -> str:
    count = world.wire.cut()
    return f"{count} ends of the way to PostgreSQL cut" if count else ""


def _immediate(world: World, running: Running, chance: random.Random) -> str:
    world.postmaster.send_signal(signal.SIGQUIT)
    world.restart()
    return "SIGQUIT to PostgreSQL, and started again"


def _crash(world: World, running: Running, chance: random.Random) -> str:
    pids = [world.postmaster.pid, *descendants(world.postmaster.pid)]
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    world.restart()
    return f"SIGKILL to PostgreSQL and its {len(pids) - 1} children, and started again"


def _store_wire(world: World, running: Running, chance: random.Random) -> str:
    count = world.store_wire.cut() if world.store_wire else 0
    return f"{count} ends of the way to the bucket cut" if count else ""


def _bucket(**fault: object) -> Callable[[World, Running, random.Random], str]:
    def hit(world: World, running: Running, chance: random.Random) -> str:
        assert world.bucket
        world.bucket.switches.misbehave(**fault)
        return f"the bucket from now on: {fault}"

    return hit


def _full(world: World, running: Running, chance: random.Random) -> str:
    with suppress(OSError), open(world.store / "filler", "wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))
    return "the disk of the store is full"


def heal(world: World) -> None:
    """What a person would see to before they try again: storage works."""
    (world.store / "filler").unlink(missing_ok=True)
    if world.bucket:
        world.bucket.switches.behave()


BLOWS = (
    Blow("all its processes are killed", _tree, kills=True),
    Blow("it is killed", _parent(signal.SIGKILL), kills=True),
    Blow("it is told to stop", _parent(signal.SIGTERM), kills=True),
    Blow("a child is killed", _child(signal.SIGKILL)),
    Blow("a child is told to stop", _child(signal.SIGTERM)),
    Blow("the session of its lock is ended", _lock),
    Blow("its own session is ended", _main),
    Blow("a session of its work is ended", _worker),
    Blow("all its sessions are ended", _sessions),
    Blow("the wire to PostgreSQL is cut", _wire),
    Blow("PostgreSQL stops at once", _immediate),
    Blow("PostgreSQL is killed", _crash),
    Blow("the wire to the bucket is cut", _store_wire, store="bucket"),
    Blow("the bucket answers 500", _bucket(status=500, code="InternalError"), store="bucket"),
    Blow("the bucket answers 403", _bucket(status=403, code="AccessDenied"), store="bucket"),
    Blow("the bucket is slow", _bucket(seconds=0.2), store="bucket"),
    Blow("the bucket cuts what it sends", _bucket(operation="GetObject", body="cut"), store="bucket"),
    Blow("the disk of the store is full", _full, store="disk"),
)
