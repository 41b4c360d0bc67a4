"""Fleet: many tenants of one project, migrated by several workers at once.

The first one goes alone: what fails for it fails for most, and then none of the others is touched. Each has its lock,
its identity, its snapshot, its transaction and its record as ever; the failure of one is its own. When as many have
failed as may fail, no further one is begun. Whoever runs the deploy again goes on where it stopped.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tenants.core.compatibility import Finding
from tenants.core.errors import TenantsError
from tenants.core.events import Event, Tell
from tenants.core.plan import Plan
from tenants.core.results import DeployOptions, DeployResult
from tenants.core.settings import Settings
from tenants.core.units import counted
from tenants.edges import postgres, workers
from tenants.edges.workers import Gone, Pipe
from tenants.usecases import audit, compatibility, revisions
from tenants.usecases.access import Access, open_access

MOST = 4
"""Workers, where nobody has said how many: all of them work on the one server."""
FEW = 4
"""Pending tenants of one project, below which they go one after the other, if nobody has said otherwise."""
MANY = 10
"""Above which not every stage of each is told."""
_PAUSE = 0.2
"""Seconds between two lines on where one of many tenants is, which the next one replaces."""
AT_ONCE = 50
"""Tenants whose grants are looked after together: the rules of the audit take as long for one."""


Run = Callable[[Access, Plan, Path, DeployOptions, Tell, DeployResult, bool], None]
"""The deploy of one tenant; the last one says whether it looks after grants as well."""


def fleets(plans: Sequence[Plan], options: DeployOptions) -> dict[str, list[Plan]]:
    """By project, what is to be done for several tenants at once; nothing for projects of few."""
    found: dict[str, list[Plan]] = {}
    for plan in plans:
        if plan.to_do:
            found.setdefault(plan.project, []).append(plan)
    least = FEW if options.jobs is None else 2
    return {project: todo for project, todo in found.items() if len(todo) >= least and options.jobs != 1}


def deploy(
    access: Access, plans: Sequence[Plan], folder: Path, options: DeployOptions, tell: Tell, failed: list[str], run: Run
) -> dict[str, DeployResult]:
    """Migrate these tenants, all of one project, each by `run`. What is wrong with one of them is in its result, and
    its name comes to those that have `failed` before."""
    fleet = _Fleet(access, {plan.tenant: plan for plan in plans}, options, tell, failed)
    first, rest = plans[0], plans[1:]
    count = min(options.jobs or min(os.cpu_count() or 1, MOST), len(rest))
    tell(Event(first.tenant, "plan", str(first)))
    words = f"{len(rest)} more tenants after it, {count} at a time"
    tell(Event(first.project, "plan", words if count > 1 else words.partition(",")[0]))
    if fleet.goes_on:
        with workers.crew(count, _work(access.settings, folder, options, run)) as pipes:
            fleet.hand_out(pipes[:1], [_Order(first, aloud=True)])
            found = fleet.found(first)
            fleet.hand_out(pipes, [_Order(plan, aloud=len(plans) <= MANY, found=found) for plan in rest])
        fleet.mend()
    for plan in plans:
        if plan.tenant not in fleet.results:
            why = f"not tried, because {failed[-1]} failed"
            fleet.results[plan.tenant] = DeployResult(plan.tenant, plan.start, plan.start, outcome="skipped", why=why)
    return fleet.results


@dataclass(frozen=True)
class _Order:
    """What a worker is told to do."""

    plan: Plan
    aloud: bool
    """Whether every stage is to be told."""
    found: tuple[Plan, tuple[Finding, ...]] | None = None
    """What the old release may not live with on the way of another tenant, which may be this one's."""


