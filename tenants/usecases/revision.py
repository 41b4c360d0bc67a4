"""Revision: the next file of a project, named as its folder has it. No database is needed for it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tenants.core import newrevision
from tenants.core.errors import UsageError
from tenants.core.names import check_name
from tenants.core.near import did_you_mean
from tenants.core.newrevision import Body, New
from tenants.edges import folder, worktree


@dataclass(frozen=True)
class Place:
    """Where the next revision goes."""

    root: Path
    """The folder of migrations."""
    path: Path
    project: str | None
    """None where the folder is not divided into projects."""


@dataclass(frozen=True)
class Written:
    place: Place
    made: New
    path: Path


def place(root: Path, project: str | None) -> Place:
    """The folder of the project, which may be a new one. Raises SettingsError if there is no folder of migrations,
    UsageError if it does not tell which project is meant, or a name is like that of another one."""
    found = folder.look(root)
    if found.own:
        if project is not None:
            raise UsageError(
                f"{root} is not divided into projects: all revisions in it are one app's",
                next="leave the project out: tenants revision -m …",
            )
        return Place(root, found.own, None)
    if project is None:
        known = sorted(found.projects)
        if len(known) == 1:
            return Place(root, found.projects[known[0]], known[0])
        if known or worktree.look(root.parent).control:
            raise UsageError(
                f"which project? (projects: {', '.join(known) or 'none yet'})",
                next=f"tenants revision -m … {known[0] if known else 'PROJECT'}",
            )
        return Place(root, _versions(root), None)
    check_name(project, "project")
    if project in found.projects:
        return Place(root, found.projects[project], project)
    path = root / project
    if not path.is_dir() and (meant := did_you_mean(project, found.projects, cutoff=0.75)):
        raise UsageError(
            f"there is no project {project!r}{meant}", next=f"for a new one, make its folder first: mkdir {path}"
        )
    if path.exists() and not path.resolve().is_relative_to(root.resolve()):
        raise UsageError(f"{path} is a link that leads out of {root}", next="put what it leads to in its place")
    return Place(root, _versions(path), project)


def _versions(path: Path) -> Path:
    return path / "versions" if (path / "versions").is_dir() else path


def write(where: Place, message: str, *, python: bool | None = None, body: Body | None = None) -> Written:
    """Write the next revision, empty or with that body. Raises
    HistoryError for a folder that is no one line of revisions, UsageError where there cannot be a next one."""
    if not message.strip():
        raise UsageError("a revision says in a few words what it does", next='tenants revision -m "add colour"')
    files = folder.texts(where.path) if where.path.is_dir() else []
    now, random = datetime.now(UTC), secrets.token_hex(6)
    made = newrevision.new(files, message, now, random, python=python, body=body)
    path = where.path / made.file
    try:
        where.path.mkdir(exist_ok=True, parents=True)
        worktree.create(path, made.text)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", next="check the folder, and type it again"
        ) from None
    return Written(where, made, path)
