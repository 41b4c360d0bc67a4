"""What a person may ask of a deploy, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tenants.core.errors import TenantsError
from tenants.core.policy import Policy
from tenants.core.settings import LOCK_WAIT, MIGRATION_SECONDS

if TYPE_CHECKING:  # it takes a while to be read, and most pushes have nothing of it
    from tenants.core.compatibility import Finding


@dataclass(frozen=True)
class Options:
    """What a person may ask for in one call."""

    no_snapshot: bool = False
    rehearse: bool = True
    """Whether it runs on a copy first, where one can be made."""
    rehearsal_limit: int | None = None
    """Bytes of a snapshot above which it does not; None: whatever its size."""
    rehearsal_timeout: float | None = None
    """Seconds that making the copy may take, and the run there as well; None: as long as the live one."""
    from_scratch: bool = False
    wait: float = LOCK_WAIT
    """Seconds to wait for the tenant's lock."""
    timeout: float = MIGRATION_SECONDS
    """Seconds that the migration of one tenant may take."""


@dataclass(frozen=True)
class DeployOptions(Options):
    incompatible: Policy | None = None
    """What to do when the old release may not live with a pending revision; None: nobody has said, so warn."""
    jobs: int | None = None
    """How many tenants of one project are migrated at once; None: as many as there are processors, but a few."""
    max_failures: int = 1
    """How many may fail before no further one is begun."""


@dataclass
class Result:
    """What became of one tenant."""

    tenant: str
    start: str | None
    end: str | None
    applied: tuple[str, ...] = ()
    snapshot: str | None = None
    outcome: str = "up-to-date"
    """up-to-date, migrated, unchanged, failed or skipped."""
    seconds: float = 0.0
    error: TenantsError | None = None


@dataclass
class DeployResult(Result):
    created: bool = False
    """Whether this deploy made the tenant: then it has no login yet."""
    why: str = ""
    incompatible: tuple[Finding, ...] | None = ()
    """What the old release may not live with; None where nobody has looked."""
