"""Status: the one screen to look at in the morning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tenants.core import serving
from tenants.core.errors import TenantsError
from tenants.core.history import History
from tenants.core.plan import Action, Observed, Plan, decide
from tenants.edges import catalog, folder, postgres, sql
from tenants.usecases import audit, planning
from tenants.usecases.access import Access

SNAPSHOT_AGE, PROOF_AGE = timedelta(hours=36), timedelta(days=8)
"""What is older is too old: a night was missed, or a week of drills."""


_DEPLOY = ("kind", "outcome", "recorded_at", "live_at", "git_rev")


@dataclass(frozen=True)
class Status:
    tenant: str
    project: str
    revision: str | None
    trouble: str | None
    """Why its revision cannot be read."""
    bytes: int
    created_at: datetime
    suspended_at: datetime | None
    snapshot_at: datetime | None
    proven_at: datetime | None
    deploy: dict[str, Any] | None
    """The last deploy, restore, undo or adoption: kind, outcome, recorded_at, live_at, git_rev."""
    findings: int
    """Of the audit."""
    growth: dict[str, int | None]
    """By how many bytes its snapshots, as they are stored, have grown in a `day` and a `week`; None: none is as old."""
    pending: list[str] | None
    """The files that a deploy from here would run; None where its project has no folder here."""
    stop: str | None
    """Why it would not."""

    @property
    def worries(self) -> list[str]:
        """What somebody ought to look at, in words."""
        now, found = datetime.now(UTC), []
        if self.trouble or self.stop:
            found.append(self.trouble or self.stop or "")
        if self.bytes and now - (self.snapshot_at or self.created_at) > SNAPSHOT_AGE:
            old = "its last snapshot is too old" if self.snapshot_at else "there is no snapshot of it"
            found.append(f"{old}: tenants nightly")
        if self.bytes and now - (self.proven_at or self.created_at) > PROOF_AGE:
            old = "its last proof is too old" if self.proven_at else "no snapshot of it was ever proven"
            found.append(f"{old}: tenants drill {self.tenant}")
        if self.deploy and self.deploy["outcome"] == "failed":
            found.append(f"its last deploy failed: tenants show {self.tenant}")
        if self.deploy and serving.was_never_live(self.deploy, now):
            undo = f"tenants undo {self.tenant}"
            found.append(f"the release of its last deploy was never marked as live: look at the app, or: {undo}")
        if self.findings:
            found.append(f"the audit has {self.findings} findings: tenants audit {self.tenant}")
        return found


def status(access: Access) -> tuple[list[Status], int]:
    """Every tenant, by name; and how much the audit finds of the database as a whole. Needs the
    admin's URL. Writes nothing but a newer version of the catalog."""
    access.require_admin("tenants status")
    if not catalog.version(access.connection):
        return [], 0
    catalog.ensure(access.connection)
    entries = access.entries()
    seen = {o.tenant: o for o in access.observe(list(entries.values()))} if entries else {}
    plans = _plans(access, seen)
    findings = Counter(finding.tenant for finding in audit.audit(access))
    query = f"{sql.statement('audit_ours')}\n{sql.statement('status')}"
    found = [
        Status(
            tenant=row["tenant"],
            project=entries[row["tenant"]].project,
            revision="+".join(seen[row["tenant"]].current) or None,
            trouble=t.message if (t := seen[row["tenant"]].trouble) else None,
            bytes=row["bytes"],
            created_at=row["created_at"],
            suspended_at=row["suspended_at"],
            snapshot_at=row["snapshot_at"],
            proven_at=row["proven_at"],
            deploy={key: row[key] for key in _DEPLOY} if row["kind"] else None,
            findings=findings[row["tenant"]],
            growth={"day": _whole(row["grown_day"]), "week": _whole(row["grown_week"])},
            pending=[revision.file for revision in plan.pending] if (plan := plans.get(row["tenant"])) else None,
            stop=plan.error.message if plan and plan.error else None,
        )
        for row in postgres.dict_rows(access.connection, query)
        if row["tenant"] in entries
    ]
    return found, findings[None]


def _whole(value: object) -> int | None:
    return None if value is None else int(str(value))


def _plans(access: Access, observed: Mapping[str, Observed]) -> dict[str, Plan]:
    """What a deploy from here would do, for those whose project has a folder here that can be read."""
    try:
        projects = folder.look(access.settings.migrations).projects
    except TenantsError:  # here is no folder: this is no place from which anything is deployed
        return {}
    histories: dict[str, History] = {}
    broken: dict[str, TenantsError] = {}
    for project in {one.project for one in observed.values()} & set(projects):
        try:
            histories[project] = folder.history(projects[project], access.settings.migrations)
        except TenantsError as error:
            broken[project] = error
    plans = {}
    for one in planning.ordered(access, observed, histories).values():
        if why := broken.get(one.project):
            plans[one.tenant] = Plan(one.tenant, one.project, Action.STOP, error=why)
        elif history := histories.get(one.project):
            plans[one.tenant] = decide(one, history)
    return plans
