"""A project's revisions as a graph, read from their text alone: no revision file is ever executed here.

The identifiers of a revision (`revision`, `down_revision`, `depends_on`, `branch_labels`) are taken from its syntax
tree, as literals. The rules of the graph are Alembic's (https://alembic.sqlalchemy.org/en/latest/branches.html).
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from tenants.core.errors import HistoryError, StateError

MAX_ID = 32
_ILLEGAL = {"@", "-", "+", ":"}
_IDENTIFIERS = ("revision", "down_revision", "depends_on", "branch_labels")


@dataclass(frozen=True)
class Revision:
    """One file of a project's folder."""

    id: str
    down: tuple[str, ...]
    depends_on: tuple[str, ...]
    labels: tuple[str, ...]
    file: str
    message: str
    reversible: bool = False
    """Whether its `downgrade` does something."""


def parse_revision(file: str, source: str) -> Revision:
    """Read the identifiers of the revision in `source`. Raises HistoryError naming `file` and the line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # the file's author meets it when it runs
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None) or 1
        text = getattr(error, "msg", None) or str(error) or "it is nested too deeply"
        raise HistoryError(f"{file}:{line}: does not parse: {text}", next=f"mend {file}") from None
    found: dict[str, tuple[str, ...]] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, value = node.targets[0], node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            target, value = node.target, node.value
        else:
            continue
        if isinstance(target, ast.Name) and target.id in _IDENTIFIERS:
            found[target.id] = _strings(file, target.id, value)
    if len(found.get("revision", ())) != 1 or not found["revision"][0]:
        raise HistoryError(f'{file}: has no line `revision = "…"`', next=f"give {file} one, or move it elsewhere")
    id_ = found["revision"][0]
    check_id(file, id_)
    doc = (ast.get_docstring(tree) or "").strip().partition("\n")[0]
    return Revision(
        id=id_,
        down=found.get("down_revision", ()),
        depends_on=found.get("depends_on", ()),
        labels=found.get("branch_labels", ()),
        file=file,
        message=doc,
        reversible=any(
            isinstance(node, ast.FunctionDef) and node.name == "downgrade" and _acts(node) for node in tree.body
        ),
    )


def check_id(file: str, id_: str) -> None:
    """Raises HistoryError for an id that Alembic could not keep."""
    if wrong := sorted(_ILLEGAL & set(id_)):
        raise HistoryError(
            f"{file}: revision {id_!r} has {' '.join(wrong)} in it, which Alembic does not take",
            next=f"give {file} a revision of letters, digits and underscores",
        )
    if len(id_) > MAX_ID:
        raise HistoryError(
            f"{file}: revision {id_!r} is longer than the {MAX_ID} characters that Alembic keeps of it",
            next=f"give {file} a shorter revision",
        )


def _acts(function: ast.FunctionDef) -> bool:
    """Whether the function calls anything, and does not say by an exception that it has nothing to offer."""
    raises = any(isinstance(node, ast.Raise) for node in function.body)
    return not raises and any(isinstance(node, ast.Call) for node in ast.walk(function))


def _strings(file: str, name: str, value: ast.expr) -> tuple[str, ...]:
    try:
        literal = ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError):
        literal = NotImplemented
    if literal is None:
        return ()
    if isinstance(literal, str):
        return (literal,)
    if isinstance(literal, tuple | list | set) and all(isinstance(item, str) for item in literal):
        return tuple(literal)
    raise HistoryError(
        f"{file}:{value.lineno}: `{name}` is computed; it is read without running the file",
        next=f"write `{name}` as plain strings",
    )


@dataclass(frozen=True)
class History:
    """The revisions of one project: without cycles, without gaps, and with one head at most."""

    revisions: Mapping[str, Revision]
    """By id, in an order in which each comes after what it needs."""

    head: str | None

    @classmethod
    def of(cls, revisions: Iterable[Revision]) -> History:
        """Check the revisions and put them in order. Raises HistoryError, which names the files at fault."""
        by_id: dict[str, Revision] = {}
        for revision in sorted(revisions, key=lambda r: r.file):
            if twin := by_id.get(revision.id):
                raise HistoryError(
                    f"{twin.file} and {revision.file} are both revision {revision.id!r}",
                    next=f"give {revision.file} a revision of its own",
                )
            by_id[revision.id] = revision
        labels = {label: r.id for r in by_id.values() for label in r.labels}
        needs = {r.id: _needs(r, by_id, labels) for r in by_id.values()}
        try:
            order = list(TopologicalSorter(needs).static_order())
        except CycleError as error:
            ring = [by_id[i].file for i in error.args[1][:-1]]
            raise HistoryError(
                f"the revisions form a cycle: {' → '.join([*ring, ring[0]])}",
                next="mend the `down_revision` of one of them",
            ) from None
        downs = {i for r in by_id.values() for i in r.down}
        heads = [i for i in order if i not in downs]
        if len(heads) > 1:
            files = ", ".join(by_id[i].file for i in heads)
            raise HistoryError(
                f"there are {len(heads)} heads: {files}",
                next="let one of them follow the other (`down_revision`), or join them: alembic merge heads -m merge",
            )
        return cls({i: by_id[i] for i in order}, heads[0] if heads else None)

    @property
    def by_name(self) -> bool:
        """Whether there are revisions whose place is that of their names: those in SQL."""
        return any(revision.file.endswith(".sql") for revision in self.revisions.values())

    def pending(self, current: Iterable[str]) -> tuple[Revision, ...]:
        """The revisions that lie between `current`, as the schema's version table has it, and the head, in order.

        Raises StateError if the schema is at a revision that the folder does not have.
        """
        applied: set[str] = set()
        todo = list(current)
        if todo == [self.head]:
            return ()  # there is one head, so it has everything below it
        labels = {label: r.id for r in self.revisions.values() for label in r.labels}
        while todo:
            revision = self.revisions.get(step := todo.pop())
            if revision is None:
                raise StateError(
                    f"the schema is at revision {step!r}, which this folder does not have"
                    f" (its head is {self.head or 'none'})",
                    next="push the code that has it, or restore a snapshot from before it",
                )
            if step not in applied:
                applied.add(step)
                todo.extend(_needs(revision, self.revisions, labels))
        return tuple(r for i, r in self.revisions.items() if i not in applied)

    def nothing_slipped_in(self, pending: Iterable[Revision], ran_after: Mapping[str, str | None]) -> None:
        """Raises StateError for a file whose name has put it before a SQL file that ran without it: it would count as
        applied, and would never run. `ran_after` tells after which revision others ran, as far as that is known."""
        if not ran_after:
            return
        ran = {*ran_after, *ran_after.values()}
        waits = {revision.id for revision in pending}
        for id_, revision in self.revisions.items():
            if id_ in waits or id_ not in ran_after or not revision.file.endswith(".sql") or not revision.down:
                continue
            before, then = self.revisions[revision.down[0]], ran_after[id_]
            if before.id not in ran and (then is None or then in self.revisions):
                raise StateError(
                    f"{before.file} comes before {revision.file}, which has run already: it would never run",
                    next=f"give {before.file} a name that comes after the others, and push again",
                )


def ran_after(runs: Iterable[tuple[Sequence[str], Sequence[str]]]) -> dict[str, str | None]:
    """Of each revision that was run: after which one; None for the first in a schema. `runs` are the heads before, and
    what was applied then, in the order of time."""
    found: dict[str, str | None] = {}
    for heads, applied in runs:
        before = heads[0] if heads else None
        found.update(zip(applied, [before, *applied], strict=False))
    return found


def _needs(revision: Revision, by_id: Mapping[str, Revision], labels: Mapping[str, str]) -> list[str]:
    needs = []
    for wanted in revision.down + revision.depends_on:
        found = wanted if wanted in by_id else labels.get(wanted)
        if found is None:
            raise HistoryError(
                f"{revision.file} follows revision {wanted!r}, which is not in the folder",
                next=f"add the file of {wanted!r}, or mend the `down_revision` of {revision.file}",
            )
        needs.append(found)
    return needs
