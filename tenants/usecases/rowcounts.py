"""Looks at the counters of a tenant's rows, so that "untouched" is the result of a look that can fail."""

from __future__ import annotations

from contextlib import suppress

from tenants.core.errors import TenantsError
from tenants.core.names import quoted
from tenants.core.rows import Rows, Table, Verdict, compare
from tenants.edges import postgres
from tenants.usecases.access import Access

ENDING = 2.0
"""Seconds to wait for sessions that began meanwhile: one whose client is gone ends by itself, and is counted then."""


def look(access: Access, tenant: str) -> Rows:
    """Read the counters. Any login may read them."""
    found = postgres.rows(access.connection, "counted", schema=quoted(tenant))
    tables = {
        row["name"]: Table(row["attempted"], row["committed"], row["analyzed"]) for row in found if not row["sequence"]
    }
    sequences = {row["name"]: row["place"] for row in found if row["sequence"]}
    (state,) = postgres.rows(access.connection, "counting", tenant=tenant)
    return Rows(tables, sequences, **state)


def since(access: Access, tenant: str, before: Rows, *, rolled_back: bool) -> Verdict:
    """What has changed since that look. To be called when the sessions of the migration have ended: a session is
    counted for certain when it is gone. `rolled_back` is that of `tenants.core.rows.compare`."""

    def all_ended() -> bool:
        (state,) = postgres.rows(access.connection, "counting", tenant=tenant)
        return set(state["sessions"]) <= set(before.sessions)

    with suppress(TenantsError):  # then the verdict says that they go on
        postgres.poll(all_ended, seconds=ENDING, what="sessions of the tenant do not end")
    return compare(before, look(access, tenant), rolled_back=rolled_back)
