"""What a deploy would do. Decided here from what was read, shown by `plan`, and carried out by `deploy`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from tenants.core.errors import MigrationError, StateError, TenantsError
from tenants.core.history import History, Revision
from tenants.core.units import counted


class Action(StrEnum):
    NOTHING = "up-to-date"
    MIGRATE = "migrate"
    CREATE = "create"
    """Make the tenant first, then migrate it."""
    NO_FOLDER = "no-folder"
    """The tenant's project has no folder here: another repository deploys it."""
    SUSPENDED = "suspended"
    """The tenant is suspended: nothing of it runs until it is let in again."""
    STOP = "stop"
    """Something is wrong with this tenant; `error` says what."""


@dataclass(frozen=True)
class Observed:
    """A tenant as it was found: its catalog entry and its schema. `trouble` is why the version could not be read."""

    tenant: str
    project: str
    exists: bool = True
    empty: bool = True
    current: tuple[str, ...] = ()
    remembered: str | None = None
    """Where the catalog or the bucket says that the schema ought to be."""
    elsewhere: bool = False
    """Whether it is what another server has stored."""
    dropped_at: datetime | None = None
    """When it was dropped, if that is the last that was done to it."""
    trouble: TenantsError | None = None
    suspended: bool = False
    unserved: str | None = None
    """What there is to be told of a release that it was migrated for and that never served, for all we know."""
    ran_after: Mapping[str, str | None] = field(default_factory=dict)
    """Of revisions that deploys have run: after which one; None for the first."""


@dataclass(frozen=True)
class Plan:
    """What is to be done for one tenant."""

    tenant: str
    project: str
    action: Action
    current: tuple[str, ...] = ()
    target: str | None = None
    pending: tuple[Revision, ...] = ()
    empty: bool = True
    error: TenantsError | None = None
    unserved: str | None = None
    """What is to be told of a release that it was migrated for, and that never served."""

    @property
    def start(self) -> str | None:
        """Where the schema is, in one word; None for an empty one."""
        return "+".join(self.current) or None

    @property
    def to_do(self) -> bool:
        """Whether there is something to be run."""
        return self.action in (Action.MIGRATE, Action.CREATE)

    def __str__(self) -> str:
        match self.action:
            case Action.STOP:
                assert self.error
                return self.error.message
            case Action.NO_FOLDER:
                return f"at {self.start or 'nothing yet'}; no folder {self.project} here, so nothing to do from here"
            case Action.SUSPENDED:
                return f"suspended; to let it in again: tenants resume {self.tenant}"
            case Action.NOTHING:
                return f"up to date at {self.target}" if self.target else "no revision yet"
            case _:
                steps = ", ".join(r.file for r in self.pending[:4]) + (" …" if len(self.pending) > 4 else "")
                count = counted(len(self.pending), "revision")
                return f"{self.start or 'nothing yet'} → {self.target}, {count} pending: {steps}"


def decide(seen: Observed, folder: History | None, *, from_scratch: bool = False) -> Plan:
    """The plan for one tenant. Never raises: what is wrong with a tenant is its plan's `error`.

    `from_scratch` accepts that a schema which used to hold something is now empty.
    """
    plan = Plan(seen.tenant, seen.project, Action.STOP, seen.current, empty=seen.empty, unserved=seen.unserved)
    if folder is None:
        return _with(plan, Action.NO_FOLDER)
    if seen.suspended:
        return _with(plan, Action.SUSPENDED)
    if seen.trouble:
        return _with(plan, Action.STOP, error=seen.trouble)
    lost = seen.remembered is not None and not seen.current and (seen.empty or not seen.exists)
    if lost and not from_scratch:
        return _with(plan, Action.STOP, error=_lost(seen))
    try:
        pending = folder.pending(seen.current)
        folder.nothing_slipped_in(pending, seen.ran_after)
    except MigrationError as error:
        return _with(plan, Action.STOP, error=error)
    action = Action.NOTHING if not pending else Action.MIGRATE if seen.exists else Action.CREATE
    return _with(plan, action, target=folder.head, pending=pending)


def _lost(seen: Observed) -> StateError:
    """There is nothing where there used to be something."""
    name, gone = seen.tenant, "is empty" if seen.exists else "is gone"
    back = f"tenants restore {name}"
    words = f"schema {name} {gone}, but {seen.remembered}"
    if seen.dropped_at:
        words = f"{name} was dropped on {seen.dropped_at:%Y-%m-%d %H:%M}, and {seen.remembered}"
        back = f"take migrations/{seen.project} out, or: {back}"
    elif seen.elsewhere:
        back = "tenants recover"
    return StateError(
        f"{words}: not migrated from the beginning",
        data="nothing was changed; what is in the bucket stays there",
        next=f"{back}   (or, to begin anew: tenants deploy {name} --from-scratch)",
    )


def _with(
    plan: Plan,
    action: Action,
    *,
    target: str | None = None,
    pending: tuple[Revision, ...] = (),
    error: TenantsError | None = None,
) -> Plan:
    return replace(plan, action=action, target=target, pending=pending, error=error)


def assign(tenants: Mapping[str, str], folders: Mapping[str, History]) -> list[tuple[str, str]]:
    """Which tenants a control repository is about: (tenant, project), in the order in which they are deployed.

    `tenants` maps each tenant of the catalog to its project. A folder that no tenant runs yet stands for a new tenant
    of its own name, unless a tenant of that name runs another project.
    """
    taken = set(tenants.values())
    return sorted(
        [
            *tenants.items(),
            *((project, project) for project in folders if project not in taken and project not in tenants),
        ]
    )
