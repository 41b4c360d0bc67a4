"""One kill: what is drawn, and how it is carried out while the app writes."""

from __future__ import annotations

import os
import random
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg
from support import Done, until
from torture import commands
from torture.blows import BLOWS, Blow
from torture.commands import COMMANDS, Command
from torture.signs import Sign
from torture.world import World

SEED = os.environ.get("TENANTS_TORTURE_SEED", "0")


@dataclass(frozen=True)
class Kill:
    """One draw: at the sign or a little later; without one at a fraction of the time that it takes undisturbed."""

    command: Command
    blow: Blow
    sign: Sign | None
    after: float
    """Seconds after the sign, or the fraction."""
    patient: bool = True
    """Whether orphans may end by themselves before the next run begins."""

    @classmethod
    def drawn(cls, number: int) -> Kill:
        chance = random.Random(f"{SEED}/{number}")
        command = chance.choice(COMMANDS)
        sign = chance.choice((None, *command.signs, *command.signs))
        after = chance.random() if sign is None else chance.choice((0, 0, chance.random() * 0.1))
        return cls(command, chance.choice(BLOWS), sign, after, chance.random() < 0.7)

    def __str__(self) -> str:
        moment = f"{self.after:.3f} s after: {self.sign.name}" if self.sign else f"after {self.after:.0%} of its time"
        return f"tenants {self.command.name}; {self.blow.name}; {moment}{'' if self.patient else '; again at once'}"


def _typed(world: World, command: Command) -> tuple[list[str], dict[str, str]]:
    own = {"DATABASE_URL": world.through_wire(world.login)} if command.own else {}
    argv = [world.oldest if word == commands.SNAPSHOT else word for word in command.argv]
    return argv, {**command.environment, **own}


def begin(world: World, command: Command) -> subprocess.Popen[str]:
    """Type it, and let it run."""
    argv, environment = _typed(world, command)
    return world.start(*argv, **environment)


def typed(world: World, command: Command) -> Done:
    """Type it, and wait for its end."""
    argv, environment = _typed(world, command)
    return world.tenants(*argv, **environment)


class App(threading.Thread):
    """The app: it writes a line whenever it can, and remembers those that it was told are written."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url, self.written, self._stopped = url, list[str](), threading.Event()

    def run(self) -> None:
        count = 0
        while not self._stopped.wait(0.01):
            try:
                with psycopg.connect(self._url, autocommit=True, connect_timeout=5) as connection:
                    while not self._stopped.wait(0.01):
                        count += 1
                        connection.execute("INSERT INTO log (line) VALUES (%s)", [f"line {count}"])
                        self.written.append(f"line {count}")
            except psycopg.Error:
                continue  # what the app's own retries are for

    def stop(self) -> list[str]:
        self._stopped.set()
        self.join()
        return self.written


def struck(world: World, kill: Kill, seconds: float) -> tuple[Done, str]:
    """Run the command and hit at the moment. Returns how it ended, and in words what was hit."""
    lines: list[str] = []
    chance, hit = random.Random(str(kill)), ""
    with begin(world, kill.command) as running:
        try:
            reader = threading.Thread(target=lambda: lines.extend(running.stderr or ()), daemon=True)
            reader.start()
            began, seen = time.monotonic(), _seer(world, kill, lines, seconds)
            while running.poll() is None and not seen():
                time.sleep(0.005)
            time.sleep(kill.after if kill.sign else 0)
            while running.poll() is None and not (hit := kill.blow.hit(world, running, chance)):
                time.sleep(0.005)
            hit = f"{hit or 'nothing was hit'}, after {time.monotonic() - began:.2f} s"
            until(lambda: running.poll() is not None, "it ended", 150)
            reader.join(10)
            return Done(running.returncode, running.stdout.read() if running.stdout else "", "".join(lines)), hit
        finally:
            running.kill()


def _seer(world: World, kill: Kill, lines: list[str], seconds: float) -> Callable[[], bool]:
    sign, began = kill.sign, time.monotonic()
    if sign is None:
        return lambda: time.monotonic() - began >= kill.after * seconds
    if sign.line:
        return lambda: any(line.split()[1:2] == [sign.line] for line in list(lines))
    if sign.stored:
        count = world.count(sign.stored)
        return lambda: world.count(sign.stored) > count
    return lambda: world.says(sign.query)
