"""Status: the one screen to look at in the morning."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tenants.core import serving
from tenants.edges import catalog, postgres, sql
from tenants.usecases import audit
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

    @property
    def worries(self) -> list[str]:
        """What somebody ought to look at, in words."""
        now, found = datetime.now(UTC), []
        if self.trouble:
            found.append(self.trouble)
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


def status(access: Access) -> list[Status]:
    """Every tenant, by name. Needs the admin's URL. Writes nothing but a newer version of the catalog."""
    access.require_admin("tenants status")
    if not catalog.version(access.connection):
        return []
    catalog.ensure(access.connection)
    entries = access.entries()
    seen = {o.tenant: o for o in access.observe(list(entries.values()))} if entries else {}
    findings = Counter(finding.tenant for finding in audit.audit(access))
    query = f"{sql.statement('audit_ours')}\n{sql.statement('status')}"
    return [
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
        )
        for row in postgres.dict_rows(access.connection, query)
        if row["tenant"] in entries
    ]
