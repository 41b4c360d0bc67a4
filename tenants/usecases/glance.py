"""Glance: a push that has nothing to do finds that out in a fraction of the time that it takes to read what migrates.

It can say one thing alone: that every tenant is where its folder is, and that nothing is to be told or tidied besides.
Whatever else there may be, an error included, it says nothing, and the deploy looks again in full.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from tenants.core import serving
from tenants.core.errors import TenantsError
from tenants.core.events import Event, Tell
from tenants.core.history import History, ran_after
from tenants.core.identity import OLDEST
from tenants.core.plan import Action, Observed, Plan, assign, decide
from tenants.core.results import DeployResult
from tenants.core.settings import Settings
from tenants.edges import folder, sandbox
from tenants.edges.folder import Migrations
from tenants.edges.glance import Glance, Seen, begin

MANY = 10
"""Tenants of a project, above which it is told in one line what is the same for all of them."""
QUIET = {Action.NOTHING: "up-to-date", Action.NO_FOLDER: "skipped", Action.SUSPENDED: "skipped"}


def nothing_pending(settings: Settings, tell: Tell) -> list[DeployResult] | None:
    """What became of all tenants, where nothing was to be done; None where it takes a closer look. Writes nothing but
    what a deploy tidies up on this machine."""
    try:
        found = folder.look(settings.migrations)
        with begin(settings.database, order=folder.in_order(found)) as looking:
            plans = _plans(found, looking) if looking else None
    except TenantsError:  # the full look has the words
        return None
    if plans is None:
        return None
    sandbox.clear_scratch()
    for plan in plans:
        if plan.unserved:
            tell(Event(plan.tenant, "plan", plan.unserved, warning=True))
    alike = Counter((plan.project, str(plan)) for plan in plans)
    for (project, words), count in alike.items():
        if count > MANY:
            tell(Event(project, "plan", f"{count:,} tenants {words}"))
    few = {plan.tenant for plan in plans if alike[plan.project, str(plan)] <= MANY}
    return [result_of(plan, tell if plan.tenant in few else lambda _: None) for plan in plans]


def result_of(plan: Plan, tell: Tell) -> DeployResult:
    """Of a plan that there is nothing to do for."""
    tell(Event(plan.tenant, "plan", str(plan)))
    result = DeployResult(plan.tenant, plan.start, plan.start, outcome=QUIET[plan.action])
    if plan.action is Action.NO_FOLDER:
        result.why = f"no folder {plan.project} here"
    elif plan.action is Action.SUSPENDED:
        result.why = "suspended"
    return result


def _plans(found: Migrations, looking: Glance) -> list[Plan] | None:
    folders = [found.own] if found.own else found.projects.values()
    histories = {path: folder.scanned(path) for path in folders}  # while psql is at work
    seen = looking.answer()
    return _decide(found, histories, seen) if seen else None


def _decide(found: Migrations, histories: Mapping[Path, History | None], seen: Seen) -> list[Plan] | None:
    me, tenants = seen.me, {one.name: one for one in seen.tenants}
    own = tenants.get(me.role) if me.of_tenant else None
    if me.version < OLDEST or me.powerless or not (me.admin or own):
        return None
    folders = folder.divided(found, (own.name, own.project) if own else None)
    known = {project: history for project, path in folders.items() if (history := histories.get(path))}
    if len(known) < len(folders):
        return None
    plans = []
    for name, project in assign({one.name: one.project for one in seen.tenants}, {} if own else known):
        one = tenants.get(name)
        if one is None or not one.sound:
            return None
        unserved = serving.words(name, one.last, datetime.now(UTC))
        observed = Observed(
            name,
            project,
            empty=False,
            current=one.heads,
            suspended=one.suspended,
            unserved=unserved,
            ran_after=ran_after(one.ran),
        )
        plans.append(decide(observed, known.get(project)))
        if plans[-1].action not in QUIET:
            return None
    return plans
