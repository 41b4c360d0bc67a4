"""Records: what was done to tenants, and how it ended. They lie in the catalog, beside what the tenants are.

With its own URL a tenant writes its records itself, through functions that bound them (`catalog_006.sql`): what they
say of it is its own word. What is read is read with a limit, and never more columns than are used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString

from tenants.core.manifest import is_id
from tenants.edges import catalog, postgres
from tenants.edges.postgres import Connection


@dataclass(frozen=True)
class Record:
    """One deploy, restore, undo or drop that changed something, or tried to."""

    tenant: str
    project: str
    kind: str
    from_heads: Sequence[str]
    to_heads: Sequence[str]
    applied: Sequence[str]
    outcome: str
    stages: Mapping[str, float]
    git_rev: str | None = None
    snapshot: str | None = None
    """What was there before a deploy; what a restore brought back."""
    error: str | None = None
    before: str | None = None
    """The snapshot of what a restore or an undo has replaced."""
    aside: str | None = None
    """The schema that holds that."""
    command: str | None = None
    """What was run, of another tool."""
    output: str | None = None
    """The end of what it printed."""
    changed: bool | None = None
    """Whether definitions or rows were other ones after it, or might have been; None: the revisions tell."""


WITH_COMMANDS = 4
"""The version of the catalog since which records have a command, its output, and whether something has changed."""

_ADD: LiteralString = """INSERT INTO tenants.deploys
    (tenant, project, kind, from_heads, to_heads, applied, git_rev, snapshot, outcome, error, stages, before, aside)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s::jsonb, %s, %s)"""
_ADD_RUN: LiteralString = """INSERT INTO tenants.deploys
    (tenant, project, kind, from_heads, to_heads, applied, git_rev, snapshot, outcome, error, stages, before, aside,
     command, output, changed)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s::jsonb, %s, %s, %s, %s, %s)"""


_ADD_OWN: LiteralString = """SELECT tenants.add_record(
    kind => %s, from_heads => %s, to_heads => %s, applied => %s, git_rev => %s, snapshot => %s, outcome => %s,
    error => %s, stages => %s::jsonb, command => %s, output => %s, changed => %s)"""


def add(connection: Connection, record: Record) -> None:
    """A tenant has no privilege to insert: it calls a function, which checks and bounds what it says. A tenant's own
    URL may meet the catalog of an older program, where it inserts: columns that a catalog from `WITH_COMMANDS` on has
    are written where there is something for them."""
    values = [
        record.kind,
        list(record.from_heads),
        list(record.to_heads),
        list(record.applied),
        record.git_rev,
        record.snapshot,
        record.outcome,
        record.error,
        json.dumps({stage: round(took, 3) for stage, took in record.stages.items()}),
    ]
    whose, ways_back = [record.tenant, record.project], [record.before, record.aside]
    of_a_command = [record.command, record.output, record.changed]
    if not postgres.may(connection, "INSERT", "tenants.deploys"):
        connection.execute(_ADD_OWN, [*values, *of_a_command])
    elif record.command is None and record.changed is None:
        connection.execute(_ADD, [*whose, *values, *ways_back])
    else:
        connection.execute(_ADD_RUN, [*whose, *values, *ways_back, *of_a_command])


_LAST: LiteralString = """
    SELECT kind, from_heads, to_heads, git_rev, snapshot, outcome, error, recorded_at, live_at, command, output
    FROM tenants.deploys
    WHERE tenant = %s AND NOT EXISTS (
        SELECT FROM tenants.deploys e
        WHERE (e.tenant, e.kind, e.snapshot) = (deploys.tenant, 'run', deploys.snapshot)
          AND deploys.kind = 'run' AND e.recorded_at > deploys.recorded_at)
    ORDER BY recorded_at DESC LIMIT %s"""


def last(connection: Connection, tenant: str, count: int = 5) -> list[dict[str, Any]]:
    """The newest records of the tenant first; of a command that has ended, not that it was begun."""
    query = _LAST
    if catalog.version(connection) < WITH_COMMANDS:  # an own URL can meet the catalog of an older program
        query = query.replace("command, output", "NULL AS command, NULL AS output")
    return postgres.dict_rows(connection, query, [tenant, count])


@dataclass(frozen=True)
class Change:
    """The last thing that was done to a tenant's schema and that left it otherwise than it was."""

    id: str
    kind: str
    outcome: str
    from_heads: tuple[str, ...]
    to_heads: tuple[str, ...]
    applied: tuple[str, ...]
    snapshot: str | None
    before: str | None
    aside: str | None
    recorded_at: datetime

    @property
    def certain(self) -> bool:
        """Whether it is known to have changed something: not so of a deploy that failed at the revision it began at."""
        return self.kind != "deploy" or self.from_heads != self.to_heads