@dataclass
class _Fleet:
    access: Access
    plans: dict[str, Plan]
    options: DeployOptions
    tell: Tell
    failed: list[str]
    results: dict[str, DeployResult] = field(default_factory=dict)
    unmended: list[str] = field(default_factory=list)

    @property
    def goes_on(self) -> bool:
        return len(self.failed) < self.options.max_failures

    def found(self, plan: Plan) -> tuple[Plan, tuple[Finding, ...]] | None:
        """What was found on the way of a tenant, if it has gone it, and from where it was to begin."""
        result = self.results.get(plan.tenant)
        gone = result and result.outcome == "migrated" and result.start == plan.start
        return (plan, result.incompatible) if result and gone and result.incompatible is not None else None

    def hand_out(self, pipes: Sequence[Pipe], orders: Sequence[_Order]) -> None:
        """Hand them out, one to each worker that has nothing to do, and wait until all have ended that were begun."""
        todo, at_work = list(reversed(orders)), dict[Pipe, Plan]()
        idle = list(pipes)
        while True:
            while todo and idle and self.goes_on:
                pipe, order = idle.pop(), todo.pop()
                try:
                    pipe.send(order)
                    at_work[pipe] = order.plan
                except Gone as ending:
                    self._ended(order.plan, _lost(order.plan, ending))
            if not at_work:
                return
            for pipe in workers.ready(list(at_work)):
                plan = at_work[pipe]
                try:
                    message = pipe.receive()
                except Gone as ending:
                    message = _lost(plan, ending)
                    del at_work[pipe]
                    self._ended(plan, message)
                    continue
                if isinstance(message, Event):
                    self.tell(message)
                else:
                    del at_work[pipe]
                    idle.append(pipe)
                    self._ended(plan, message)

    def _ended(self, plan: Plan, result: DeployResult) -> None:
        self.results[plan.tenant] = result
        if result.outcome == "failed":
            self.failed.append(plan.tenant)
        if result.outcome == "migrated" or result.applied:
            self.unmended.append(plan.tenant)
        if len(self.unmended) >= AT_ONCE:
            self.mend()
        bad = sum(result.outcome == "failed" for result in self.results.values())
        done, all_ = len(self.results), len(self.plans)
        tenth = done == all_ or done * 10 // all_ > (done - 1) * 10 // all_
        words = f"{done} of {counted(all_, 'tenant')} done" + (f", {bad} failed" if bad else "")
        self.tell(Event(plan.project, "migrate", words, live=not tenth))

    def mend(self) -> None:
        """Grants for the apps' own roles and for readers, on what is new."""
        names, self.unmended = self.unmended, []
        if not names:
            return
        try:
            audit.mend(self.access, *names)
        except (TenantsError, postgres.DatabaseError) as error:  # migrated they are
            text = f"grants could not be looked after: {postgres.failed(error).message}. Do it by: tenants apply"
            self.tell(Event(self.plans[names[0]].project, "audit", text, failed=True))


def _lost(plan: Plan, ending: Gone) -> DeployResult:
    error = TenantsError(
        f"{ending}, maybe because memory ran out",
        data=f"it was at {plan.start or 'nothing yet'}, and may have been migrated since; that is all or nothing:"
        f" tenants plan {plan.tenant}",
        next="push again; with fewer at a time: TENANTS_JOBS=1",
    )
    return DeployResult(plan.tenant, plan.start, plan.start, outcome="failed", error=error)


def _work(settings: Settings, folder: Path, options: DeployOptions, run: Run) -> workers.Work:
    """What a worker does: one tenant after the other, with a connection and a child process of its own."""

    def work(pipe: Pipe) -> None:
        with _access(settings, folder) as access:
            while True:
                order: _Order = pipe.receive()
                plan = order.plan
                if order.found:
                    compatibility.learn(*order.found, folder)
                result = DeployResult(plan.tenant, plan.start, plan.start)
                run(access, plan, folder, options, _telling(pipe, aloud=order.aloud), result, False)
                pipe.send(result)

    return work


def _telling(pipe: Pipe, *, aloud: bool) -> Tell:
    """What is worth the way to the one who tells it: of one tenant among many a failure, whom it waits for, and now and
    then where it is."""
    told = 0.0

    def tell(event: Event) -> None:
        nonlocal told
        if event.live and not aloud:
            if time.monotonic() < told + _PAUSE:
                return
            told = time.monotonic()
        if aloud or event.live or event.failed or event.stage == "lock":
            pipe.send(event)

    return tell


@contextmanager
def _access(settings: Settings, folder: Path) -> Iterator[Access]:
    with (
        open_access(settings, "deploy") as access,
        postgres.connect(settings.database, "tenants deploy") as locks,
        revisions.loaded(access, folder) as warm,
    ):
        yield replace(warm, locks=locks)
