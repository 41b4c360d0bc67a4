"""`tenants revision` writes the next file of a project; with --autogenerate what its models have that the schema has
not."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest
from support import Done, Place

MODELS = """
    import os
    from sqlalchemy import MetaData, String, Text
    from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

    class Base(DeclarativeBase):
        pass

    class Item(Base):
        __tablename__ = "items"
        name: Mapped[str] = mapped_column(Text, primary_key=True)
        colour: Mapped[str | None] = mapped_column(String(20))
"""


def models(place: Place, text: str = MODELS) -> None:
    (place.folder / "app").mkdir(exist_ok=True)
    (place.folder / "app" / "models.py").write_text(dedent(text))


def generate(place: Place, *arguments: str, **environment: str | None) -> Done:
    wanted = ["revision", "--autogenerate", "--models", "app.models:Base.metadata", "-m", "colours"]
    return place.tenants(*wanted, *arguments, **environment)


def files(place: Place) -> list[str]:
    return sorted(p.relative_to(place.migrations).as_posix() for p in place.migrations.rglob("*") if p.is_file())


def test_the_next_file_is_deployed_as_it_is_named(place: Place) -> None:
    nowhere: dict[str, str | None] = {"DATABASE_URL": None, "TENANTS_STORE": None}
    done = place.tenants("revision", "-m", "items", "fruits", **nowhere)
    assert done.code == 0 and done.out.split() == ["migrations/fruits/0001_items.sql"] and "Next:" in done.err
    done = place.tenants("revision", "-m", "add colour", "--python", "--json", **nowhere)
    assert done.code == 0, done.said
    file = place.migrations / "fruits" / "0002_add_colour.py"
    assert done.json == {
        "project": "fruits",
        "revision": "0002",
        "follows": "0001",
        "file": str(file),
        "notes": [],
    }
    assert place.tenants("revision", "-m", "third", **nowhere).out.split() == ["migrations/fruits/0003_third.sql"]
    place.deployed()
    assert place.database.sql("SELECT version_num FROM fruits.alembic_version") == [("0003",)]


def test_an_apps_own_folder_is_not_divided(place: Place) -> None:
    (place.folder / "server.ts").touch()
    done = place.tenants("revision", "-m", "items", DATABASE_URL=None)
    assert done.out.split() == ["migrations/0001_items.sql"], done.said
    done = place.tenants("revision", "-m", "items", "fruits", DATABASE_URL=None)
    assert done.code == 2 and "not divided into projects" in done.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-m", "x"], "which project? (projects: fruits, pears)"),
        (["-m", "x", "fruit"], "there is no project 'fruit'; did you mean fruits?"),
        (["-m", "x", "Fruits!"], "not allowed"),
        (["-m", " ", "fruits"], "in a few words"),
        (["-m", "x", "fruits", "--models", "a:b"], "--models is for --autogenerate"),
        (["-m", "x", "fruits", "--autogenerate", "--sql"], "what is generated is Python"),
        (["-m", "x", "fruits", "--autogenerate"], "nothing says where the models are"),
        (["-m", "x", "fruits", "--autogenerate", "--models", "app/models.py"], "names no models"),
        (["-m", "x", "fruits", "--autogenerate", "--models", "a:b"], "DATABASE_URL is not set"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_told_and_writes_nothing(place: Place, arguments: list[str], told: str) -> None:
    place.fruits()
    place.revision("pears", "0001", "pass")
    before = files(place)
    done = place.tenants("revision", *arguments, DATABASE_URL=None)
    assert done.code == 2 and told in done.err and "Next:" in done.err, done.said
    assert files(place) == before


@pytest.mark.every_server
def test_models_are_compared_with_the_tenants_schema_and_what_is_written_is_deployed(place: Place) -> None:
    place.fruits()
    place.deployed()
    models(place)
    place.database.sql("CREATE TABLE public.neighbours (id int)")
    beside = 'CREATE TABLE "items~20260101T000000" (id int); CREATE TABLE schema_migrations (version text)'
    place.database.sql(beside, url=place.url_of("fruits"))
    done = generate(place)
    assert done.code == 0 and done.out.split() == ["migrations/fruits/0002_colours.py"], done.said
    text = (place.migrations / "fruits" / "0002_colours.py").read_text()
    assert "op.add_column('items', sa.Column('colour', sa.String(length=20)" in text, text
    assert not any(
        word in text for word in ("neighbours", "~2026", "schema_migrations", "alembic_version", "drop_table")
    )
    refused = generate(place)
    assert refused.code == 3 and "tenants deploy fruits" in refused.err, refused.said
    place.deployed()
    done = generate(place, "--json")
    assert done.code == 0 and done.json["file"] is None, done.said
    assert "no difference" in generate(place).out and len(files(place)) == 2
    place.nothing_left()


def test_a_tenants_own_url_and_a_pyproject_do_as_well(place: Place) -> None:
    place.fruits("")
    place.tenants("create", "fruits")
    own = place.url_of("fruits")
    assert place.tenants("deploy", DATABASE_URL=own).code == 0
    models(place)
    (place.folder / "pyproject.toml").write_text('[tool.tenants]\nmodels = "app.models:Base"\n')
    done = place.tenants("revision", "--autogenerate", "-m", "colours", DATABASE_URL=own)
    assert done.code == 0 and done.out.split() == ["migrations/0002_colours.py"], done.said
    assert place.tenants("deploy", DATABASE_URL=own).code == 0
    assert place.database.sql("SELECT colour FROM fruits.items LIMIT 1") == [(None,)]


def test_on_a_laptop_the_revisions_run_in_a_scratch_database(place: Place) -> None:
    place.fruits("")
    models(place)
    place.database.sql("CREATE TABLE public.items (name text PRIMARY KEY, colour varchar(20))")
    before = place.database.dump("public")
    done = generate(place)
    assert done.code == 0 and done.out.split() == ["migrations/0002_colours.py"], done.said
    assert "no difference between the models and what the revisions make" in generate(place).out
    assert place.database.dump("public") == before and place.database.schemas() == ["public"]
    place.nothing_left()


BROKEN = {
    "an error": ("import os\n\nraise ValueError('apples')\n", "app/models.py:3: ValueError: apples"),
    "a syntax error": ("x = 1\nclass\n", "app/models.py:2: SyntaxError"),
    "no such name": ("x = 1\n", "app.models has no Base"),
    "another thing": ("class Base:\n    metadata = 3\n", "is no MetaData of SQLAlchemy's, but 'int'"),
    "an exit": ("raise SystemExit(0)\n", "SystemExit"),
    "an exit that is hard": ("import os\nos._exit(0)\n", "the models cannot be compared"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_models_that_cannot_be_loaded_are_told_with_file_and_line(place: Place, what: str) -> None:
    text, told = BROKEN[what]
    place.fruits()
    models(place, text)
    done = generate(place)
    assert done.code == 6 and told in done.err and "Next:" in done.err, done.said
    assert files(place) == ["fruits/0001_items.py"]
    place.nothing_left()


def test_models_that_are_not_there_are_told(place: Place) -> None:
    place.fruits()
    done = generate(place)
    assert done.code == 6 and "No module named 'app'" in done.err and "--models" in done.err, done.said


def test_what_would_be_lost_is_told(place: Place) -> None:
    place.fruits()
    models(place, MODELS.replace('"items"', '"things"'))
    done = generate(place)
    assert done.code == 0 and "it drops table items, which no model has" in done.err, done.said


def test_models_see_no_secret_and_cannot_write(place: Place) -> None:
    """They run beside the admin's URL, and know the tenant's alone."""
    place.fruits()
    place.deployed()
    (place.folder / ".env").write_text("DATABASE_URL=of-the-admin")
    spy = (
        MODELS
        + """
    import psycopg
    seen = dict(os.environ)
    try:
        seen["file"] = open(".env").read()
    except OSError as error:
        seen["file"] = type(error).__name__
    try:
        seen["parent"] = open(f"/proc/{os.getppid()}/environ").read()
    except OSError as error:
        seen["parent"] = type(error).__name__
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        seen["role"] = connection.execute("SELECT current_user || ' ' || session_user").fetchone()[0]
    raise ValueError(repr({**seen, "DATABASE_URL": "fruits~deploy" in seen["DATABASE_URL"]}))
    """
    )
    models(place, spy)
    done = generate(place, AWS_SECRET_ACCESS_KEY="storage-secret", TENANTS_HEARTBEAT_URL="https://ping")
    assert done.code == 6 and "ValueError" in done.err, done.said
    assert "'DATABASE_URL': True" in done.err and "fruits fruits~deploy~" in done.err, done.said
    for secret in ("storage-secret", "https://ping", "of-the-admin", place.database.url, "TENANTS_STORE"):
        assert secret not in done.err

    models(
        place,
        MODELS
        + """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    @event.listens_for(Engine, "begin")
    def write(connection):
        connection.exec_driver_sql("DELETE FROM items")
    """,
    )
    before = place.database.dump("fruits")
    done = generate(place)
    assert done.code == 6 and "read-only transaction" in done.err, done.said
    assert place.database.dump("fruits") == before and files(place) == ["fruits/0001_items.py"]


def test_two_who_write_at_once_do_not_overwrite_each_other(place: Place) -> None:
    folder = place.migrations / "fruits"
    folder.mkdir()
    (folder / "0001_items.sql").symlink_to(Path("/nowhere"))
    done = place.tenants("revision", "-m", "items", "fruits", DATABASE_URL=None)
    assert done.code == 2 and "cannot be written" in done.err, done.said
