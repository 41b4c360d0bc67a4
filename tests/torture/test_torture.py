"""Something is killed at every step, and nothing is ever half done, lost, or left.

`make torture` draws a command, a blow and a moment for each kill; TENANTS_TORTURE_SEED brings the same ones again, and
TENANTS_TORTURE_KILLS says how many. Every run of the tests tries a few that have found something once.
"""

from __future__ import annotations

import difflib
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest
from support import Bucket, Done, ending, until
from torture import blows, commands, signs
from torture.blows import BLOWS
from torture.commands import COMMANDS, Command
from torture.kill import SEED, App, Kill, begin, struck, typed
from torture.world import World, loaded, may_mount, new_game

KILLS = int(os.environ.get("TENANTS_TORTURE_KILLS", "0"))


@dataclass(frozen=True)
class Reference:
    """A saved game, and what an undisturbed run makes of it."""

    game: World
    before: str
    after: str
    seconds: float

    def of(self, command: Command, state: str) -> set[str]:
        """before, after or between; a command that changes nothing has them both. Fails where it is none of them."""
        found = {name for name, text in (("before", self.before), ("after", self.after)) if state == text}
        if not found and command.between(state, self.after):
            found = {"between"}
        texts = [text.splitlines() for text in (self.before, state, self.after)]
        unlike = ["\n".join(difflib.unified_diff(one, two, lineterm="")) for one, two in pairwise(texts)]
        assert found, "the state is neither the one before nor the one after:\n" + "\n\n".join(unlike)
        return found


Games = Callable[[Command], Reference]


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tests-") as name:
        yield Path(name)


@pytest.fixture(scope="session")
def games(folder: Path) -> Games:
    """Made when they are asked for, once in each worker."""
    saved: dict[str, World] = {}
    references: dict[str, Reference] = {}

    def base(name: str) -> World:
        if name not in saved:
            (folder / name).mkdir()
            saved[name] = new_game(folder / name)
            if name == "deployed":
                commands.deployed(saved[name])
            saved[name].save()
        return saved[name]

    def reference(command: Command) -> Reference:
        if command.name not in references:
            number = COMMANDS.index(command)
            with loaded(base(command.game), folder / f"game{number}", keep=True) as game:
                command.prepare(game)
                before = game.state(*command.schemas)
                game.save()
            with loaded(game, folder / f"reference{number}") as world:
                began = time.monotonic()
                with ending(begin(world, command)) as running:
                    said = running.communicate(timeout=120)
                took = time.monotonic() - began
                assert running.returncode == 0, said
                references[command.name] = Reference(game, before, world.state(*command.schemas), took)
        return references[command.name]

    return reference


def judge(world: World, kill: Kill, reference: Reference, done: Done) -> None:
    """Right after the blow, when orphaned sessions have ended."""
    until(lambda: world.sessions() == [], "orphaned sessions end by themselves", 30)
    state = reference.of(kill.command, world.state(*kill.command.schemas))
    assert done.code != 0 or "after" in state, f"it exits with 0, and the state is the one {state}"
    at_rest = "before" in state or ("between" in state and not kill.command.tells)
    assert "untouched" not in done.err or at_rest, f"it says untouched, and the state is the one {state}"
    assert "Traceback" not in done.said and "this is a bug" not in done.said, "it ends with a bug"
    world.look_into_store()
    if not kill.blow.kills and done.code != 0:
        assert "Next:" in done.err, "it does not say what comes next"
        if "between" in state and kill.command.tells:
            assert any(words in done.err for words in kill.command.tells), "it does not say what stays"
    if done.code == 143:
        world.nothing_left()


def tortured(kill: Kill, games: Games, world: World) -> None:
    """The one test: strike, judge, run again, judge."""
    reference = games(kill.command)
    url = {"tenant": world.login, "superuser": world.database.url}.get(kill.command.app)
    app = App(url) if url else None
    if app:
        app.start()
    done, hit, again = Done(0, "", ""), "", Done(0, "", "")
    try:
        done, hit = struck(world, kill, reference.seconds)
        blows.heal(world)
        if kill.patient:
            judge(world, kill, reference, done)
        again = typed(world, kill.command)
        written = app.stop() if app else []
        already = kill.command.done_already
        assert again.code == 0 or (already and again.code == 2 and already in again.err), "the next run needs a hand"
        state = reference.of(kill.command, world.state(*kill.command.schemas))
        assert "after" in state, f"after the next run the state is the one {state}"
        until(lambda: world.sessions() == [], "all sessions end", 30)
        world.look_into_store()
        world.nothing_left()
        lost = set(written) - world.logged() if app else set()
        assert not lost, f"{len(lost)} of {len(written)} rows that were acknowledged are lost: {sorted(lost)[:5]}"
    except (AssertionError, psycopg.Error, OSError) as error:
        told = (
            f"{kill}\n{hit}\n\nit ended with {done.code}:\n{done.said}\nthe next run with {again.code}:\n{again.said}"
        )
        where = traceback.extract_tb(error.__traceback__)[-1].line
        raise AssertionError(f"{where}\n{error}\n\nseed {SEED}: {told}") from None
    finally:
        if app:
            app.stop()


def play(kill: Kill, games: Games, folder: Path, s3: str, name: str) -> None:
    store = kill.blow.store
    if store == "disk" and not may_mount(folder / f"mount{name}"):
        pytest.skip("no small disk can be mounted here")
    with loaded(games(kill.command).game, folder / f"kill{name}", megabytes=2 if store == "disk" else 0) as world:
        if store == "bucket":
            world.keep_in(Bucket.create(s3, f"t{os.getpid()}-{name}"))
        tortured(kill, games, world)


FOUND = (
    ("drop", "it is killed", signs.SHUT_OUT),
    ("restore", "all its processes are killed", signs.REPLAYS),
    ("deploy --no-rehearsal", "its own session is ended", signs.MIGRATED),
)


def test_what_has_found_something_once(games: Games, folder: Path, s3: str) -> None:
    by_name = {command.name: command for command in COMMANDS}, {blow.name: blow for blow in BLOWS}
    for command, blow, sign in FOUND:
        play(Kill(by_name[0][command], by_name[1][blow], sign, 0), games, folder, s3, f"-{command}")


@pytest.mark.skipif(not KILLS, reason="make torture does it")
@pytest.mark.parametrize("number", range(max(KILLS, 1)))
def test_whatever_is_hit_nothing_is_half_done_lost_or_left(number: int, games: Games, folder: Path, s3: str) -> None:
    kill = Kill.drawn(number)
    print(kill)
    play(kill, games, folder, s3, str(number))
