"""Which revision tables are at, told from a list of the revisions that have run, as dbmate keeps one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from tenants.core.history import History
from tenants.core.names import printable

_SHOWN = 5


@dataclass(frozen=True)
class Applied:
    head: str | None
    """The last one that has run; None if none has."""
    problems: tuple[str, ...] = ()
    """Why the list is no beginning of the folder's revisions; then `head` says nothing."""


def applied(versions: Collection[str], history: History) -> Applied:
    """A list without gaps that begins where the folder begins leads to its last revision. Anything else would make a
    push leave something out, or run it twice."""
    ran, order = set(versions), list(history.revisions)
    last = max((order.index(id_) for id_ in ran if id_ in history.revisions), default=-1)
    unknown = sorted(ran - set(order))
    gaps = [history.revisions[id_].file for id_ in order[: last + 1] if id_ not in ran]
    problems = []
    if unknown:
        problems.append(
            f"schema_migrations has {_some(unknown)}, which the folder does not have: add the files,"
            " or say where the tables are: --at REVISION"
        )
    if gaps:
        problems.append(
            f"{_some(gaps)} did not run, says schema_migrations, but {history.revisions[order[last]].file} did:"
            " run it with dbmate first, or give it a name that comes after"
        )
    return Applied(order[last] if last >= 0 else None, tuple(problems))


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    shown = ", ".join(printable(name[:60]) for name in names[:_SHOWN])
    return f"{shown} and {more} more" if more > 0 else shown