def last_change(connection: Connection, tenant: str, *, certain: bool = False) -> Change | None:
    """A deploy that failed is one only if it left the schema at another revision, or if something might have changed
    all the same: `certain` passes over the latter. A command is one only if something might be another thing after it,
    or if it was begun and its end is not on record. A tenant writes its records itself: what is none that we write is
    passed over."""
    query = """SELECT id::text, kind, outcome, from_heads, to_heads, applied, snapshot, before, aside, recorded_at
               FROM tenants.deploys
               WHERE tenant = %s AND coalesce(changed, outcome <> 'failed' OR from_heads <> to_heads)
                 AND NOT (%s AND kind = 'deploy' AND from_heads = to_heads)
                 AND NOT EXISTS (
                     SELECT FROM tenants.deploys e
                     WHERE (e.tenant, e.kind, e.snapshot) = (deploys.tenant, 'run', deploys.snapshot)
                       AND deploys.kind = 'run' AND e.recorded_at > deploys.recorded_at)
                 AND (kind, outcome) IN (('deploy', 'migrated'), ('deploy', 'failed'), ('restore', 'restored'),
                                         ('undo', 'undone'), ('adopt', 'adopted'), ('drop', 'dropped'),
                                         ('run', 'migrated'), ('run', 'failed'))
               ORDER BY recorded_at DESC LIMIT 1"""
    for row in postgres.dict_rows(connection, query, [tenant, certain]):
        lists = {name: tuple(row[name]) for name in ("from_heads", "to_heads", "applied")}
        ids = {name: row[name] if is_id(row[name] or "") else None for name in ("snapshot", "before")}
        return Change(**{**row, **lists, **ids})
    return None


def last_good(connection: Connection, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What was done last to each of the tenants and did not fail, nor left everything as it was."""
    return {row["tenant"]: row for row in postgres.rows(connection, "last_good", names=list(names))}


def last_run(connection: Connection, tenant: str) -> datetime | None:
    """When a command has changed something, if that is the last thing that was done to the tenant and changed it."""
    found = last_good(connection, [tenant]).get(tenant)
    return found["recorded_at"] if found and found["kind"] == "run" else None


def runs(connection: Connection, names: Sequence[str]) -> dict[str, list[tuple[list[str], list[str]]]]:
    """By tenant, in the order of time: the heads before a deploy, and the revisions that it has run. The newest 2,000
    deploys of a tenant, and no more than 2 MB."""
    found: dict[str, list[tuple[list[str], list[str]]]] = {}
    for row in postgres.rows(connection, "runs", names=list(names)):
        found.setdefault(row["tenant"], []).append((row["from_heads"], row["applied"]))
    return found


def mark_serving(connection: Connection, tenant: str) -> list[str]:
    """Note that the tenant's app serves with what was adopted or restored. Returns the tenant, if that is new."""
    if not postgres.may(connection, "UPDATE", "tenants.deploys"):
        row = connection.execute("SELECT tenants.mark_serving()").fetchone()
        return [tenant] if row and row[0] else []
    query = """UPDATE tenants.deploys SET live_at = now()
               WHERE id IN (SELECT id FROM tenants.deploys
                            WHERE tenant = %s AND live_at IS NULL AND outcome IN ('adopted', 'restored')
                            FOR UPDATE SKIP LOCKED)
               RETURNING tenant"""
    return sorted({row[0] for row in connection.execute(query, [tenant])})


def adoption_served(connection: Connection, tenant: str, ago: timedelta) -> bool:
    """Whether the app has served with what its tenant has adopted last for as long as that."""
    query = """SELECT live_at <= now() - %s FROM tenants.deploys WHERE tenant = %s AND kind = 'adopt'
               ORDER BY recorded_at DESC LIMIT 1"""
    row = connection.execute(query, [ago, tenant]).fetchone()
    return bool(row and row[0])


def mark_live(connection: Connection, own: str | None, git_rev: str, projects: Sequence[str]) -> list[str]:
    """Note that the release of that commit serves. Returns the tenants that it had migrated. Earlier deploys of those
    projects count as live, too: what serves now serves with what they have left. `own`: whose URL this is."""
    if own and not postgres.may(connection, "UPDATE", "tenants.deploys"):
        row = connection.execute("SELECT tenants.mark_live(%s)", [git_rev]).fetchone()
        return [own] if row and row[0] else []
    query = """UPDATE tenants.deploys SET live_at = now()
               WHERE id IN (SELECT id FROM tenants.deploys
                            WHERE (git_rev = %s OR project = ANY(%s)) AND live_at IS NULL AND outcome = 'migrated'
                            FOR UPDATE SKIP LOCKED)  -- a tenant that holds its own row keeps nobody waiting
               RETURNING tenant, git_rev"""
    found = connection.execute(query, [git_rev, list(projects)]).fetchall()
    return sorted({tenant for tenant, revision in found if revision == git_rev})
