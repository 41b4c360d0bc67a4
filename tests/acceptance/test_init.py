"""`tenants init` writes what a repository lacks, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import forked
import pytest
from support import REPOSITORY, Done, Place

from tenants import __version__

NOWHERE = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
"""No DATABASE_URL, nothing."""


def init(folder: Path, *arguments: str) -> Done:
    return Done(*forked.run(["init", *arguments], NOWHERE, folder, seconds=60))


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def fill(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def made(folder: Path, *arguments: str) -> dict[str, bytes]:
    """Let it write, and a second time, which must change nothing and say so."""
    done = init(folder, *arguments)
    assert done.code == 0, done.said
    after = files(folder)
    again = init(folder, *arguments, "--json")
    assert again.code == 0 and again.json["written"] == [] and files(folder) == after, again.said
    assert "nothing was written" in init(folder, *arguments).out
    return after


def test_an_empty_folder_becomes_a_control_repository_that_a_push_can_run(place: Place) -> None:
    place.migrations.rmdir()
    assert sorted(made(place.folder)) == ["Dockerfile", "Procfile", "app.json", "migrations/README.md"]
    app = json.loads((place.folder / "app.json").read_text())
    ours = json.loads((REPOSITORY / "app.json").read_text())
    assert app["formation"] == ours["formation"]
    assert (place.folder / "Procfile").read_text() == (REPOSITORY / "Procfile").read_text()

    def push() -> str:
        environment = {**place.environment, "PATH": f"{Path(sys.executable).parent}:{place.environment['PATH']}"}
        said = ""
        for phase in ("predeploy", "postdeploy"):
            command = ["/bin/sh", "-c", app["scripts"]["dokku"][phase]]
            done = subprocess.run(
                command, cwd=place.folder, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            said += done.stdout + done.stderr
        return said

    assert "nothing to do" in push()
    place.fruits()
    assert "fruits   migrated to 0001" in push()


def test_the_dockerfile_is_the_one_of_this_repository_but_for_where_the_program_comes_from(tmp_path: Path) -> None:
    made(tmp_path)
    ours = [line for line in (REPOSITORY / "Dockerfile").read_text().splitlines()[1:] if line]
    theirs = [line for line in (tmp_path / "Dockerfile").read_text().splitlines()[1:] if line]
    assert [line for line in theirs if line not in ours] == [
        f"ARG TENANTS={__version__}",
        'RUN pip install --no-cache-dir "dokku-tenants[age,lint,notify]==${TENANTS}"',
    ]
    gone = [line for line in ours if line not in theirs]
    assert all(line.startswith("COPY") or "pip install" in line for line in gone) and len(gone) == 3


def test_this_repository_lacks_nothing() -> None:
    done = init(REPOSITORY, "--dry-run", "--json")
    assert done.code == 0 and done.json["kind"] == "control", done.said
    assert [one["file"] for one in done.json["files"] if one["adds"]] == []


def test_a_python_app_gets_its_hooks_and_its_requirement(tmp_path: Path) -> None:
    text = '{\n    "name": "fruits",\n    "scripts": {\n        "dokku": {"predeploy": "tenants deploy"}\n    }\n}\n'
    fill(tmp_path, **{"requirements.txt": "flask==3.1\n", "app.json": text, "app.py": ""})
    after = made(tmp_path)
    assert after["app.json"].decode() == text.replace(
        '"tenants deploy"}', '"tenants deploy", "postdeploy": "tenants live"}'
    )
    assert after["requirements.txt"] == b"flask==3.1\ndokku-tenants[client]\n"
    assert sorted(after) == ["app.json", "app.py", "migrations/0001_first.sql", "requirements.txt"]


@pytest.mark.parametrize(
    ("files_there", "told"),
    [
        ({"pyproject.toml": "", "uv.lock": ""}, "uv add 'dokku-tenants[client]'"),
        ({"requirements.txt": "flask==3 --hash=sha256:00\n"}, "add dokku-tenants[client] to requirements.txt"),
        ({"requirements.txt": "flask\n", "requirements.in": "flask\n"}, "to requirements.in"),
        ({"requirements.txt": "-r base.txt\n"}, "to requirements.txt"),
    ],
)
def test_requirements_that_a_program_keeps_are_told_and_not_touched(
    tmp_path: Path, files_there: dict[str, str], told: str
) -> None:
    fill(tmp_path, **files_there)
    after = made(tmp_path)
    assert {name: after[name].decode() for name in files_there} == files_there
    assert told in init(tmp_path).err


def test_where_alembic_and_dbmate_keep_their_files_they_stay(tmp_path: Path) -> None:
    fill(tmp_path, **{"requirements.txt": "alembic\n", "alembic.ini": "[alembic]\nscript_location = %(here)s/store\n"})
    fill(tmp_path, store__versions__x_one="", **{"store__env.py": ""})
    (tmp_path / "store/versions/1_a.py").write_text('revision = "1"\ndown_revision = None\n')
    after = json.loads(made(tmp_path)["app.json"])
    assert after["scripts"]["dokku"]["predeploy"] == "env TENANTS_MIGRATIONS=store tenants deploy"

    other = tmp_path / "other"
    fill(other, **{"bun.lock": "", "db__migrations__20260101120000_a.sql": "-- migrate:up\n"})
    assert sorted(made(other)) == ["bun.lock", "db/migrations/20260101120000_a.sql"]


@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("prisma__schema.prisma", "node_modules/.bin/prisma migrate deploy"),
        ("knexfile.js", "node_modules/.bin/knex migrate:latest"),
        ("drizzle.config.ts", "node migrate.js"),
        ("bin__rails", "bin/rails db:migrate"),
    ],
)
def test_other_tools_keep_their_migrations(tmp_path: Path, file: str, command: str) -> None:
    fill(tmp_path, **{"package.json": "{}", file: ""})
    assert len(made(tmp_path)) == 2
    assert command in init(tmp_path).err


def test_django_is_run_by_the_hook(tmp_path: Path) -> None:
    fill(tmp_path, **{"manage.py": "", "requirements.txt": "django\n"})
    app = json.loads(made(tmp_path)["app.json"])
    assert app["scripts"]["dokku"]["predeploy"] == "tenants run -- python manage.py migrate --no-input"


def test_an_app_without_python_is_told_the_ways(tmp_path: Path) -> None:
    folder = tmp_path / "fruits"
    fill(folder, **{"Dockerfile": "FROM oven/bun:alpine\n", "server.ts": "", "pyproject.toml": "[tool.ruff]\n"})
    assert sorted(made(folder)) == ["Dockerfile", "migrations/0001_first.sql", "pyproject.toml", "server.ts"]
    said = init(folder).err
    assert "dokku tenants:link db fruits" in said and "mkdir ../control && tenants init ../control --control" in said
    assert "mv migrations ../control/migrations/fruits" in said


def test_a_dry_run_shows_and_writes_nothing(tmp_path: Path) -> None:
    done = init(tmp_path, "--dry-run")
    assert done.code == 0 and 'CMD ["tenants", "agent"]' in done.out, done.said
    assert files(tmp_path) == {}
    done = init(tmp_path, "--dry-run", "--json")
    assert done.json["written"] == [] and done.json["files"][0]["file"] == "app.json" and files(tmp_path) == {}


BAD: dict[str, tuple[dict[str, str], tuple[str, ...], str]] = {
    "no folder": ({}, ("gone",), "there is no folder gone"),
    "a file": ({"x": ""}, ("x",), "x is no folder"),
    "no json": ({"requirements.txt": "", "app.json": '{\n"a": 1,\n}'}, (), "app.json:3"),
    "no object": ({"requirements.txt": "", "app.json": "[]"}, (), "no object"),
    "not utf-8": ({"requirements.txt": "\udcff"}, (), "is not UTF-8"),
    "another predeploy": (
        {"requirements.txt": "", "app.json": '{"scripts":\n{"dokku": {"predeploy": "./build"}}}'},
        (),
        "app.json:2: scripts.dokku.predeploy is './build' already",
    ),
    "an app's Dockerfile": ({"Dockerfile": "FROM x"}, ("--control",), "Dockerfile is there"),
    "a file for a folder": ({"bun.lock": "", "migrations": "x"}, (), "cannot be written"),
    "a folder for a file": ({"bun.lock": "", "app.json/x": ""}, (), "is no file"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_is_told_and_nothing_is_written(tmp_path: Path, what: str) -> None:
    texts, arguments, told = BAD[what]
    for name, text in texts.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    before = files(tmp_path)
    done = init(tmp_path, *arguments)
    assert done.code == 2 and told in done.err and "Next:" in done.err, done.said
    assert "bug in" not in done.err and files(tmp_path) == before


@pytest.mark.parametrize("link", ["app.json", "migrations", "Dockerfile"])
def test_links_that_lead_out_are_not_followed(tmp_path: Path, link: str) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir()
    fill(folder, **{"requirements.txt": ""})
    (outside / "app.json").write_text("{}")
    target = outside if link == "migrations" else outside / "app.json"
    (folder / link).symlink_to(target)
    done = init(folder)
    assert done.code == 2 and "leads out of" in done.err, done.said
    assert (outside / "app.json").read_text() == "{}" and len(list(outside.iterdir())) == 1
    (folder / link).unlink()
    (folder / link).symlink_to(outside / "gone")
    assert "leads nowhere" in init(folder).err and not (outside / "gone").exists()


@pytest.mark.skipif(not os.path.isdir("/sys/kernel"), reason="no /sys: there is no folder in which root may not write")
def test_a_folder_in_which_nothing_can_be_written_is_told(tmp_path: Path) -> None:
    done = init(tmp_path, "/sys/kernel")
    assert done.code == 2 and "cannot be written" in done.err and "nothing was written" in done.err, done.said
