"""The commands under torture: what each begins with, how it is typed, what it may leave, how to tell where it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from torture import signs
from torture.signs import Sign
from torture.world import World

TAKES = (signs.DEPLOY_ROLE, signs.DUMPS, signs.UPLOADS, signs.ARCHIVED, signs.KEPT, signs.line("snapshot"))
SNAPSHOT = "<the oldest snapshot>"
"""Stands for its id."""


@dataclass(frozen=True)
class Command:
    name: str
    argv: tuple[str, ...]
    game: str
    """What it begins with: `empty`, or `deployed`."""
    signs: tuple[Sign, ...]
    prepare: Callable[[World], object] = lambda world: None
    schemas: tuple[str, ...] = ("fruits",)
    own: bool = False
    """Whether it is typed with the tenant's own URL."""
    app: str = "tenant"
    """Who writes meanwhile: the app as its `tenant`, as `superuser`, or nobody, an empty string."""
    environment: dict[str, str] = field(default_factory=dict)
    between: Callable[[str, str], bool] = lambda found, after: False
    """Whether that state is one that may be left besides the one before and the one after."""
    tells: tuple[str, ...] = ()
    """With which words it tells that it is between; one of them will do."""
    done_already: str = ""
    """What it says, and exits with 2, where it is called again after it was done."""


def deployed(world: World) -> None:
    """A tenant at its first revision, with a snapshot of it."""
    world.revision(
        "fruits",
        "0001",
        """
        op.execute("CREATE TABLE items (name text PRIMARY KEY, n int NOT NULL)")
        op.execute("INSERT INTO items SELECT 'item ' || i, i FROM generate_series(1, 500) i")
        op.execute("CREATE TABLE log (line text PRIMARY KEY, at timestamptz DEFAULT now())")
        for i in range(10):
            op.execute(f"CREATE TABLE crate{i} (id serial PRIMARY KEY, item text REFERENCES items, what text)")
            op.execute(f"INSERT INTO crate{i} (item, what) SELECT name, repeat('x', 50) FROM items WHERE n <= 50")
            op.execute(f"CREATE INDEX ON crate{i} (what, item)")
        """,
    )
    world.deployed("fruits")
    world.login = world.url_of("fruits").replace(str(world.wire.port), str(world.database.server.port))
    world.snapshot()


def _pending(world: World) -> None:
    body = """
        op.add_column("items", sa.Column("colour", sa.Text))
        op.execute("UPDATE items SET colour = 'red' WHERE n % 2 = 0")
        op.execute("SELECT pg_sleep(0.1)")
        op.execute("ALTER TABLE log ADD COLUMN kind text NOT NULL DEFAULT 'sale'")
        op.execute("CREATE TABLE rest AS SELECT * FROM items WHERE n > 400")
        op.execute("DELETE FROM crate9")
        op.execute("SELECT pg_sleep(0.1)")
        op.execute("DROP TABLE crate8")
    """
    world.revision("fruits", "0002", body, "0001")
    world.revision("fruits", "0003", 'op.execute("CREATE INDEX by_colour ON items (colour)")', "0002")


def _concurrent(world: World) -> None:
    body = """
        with op.get_context().autocommit_block():
            op.execute("DROP INDEX CONCURRENTLY IF EXISTS by_n")
            op.execute("CREATE INDEX CONCURRENTLY by_n ON items (n)")
        op.execute("SELECT pg_sleep(0.1)")
    """
    world.revision("fruits", "0002", body, "0001")


def _moved_on(world: World) -> None:
    """The data went bad after the snapshot."""
    bad = "UPDATE items SET n = 0; DROP TABLE crate9; CREATE TABLE more (id int); INSERT INTO log VALUES ('since')"
    world.database.sql(bad, url=world.login)


def _sold(world: World) -> None:
    world.database.sql("UPDATE items SET n = n + 1", url=world.login)
    world.snapshot()
    world.database.sql("DELETE FROM crate9", url=world.login)


def _public(world: World) -> None:
    world.database.sql("""
        CREATE TYPE mood AS ENUM ('fresh', 'ripe');
        CREATE TABLE items (id serial PRIMARY KEY, name text, feeling mood DEFAULT 'fresh');
        INSERT INTO items (name) SELECT 'item ' || i FROM generate_series(1, 500) i;
        CREATE TABLE crate (item int REFERENCES items, what text);
        CREATE VIEW ripe AS SELECT * FROM items WHERE feeling = 'ripe';
        CREATE TABLE log (line text PRIMARY KEY, at timestamptz DEFAULT now());
    """)


def _at_first(found: str, after: str) -> bool:
    return found == re.sub(r"(?m)^000[23]$", "0001", after)


def _nothing_in_it(found: str, after: str) -> bool:
    return "CREATE TABLE" not in found


STAYS = ("stays: ", "have changed")
_DEPLOY = (signs.line("plan"), *TAKES, signs.MIGRATES, signs.MIGRATED, signs.line("migrate"), signs.line("prove"))
_REHEARSED = (signs.SCRATCH_ROLE, signs.SCRATCH, signs.COPIES, signs.REHEARSES, signs.line("rehearse"))
WITHOUT = ("deploy", "fruits", "--no-rehearsal")

COMMANDS = (
    Command("deploy", ("deploy", "fruits"), "deployed", (*_DEPLOY, *_REHEARSED), _pending),
    Command("deploy --no-rehearsal", WITHOUT, "deployed", _DEPLOY, _pending),
    Command("deploy, concurrently", WITHOUT, "deployed", _DEPLOY, _concurrent, between=_at_first, tells=STAYS),
    Command("deploy, own URL", ("deploy",), "deployed", _DEPLOY, _pending, own=True),
    Command(
        "the first deploy",
        ("deploy",),
        "empty",
        (signs.line("plan"), signs.MADE, signs.DEPLOY_ROLE, signs.MIGRATES, signs.line("migrate"), signs.line("prove")),
        lambda world: world.fruits(),
        app="",
        between=_nothing_in_it,
    ),
    Command(
        "restore",
        ("restore", "fruits", SNAPSHOT),
        "deployed",
        (*TAKES, signs.REPLAYS, signs.SWAPPED, signs.line("restore")),
        _moved_on,
    ),
    Command(
        "nightly",
        ("nightly",),
        "deployed",
        (*TAKES, signs.SCRATCH_ROLE, signs.SCRATCH, signs.COPIES, signs.line("drill"), signs.line("clean")),
        _sold,
        environment={"TENANTS_KEEP_CHANGES": "last=1"},
    ),
    Command(
        "adopt",
        ("adopt", "fruits", "--from", "public"),
        "empty",
        (*TAKES, signs.MADE, signs.line("create"), signs.line("adopt"), signs.LET_IN),
        _public,
        schemas=("public", "fruits"),
        app="superuser",
        done_already="fruits has adopted it",
    ),
    Command(
        "drop",
        ("drop", "fruits", "--yes"),
        "deployed",
        (*TAKES, signs.SHUT_OUT, signs.SCHEMA_GONE, signs.line("drop")),
        app="",
        done_already="there is no tenant 'fruits'",
    ),
)
