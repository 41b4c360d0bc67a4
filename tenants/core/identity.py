"""Who the login of DATABASE_URL is: the admin, a tenant, or nobody. Decided here, by what the server says of it."""

from __future__ import annotations

from dataclasses import dataclass

OLDEST = 140000
"""The oldest server that is supported, as `server_version_num` has it."""


@dataclass(frozen=True)
class Identity:
    """What the statement `identify` tells."""

    role: str
    login: str
    superuser: bool
    manager: bool
    """Whether it may make roles and schemas."""
    inherits: bool
    """Whether it has the rights of roles that it is a member of. Since PostgreSQL 16 each membership says so itself."""
    database: str
    version: int
    catalog_schema: bool
    catalog: bool
    """Whether schema `tenants` is ours."""
    member: bool
    """Whether we are in the group of tenants' owners, which may read the catalog."""

    @property
    def admin(self) -> bool:
        return self.superuser or self.manager

    @property
    def powerless(self) -> bool:
        """Whether it is an admin that has no right over the roles that it makes."""
        return self.admin and not self.superuser and not self.inherits and self.version < 160000

    @property
    def of_tenant(self) -> bool:
        """Whether it acts as a tenant: that of its role's name, if the catalog has it."""
        return not self.admin and self.catalog and self.member and self.role != self.login
