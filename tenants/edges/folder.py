"""The folder of migrations on disk: which projects there are, and the text of their revisions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tenants.core import sources
from tenants.core.errors import HistoryError, SettingsError, UsageError
from tenants.core.history import History
from tenants.core.names import check_name


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
    for path in (folder, *_revision_files(folder)):
        if not path.resolve().is_relative_to(root.resolve()):
            raise UsageError(f"{path} is a link that leads out of {root}", next="put what it leads to in its place")
    return folder


def _revisions_in(folder: Path) -> Path | None:
    return next((f for f in (folder / "versions", folder) if f.is_dir() and _revision_files(f)), None)


def _revision_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if sources.is_revision(file.name) and file.is_file())


def texts(folder: Path) -> list[tuple[str, str]]:
    """The names and texts of the revisions of one project. Raises HistoryError."""
    texts = []
    for file in _revision_files(folder):
        try:
            content = file.read_bytes()
        except OSError as error:
            reason = error.strerror or str(error)
            raise HistoryError(f"{file.name}: cannot be read: {reason}", next="check its permissions") from None
        texts.append((file.name, sources.decode(file.name, content)))
    return texts


def history(folder: Path) -> History:
    """The revisions of one project. Raises HistoryError."""
    return History.of(sources.revisions(texts(folder)))
