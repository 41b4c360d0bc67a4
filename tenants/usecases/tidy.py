"""Tidy: what a run has left that was killed when its work was done, so that nothing leads there any more."""

from __future__ import annotations

from contextlib import suppress

from tenants.core.errors import Locked
from tenants.core.events import Tell
from tenants.edges import sandbox
from tenants.usecases import audit, locks, roles, scratch
from tenants.usecases.access import Access

WAIT = 2.0
"""Seconds to wait for a lock that a killed run may still seem to hold."""


def tidy(access: Access, name: str, tell: Tell) -> None:
    """Clean up, for a tenant that has nothing pending. Writes nothing where nothing is left."""
    sandbox.clear_scratch()
    if access.own or not roles.left_behind(access.connection, name):
        return
    with suppress(Locked):  # nothing is left: somebody is at work
        with locks.tenant_lock(access, name, "deploy", tell, WAIT):
            roles.clean_up(access.connection, access.me, name, access.settings.database)
            scratch.clear(access, name)
            audit.mend(access, name)
