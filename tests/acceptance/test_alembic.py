"""Plain `alembic`, for the habits people have."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import REPOSITORY, Done, Place

ALEMBIC = str(Path(sys.executable).parent / "alembic")


@pytest.fixture
def control(place: Place) -> Place:
    """A copy of the control repository, as someone has forked it."""
    shutil.rmtree(place.migrations)
    shutil.copytree(REPOSITORY / "migrations", place.migrations, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", place.folder)
    return place


def alembic(place: Place, *arguments: str, url: str | None = None) -> Done:
    environment = {"PATH": place.environment["PATH"], **({"DATABASE_URL": url} if url else {})}
    done = subprocess.run(
        [ALEMBIC, *arguments], cwd=place.folder, env=environment, capture_output=True, text=True, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)


def test_plain_alembic_and_a_deploy_share_one_history(control: Place) -> None:
    control.deployed()
    own = control.url_of("fruits")
    assert "0001 (head)" in alembic(control, "current", url=own).out
    made = alembic(control, "revision", "-m", "add colour", "--rev-id", "0002")
    assert made.code == 0, made.said
    assert (control.migrations / "fruits" / "0002_add_colour.py").is_file()
    assert alembic(control, "upgrade", "head", url=own).code == 0
    done = control.tenants("deploy", "--json")
    assert [d["outcome"] for d in done.json["deploys"]] == ["up-to-date"]
    assert alembic(control, "downgrade", "-1", url=own).code == 0
    assert "0002_add_colour.py" in control.tenants("plan").out
    assert "0002 (head)" in alembic(control, "history").out


def test_plain_alembic_knows_revisions_in_sql(control: Place) -> None:
    control.deployed()
    own = control.url_of("fruits")
    up = "-- migrate:up\nCOPY items (name) FROM STDIN;\ncherry\n\\.\n"
    down = "-- migrate:down\nDELETE FROM items WHERE name = 'cherry';\n"
    (control.migrations / "fruits" / "0002_more.sql").write_text(up + down)
    done = alembic(control, "upgrade", "head", url=own)
    assert done.code == 0, done.said
    assert "0002 (head)" in alembic(control, "current", url=own).out
    assert ("cherry",) in control.database.sql("SELECT name FROM fruits.items")
    assert "0002 (head)" in alembic(control, "history").out
    made = alembic(control, "revision", "-m", "next", "--rev-id", "0003")
    assert made.code == 0, made.said
    assert '"0002"' in (control.migrations / "fruits" / "0003_next.py").read_text().replace("'", '"')
    assert [d["outcome"] for d in control.tenants("deploy", "--json").json["deploys"]] == ["migrated"]
    assert alembic(control, "downgrade", "0001", url=own).code == 0
    assert ("cherry",) not in control.database.sql("SELECT name FROM fruits.items")


def test_plain_alembic_works_on_another_project_when_told(control: Place) -> None:
    (control.migrations / "other").mkdir()
    made = alembic(control, "-x", "project=other", "revision", "-m", "first", "--rev-id", "0001")
    assert made.code == 0, made.said
    control.deployed()
    own = control.url_of("other")
    assert "0001 (head)" in alembic(control, "-x", "project=other", "current", url=own).out
    missing = alembic(control, "-x", "project=nothing", "history")
    assert missing.code != 0
    assert "there is no project nothing" in missing.said


def test_plain_alembic_refuses_the_admins_url(control: Place) -> None:
    done = alembic(control, "upgrade", "head", url=control.database.url)
    assert done.code != 0
    assert "not a tenant's own" in done.said
    assert control.database.sql("SELECT to_regclass('public.items'), to_regclass('public.alembic_version')") == [
        (None, None)
    ]


def test_plain_alembic_without_a_database_says_what_is_missing(control: Place) -> None:
    done = alembic(control, "upgrade", "head")
    assert done.code != 0
    assert "DATABASE_URL is not set" in done.said
