"""A repository on somebody's disk: what lies in it is looked at, and files are written that are not there yet."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tenants.core import sources
from tenants.core.errors import UsageError
from tenants.core.repository import LOOKED_AT, READ, Tree
from tenants.core.scaffold import Step

_LARGEST = 1 << 20


def look(folder: Path, *, control: bool | None = None) -> Tree:
    """What lies in the folder. Raises UsageError where it cannot be told, or a link leads out of it."""
    if not folder.exists():
        raise UsageError(f"there is no folder {folder}", next=f"mkdir -p {folder} && tenants init {folder}")
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder", next="name the one that the repository is in: tenants init FOLDER")
    try:
        names = {path.name for path in folder.iterdir()} | {name for name in LOOKED_AT if (folder / name).is_file()}
        texts = {name: text for name in READ if (text := read(folder, name)) is not None}
        tree = Tree(frozenset(names), texts, told=control)
        there = [place for place in tree.candidates if _is_inside(folder, place) and (folder / place).is_dir()]
        return replace(
            tree,
            filled=frozenset(place for place in there if any((folder / place).iterdir())),
            versioned=frozenset(place for place in there if _has_revisions(folder / place)),
        )
    except OSError as error:
        raise UsageError(
            f"{error.filename or folder} cannot be read: {error.strerror}", next="check its permissions"
        ) from None


def read(folder: Path, name: str) -> str | None:
    """The text of the file, with the ends of its lines as they are; None if there is none."""
    path = folder / name
    if not _is_inside(folder, name):
        return None
    if not path.is_file():
        raise UsageError(f"{path} is no file", next=f"put a file in its place, or move {name} away")
    with path.open("rb") as file:
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise UsageError(f"{path} is larger than {_LARGEST} bytes", next=f"is that {name}?")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}:{line}: is not UTF-8: {error.reason}", next=f"save {name} as UTF-8") from None


def write(folder: Path, steps: Sequence[Step]) -> None:
    """Write what the steps have to put into their files. A file that is there is replaced as a whole, or not at all.
    Raises UsageError, which says what has been written before."""
    done: list[str] = []
    for step in steps:
        path = folder / step.file
        try:
            path.parent.mkdir(exist_ok=True, parents=True)
            if step.before is None:
                create(path, step.text)
            elif read(folder, step.file) == step.before:
                _replace(path.resolve(), step.text)
            else:
                raise UsageError(f"{path} has changed meanwhile", next="type it again", data=_done(done))
        except OSError as error:
            raise UsageError(
                f"{path} cannot be written: {error.strerror}",
                data=_done(done),
                next="make that possible, and type it again: what is there is not written twice",
            ) from None
        done.append(step.file)


def _done(files: Sequence[str]) -> str:
    return f"written before it: {', '.join(files)}" if files else "nothing was written"


def create(path: Path, text: str) -> None:
    """Write a file that must not be there yet. Raises OSError."""
    with path.open("xb") as file:
        file.write(text.encode())


def _replace(path: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
        Path(name).chmod(path.stat().st_mode & 0o7777)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise


def _is_inside(folder: Path, name: str) -> bool:
    """Whether there is something of that name. Raises UsageError where it is a link that leads out, or nowhere."""
    path = folder / name
    if not os.path.lexists(path):
        return False
    if not path.exists():
        raise UsageError(f"{path} is a link that leads nowhere", next=f"remove it: rm {path}")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"{path} is a link that leads out of {folder}", next="put what it leads to in its place")
    return True


def _has_revisions(folder: Path) -> bool:
    """In it, in `versions`, or in a folder of a project's."""
    places = [
        folder,
        *(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith((".", "_"))),
    ]
    places += [place / "versions" for place in places if (place / "versions").is_dir()]
    return any(sources.is_revision(path.name) and path.is_file() for place in places for path in place.iterdir())
