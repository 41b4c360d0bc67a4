"""Plan: which tenants a folder is about, where they are, and what is pending. It writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from tenants.core.errors import UnknownName
from tenants.core.history import History, ran_after
from tenants.core.names import check_name
from tenants.core.near import did_you_mean, likest
from tenants.core.plan import Observed, Plan, assign, decide
from tenants.edges import catalog, folder, records
from tenants.usecases import inventory
from tenants.usecases.access import Access


@dataclass(frozen=True)
class Survey:
    """The plans, and the folders that they were made from."""

    plans: tuple[Plan, ...]
    folders: Mapping[str, Path]
    """By project."""


def survey(access: Access, names: Sequence[str] = (), *, from_scratch: bool = False) -> Survey:
    """Plan for the tenants named, or for all that the folder is about.

    What is wrong with the folder (that is, with what was pushed) raises HistoryError, BadName or SettingsError before
    anything is looked at. What is wrong with one tenant is in its plan, and the others are answered.
    """
    for name in names:
        check_name(name)
    own = (access.own, access.entry(access.own).project) if access.own else None
    folders = folder.divided(folder.look(access.settings.migrations), own)
    histories = {project: _history(path, access.settings.migrations) for project, path in folders.items()}
    entries = access.entries(names) if names else access.entries()
    if set(names) - set(entries):  # they may be folders that have no tenant yet
        entries = access.entries()
    pairs = assign({e.name: e.project for e in entries.values()}, {} if access.own else histories)
    if unknown := sorted(set(names) - {tenant for tenant, _ in pairs}):
        known = {tenant for tenant, _ in pairs}
        named = ", ".join(f"{name}{did_you_mean(name, known)}" for name in unknown)
        raise UnknownName(
            f"there is no tenant and no folder named {named}",
            unknown[0],
            likest(unknown[0], known),
            next=f"tenants create {unknown[0]}, or add {access.settings.migrations}/{unknown[0]}",
        )
    pairs = [pair for pair in pairs if not names or pair[0] in names]
    looked = {seen.tenant: seen for seen in access.observe([entries[t] for t, _ in pairs if t in entries])}
    observed = ordered(access, looked, histories)
    plans = []
    for tenant, project in pairs:
        seen = observed.get(tenant) or Observed(tenant, project, exists=False, trouble=access.taken(tenant))
        history = histories.get(project)
        if history and not from_scratch:
            seen = _ask_storage(access, seen, history)
        plans.append(decide(seen, history, from_scratch=from_scratch))
    return Survey(tuple(plans), folders)


def ordered(
    access: Access, observed: Mapping[str, Observed], histories: Mapping[str, History]
) -> Mapping[str, Observed]:
    """What was observed, with the order in which revisions have run, where one of the histories takes it to plan."""
    if not observed or not any(history.by_name for history in histories.values()):
        return observed
    runs = records.runs(access.connection, list(observed))
    return {name: replace(seen, ran_after=ran_after(runs.get(name, ()))) for name, seen in observed.items()}


@cache
def _history(path: Path, root: Path) -> History:
    """Read once: it is what was pushed."""
    return folder.history(path, root)


def _ask_storage(access: Access, seen: Observed, history: History) -> Observed:
    """Before a first migration: does storage remember the tenant? Then its data was lost, and this is no beginning."""
    begins = seen.empty and not seen.current and not seen.trouble and not seen.remembered and history.head
    known = inventory.known_in_storage(access, seen.tenant) if begins else None
    if known is None:
        return seen
    words, elsewhere = known
    record = records.last_good(access.connection, [seen.tenant]) if catalog.version(access.connection) else {}
    if seen.tenant in record and record[seen.tenant]["outcome"] == "dropped":
        return replace(seen, remembered=words, dropped_at=record[seen.tenant]["recorded_at"])
    new = inventory.of_another_server(access) if elsewhere else None
    return replace(seen, remembered=new or words, elsewhere=elsewhere)
