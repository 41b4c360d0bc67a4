"""The folder of migrations on disk: which projects there are, and the text of their revisions."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tenants.core import sources
from tenants.core.errors import HistoryError, Refused, SettingsError, UsageError
from tenants.core.history import History
from tenants.core.names import check_name
from tenants.core.near import did_you_mean
from tenants.core.scan import scan


@dataclass(frozen=True)
class Migrations:
    """What TENANTS_MIGRATIONS holds: revisions of one project (`own`), or a folder for each of several (`projects`)."""

    folder: Path
    own: Path | None
    projects: dict[str, Path]


def look(folder: Path) -> Migrations:
    """Find the revisions. They lie in the folder itself, or in `versions/`, as Alembic makes it; or else in folders of
    that kind, one for each project. Raises SettingsError if there is no such folder, BadName for a project's,
    UsageError for a link that leads elsewhere."""
    if not folder.is_dir():
        raise SettingsError(
            f"there is no folder of migrations at {folder}",
            next="make one (tenants init, or mkdir -p migrations/PROJECT), or say where it is: TENANTS_MIGRATIONS=path",
        )
    if own := _revisions_in(folder):
        return Migrations(folder, _within(folder, own), {})
    projects = {}
    for child in sorted(folder.iterdir()):
        if child.is_dir() and not child.name.startswith((".", "_")) and (found := _revisions_in(child)):
            projects[check_name(child.name, "project")] = _within(folder, found)
    return Migrations(folder, None, projects)


def _within(root: Path, folder: Path) -> Path:
    """What lies elsewhere on this machine is not what was pushed, and is not shown to project code."""
    for path in (folder, *(folder / name for name in _revision_files(folder))):
        if (path.is_symlink() or path is folder) and not path.resolve().is_relative_to(root.resolve()):
            raise UsageError(f"{path} is a link that leads out of {root}", next="put what it leads to in its place")
    return folder


def _revisions_in(folder: Path) -> Path | None:
    return next((f for f in (folder / "versions", folder) if f.is_dir() and _revision_files(f)), None)


def _revision_files(folder: Path) -> list[str]:
    """Their names."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if sources.is_revision(entry.name) and entry.is_file())


def divided(found: Migrations, own: tuple[str, str] | None) -> Mapping[str, Path]:
    """The folders by project: all of them for the admin; with the URL of a tenant, `own` with its project, that of its
    project alone. Raises Refused or UsageError if the folder is not made for that."""
    if own is None:
        if found.own:
            raise Refused(
                f"{found.folder} is not divided into projects, and DATABASE_URL is the admin's",
                next="move them to migrations/PROJECT/, or set the app's own DATABASE_URL: tenants create NAME",
            )
        return found.projects
    tenant, project = own
    if found.own:
        return {project: found.own}
    if found.projects and project not in found.projects:
        raise UsageError(
            f"{found.folder} has folders for {', '.join(found.projects)}; none for {project},"
            f" the project of {tenant}{did_you_mean(project, found.projects)}",
            next=f"add {found.folder}/{project}, or put the revisions into {found.folder} itself",
        )
    return {project: found.projects.get(project, found.folder)}


def in_order(found: Migrations) -> bool:
    """Whether there are revisions whose place is that of their names: those in SQL."""
    folders = [found.own] if found.own else found.projects.values()
    return any(name.endswith(".sql") for folder in folders for name in _revision_files(folder))


def history(folder: Path, root: Path | None = None) -> History:
    """The revisions of one project. Raises HistoryError, which names files as they lie in `root`."""
    try:
        return History.of(sources.revisions(texts(folder)))
    except HistoryError as error:
        if root and folder != root:
            within = folder.relative_to(root).as_posix()
            files = re.compile(rf"(?<![\w./-])({'|'.join(map(re.escape, _revision_files(folder)))})\b")
            error.message = files.sub(rf"{within}/\1", error.message)
            error.next = files.sub(rf"{within}/\1", error.next) if error.next else None
        raise


def scanned(folder: Path) -> History | None:
    """The same in a fraction of the time, without messages; None if it takes more than a look at each file. Raises
    HistoryError as well."""
    found = scan(texts(folder))
    return None if found is None else History.of(found)


def texts(folder: Path) -> list[tuple[str, str]]:
    """The names and texts of the revisions of one project. Raises HistoryError."""
    texts = []
    for name in _revision_files(folder):
        try:
            with open(f"{folder}/{name}", "rb", buffering=0) as file:  # noqa: PTH123  # there may be a thousand
                content = file.read()
        except OSError as error:
            reason = error.strerror or str(error)
            raise HistoryError(f"{name}: cannot be read: {reason}", next="check its permissions") from None
        texts.append((name, sources.decode(name, content)))
    return texts
