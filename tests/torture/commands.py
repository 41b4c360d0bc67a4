"""The commands under torture: what each begins with, how it is typed, what it may leave, how to tell where it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from torture.world import World


@dataclass(frozen=True)
class Sign:
    """By which to tell from outside that a command has come to a point: a stage on standard error, a query that says
    true, or one more file in the store whose name ends so."""

    name: str
    line: str = ""
    query: str = ""
    stored: str = ""


def _line(stage: str) -> Sign:
    return Sign(f"the line {stage!r}", line=stage)


def _session(name: str, application: str, where: str = "true") -> Sign:
    query = f"SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = '{application}' AND {where})"
    return Sign(name, query=query)


_THERE, _COPY = "datname = 'db.main'", "datname ~ '~scratch~'"
DEPLOY_ROLE = Sign("a deploy role is there", query="SELECT EXISTS (SELECT FROM pg_roles WHERE rolname ~ '~deploy~')")
SCRATCH_ROLE = Sign("a scratch role is there", query="SELECT EXISTS (SELECT FROM pg_roles WHERE rolname ~ '~scratch~')")
SCRATCH = Sign(
    "a scratch database is there", query="SELECT EXISTS (SELECT FROM pg_database WHERE datname ~ '~scratch~')"
)
DUMPS = _session("pg_dump reads", "tenants pg_dump")
UPLOADS = Sign("an archive is on its way", stored=".partial")
ARCHIVED = Sign("an archive is stored", stored=".dump.zst")
KEPT = Sign("a manifest is stored", stored=".json")
COPIES = _session("a copy is made", "tenants psql", _COPY)
REHEARSES = _session("a revision runs on the copy", "tenants migrates fruits", _COPY)
MIGRATES = _session("a revision runs", "tenants migrates fruits", _THERE)
MIGRATED = Sign(
    "it is committed", query="SELECT EXISTS (SELECT FROM fruits.alembic_version WHERE version_num <> '0001')"
)
REPLAYS = _session("psql replays", "tenants psql", _THERE)
SWAPPED = Sign("a schema is set aside", query="SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname ~ '~before~')")
MADE = Sign("the schema is there", query="SELECT to_regnamespace('fruits') IS NOT NULL")
LET_IN = Sign("a login is there", query="SELECT EXISTS (SELECT FROM pg_roles WHERE rolname ~ '^fruits~[a-z0-9]{6}$')")
SHUT_OUT = Sign(
    "the logins are shut out",
    query="SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolcanlogin AND rolname ~ '^fruits~[a-z0-9]{6}$')",
)
SCHEMA_GONE = Sign("the schema is gone", query="SELECT to_regnamespace('fruits') IS NULL")

TAKES = (DEPLOY_ROLE, DUMPS, UPLOADS, ARCHIVED, KEPT, _line("snapshot"))
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
_DEPLOY = (_line("plan"), *TAKES, MIGRATES, MIGRATED, _line("migrate"), _line("prove"))
_REHEARSED = (SCRATCH_ROLE, SCRATCH, COPIES, REHEARSES, _line("rehearse"))
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
        (_line("plan"), MADE, DEPLOY_ROLE, MIGRATES, _line("migrate"), _line("prove")),
        lambda world: world.fruits(),
        app="",
        between=_nothing_in_it,
    ),
    Command(
        "restore",
        ("restore", "fruits", SNAPSHOT),
        "deployed",
        (*TAKES, REPLAYS, SWAPPED, _line("restore")),
        _moved_on,
    ),
    Command(
        "nightly",
        ("nightly",),
        "deployed",
        (*TAKES, SCRATCH_ROLE, SCRATCH, COPIES, _line("drill"), _line("clean")),
        _sold,
        environment={"TENANTS_KEEP_CHANGES": "last=1"},
    ),
    Command(
        "adopt",
        ("adopt", "fruits", "--from", "public"),
        "empty",
        (*TAKES, MADE, _line("create"), _line("adopt"), LET_IN),
        _public,
        schemas=("public", "fruits"),
        app="superuser",
        done_already="fruits has adopted it",
    ),
    Command(
        "drop",
        ("drop", "fruits", "--yes"),
        "deployed",
        (*TAKES, SHUT_OUT, SCHEMA_GONE, _line("drop")),
        app="",
        done_already="there is no tenant 'fruits'",
    ),
)
