"""Client programs: the newest of those that are there, or the way to get them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tenants.core.errors import ProgramError
from tenants.edges import programs


@pytest.fixture(autouse=True)
def open_to_others(tmp_path: Path) -> None:
    """As folders of programs are: they are started as another user."""
    tmp_path.chmod(0o755)


def put(folder: Path, version: str, *names: str) -> Path:
    """A folder with programs that say that they are of that version."""
    folder.mkdir()
    for name in names or ("pg_dump", "pg_restore", "psql"):
        (folder / name).write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n")
        (folder / name).chmod(0o755)
    return folder


def path(*folders: Path) -> str:
    return os.pathsep.join(str(folder) for folder in folders)


def test_the_newest_programs_are_taken_wherever_they_stand_on_the_path(tmp_path: Path) -> None:
    older, newer = put(tmp_path / "a", "99.9"), put(tmp_path / "b", "99.10 (Debian 99.10-1)")
    found = programs.find(path(older, newer), 99)
    assert (found.folder, found.version, found.major) == (newer, "99.10", 99)
    assert found["pg_dump"] == str(newer / "pg_dump")
    assert programs.find(path(newer, older), 99) == found


def test_a_version_of_the_future_is_taken_too(tmp_path: Path) -> None:
    assert programs.find(path(put(tmp_path / "a", "99beta1")), 14).major == 99


@pytest.mark.parametrize(
    ("version", "names"),
    [
        ("99.1", ["pg_dump"]),
        ("99.1", ["pg_dump", "pg_restore"]),
        ("unknown", ["pg_dump", "pg_restore", "psql"]),
        ("", ["pg_dump", "pg_restore", "psql"]),
    ],
)
def test_a_folder_that_has_not_all_of_them_or_does_not_answer_is_passed_over(
    tmp_path: Path, version: str, names: list[str]
) -> None:
    with pytest.raises(ProgramError, match="is older than the server, which is PostgreSQL 99"):
        programs.find(path(put(tmp_path / "a", version, *names), tmp_path / "no-such-folder"), 99)


def test_a_program_that_cannot_be_run_is_passed_over(tmp_path: Path) -> None:
    folder = put(tmp_path / "a", "99.1")
    (folder / "pg_dump").write_bytes(b"\x7fELF of another machine")
    with pytest.raises(ProgramError, match="is older than the server"):
        programs.find(path(folder), 99)


def test_programs_that_are_older_than_the_server_are_told_with_the_way_to_get_newer_ones(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=r"pg_dump 90\.3 is older than the server, which is PostgreSQL 99") as caught:
        programs.find(path(put(tmp_path / "a", "90.3")), 99)
    assert "postgresql-client-99" in str(caught.value.next)
    assert "dokku-tenants[client]" in str(caught.value.next)
    assert caught.value.exit_code == 5


def test_the_programs_of_the_wheel_are_found_without_a_path() -> None:
    found = programs.find("", 18)
    assert found.major >= 18
    assert os.access(found["pg_restore"], os.X_OK)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has other users to start programs as")
def test_programs_that_other_users_cannot_start_are_passed_over(tmp_path: Path) -> None:
    folder = put(tmp_path / "a", "99.1")
    tmp_path.chmod(0o700)
    with pytest.raises(ProgramError, match="is older than the server"):
        programs.find(path(folder), 99)
