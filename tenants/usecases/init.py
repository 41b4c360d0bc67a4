"""Init: what a repository lacks is written into it, and nothing else. It asks nothing that the folder tells, and needs
neither a database nor a network."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tenants.core import scaffold
from tenants.core.errors import BadName, MigrationError, TenantsError
from tenants.core.names import check_name
from tenants.core.scaffold import Step
from tenants.edges import folder as folders
from tenants.edges import worktree


@dataclass(frozen=True)
class Survey:
    """What there is, and what is to be written."""

    folder: Path
    control: bool
    found: tuple[tuple[str, str], ...]
    steps: tuple[Step, ...]
    notes: tuple[str, ...]
    next: tuple[str, ...]

    @property
    def writes(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.what)


def survey(folder: Path, *, control: bool | None = None) -> Survey:
    """Look at the folder, and plan. `control` says what it is to be; None: it tells by itself. Writes nothing. Raises
    UsageError for a folder that cannot be, and Refused where something else stands in the place of what is needed."""
    tree = worktree.look(folder, control=control)
    notes = []
    if tree.migrations:
        try:
            for path in (found := folders.look(folder / tree.migrations)).projects.values() or filter(
                None, [found.own]
            ):
                folders.history(path, folder / tree.migrations)
        except (MigrationError, BadName) as error:
            notes.append(f"{tree.migrations} would stop a push: {error.message}")
    app = _app_name(folder)
    return Survey(
        folder,
        tree.control,
        tuple(tree.found()),
        scaffold.steps(tree),
        tuple(notes),
        tuple(scaffold.next_steps(tree, app)),
    )


def write(found: Survey) -> None:
    """Write what the survey has planned. Raises UsageError, which says what has been written before."""
    worktree.write(found.folder, found.writes)


def _app_name(folder: Path) -> str:
    name = re.sub(r"[^a-z0-9._-]+", "-", folder.resolve().name.lower()).strip("-._")
    try:
        return check_name(name)
    except TenantsError:
        return "APP"
