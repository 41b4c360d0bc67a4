"""Who we are: the admin, or one tenant. The pipeline is the same for both; what differs is told here, and only here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from tenants.core import serving
from tenants.core.errors import MigrationError, Refused, SnapshotError, StateError, TenantsError, UnknownName
from tenants.core.identity import OLDEST, Identity
from tenants.core.names import check_name, quoted
from tenants.core.near import did_you_mean, likest
from tenants.core.plan import Observed
from tenants.core.settings import DatabaseUrl, Settings
from tenants.edges import catalog, postgres, records
from tenants.edges.catalog import Entry
from tenants.edges.postgres import Connection, Row
from tenants.edges.projectcode import Warm
from tenants.usecases import roles


@dataclass(frozen=True)
class Access:
    """An open connection and what it may do."""

    settings: Settings
    connection: Connection
    me: Identity
    own: str | None
    """The tenant, if DATABASE_URL is a tenant's; None for the admin's."""
    warm: Warm | None = None
    """A process that has loaded the revisions that are to be run."""
    locks: Connection | None = None
    """Another session, for the locks of one tenant after the other; without it each lock gets one of its own."""

    def entries(self, names: Sequence[str] | None = None) -> dict[str, Entry]:
        """The tenants in the catalog, all or those named; with a tenant's own URL that one alone. Writes nothing."""
        return catalog.entries(self.connection, names) if catalog.version(self.connection) else {}

    def entry(self, name: str) -> Entry:
        """Raises UnknownName if there is no such tenant, or it is not for us."""
        check_name(name)
        entries = self.entries([name])
        if name not in entries:
            entries = self.entries()
            known = ", ".join(entries) or "none yet"
            message = f"there is no tenant {name!r} (tenants: {known}){did_you_mean(name, entries)}"
            raise UnknownName(message, name, likest(name, entries), next=f"tenants create {name}")
        return entries[name]

    def require_admin(self, command: str) -> None:
        """Raises Refused with a tenant's own URL."""
        if self.own:
            raise Refused(
                f"this needs the admin's URL, and DATABASE_URL is that of tenant {self.own}",
                next=f"where DATABASE_URL is the admin's (the control app, or the server): {command}",
            )

    def taken(self, name: str, *, besides: Sequence[str] = ()) -> Refused | None:
        """Why no tenant of that name can be made: something that is not ours bears it. None if nothing does, `besides`
        what may: `schema`, for one that is adopted."""
        found = [row["what"] for row in postgres.rows(self.connection, "names_taken", name=name)]
        found = [what for what in found if what not in besides]
        if not found or name in self.entries():  # somebody has made it just now
            return None
        return Refused(
            f"a {' and a '.join(found)} named {name!r} exists already and is not a tenant of this catalog; "
            "it is not taken over",
            next=f"tenants adopt {name} --from {name}   (or choose another name for the tenant)"
            if found == ["schema"]
            else "choose another name for the tenant, or rename what is there",
        )

    @contextmanager
    def dumping(self, tenant: str, url: DatabaseUrl) -> Iterator[DatabaseUrl]:
        """The URL that the tenant is dumped with, while `url` acts as it: the same, or, where policies are forced on
        the owner of a table, one from which they hide nothing. A part of the rows is never dumped: pg_dump refuses.

        Raises SnapshotError for a schema with more tables than the server has room for locks: pg_dump would fail, and
        until then leave no room for other sessions."""
        _require_room(self.connection, tenant)
        forced = postgres.scalar(self.connection, "forced", schema=quoted(tenant))
        if not forced or not self.me.superuser:
            yield url
            return
        with roles.seeing_all(self.connection, self.me, tenant, self.settings.database) as seeing:
            yield seeing

    @contextmanager
    def acting_as(self, tenant: str, *, quick: bool = False) -> Iterator[DatabaseUrl]:
        """A URL that acts as the tenant and can do nothing beyond. To be used under the tenant's lock. A `quick` one is
        for our own programs alone: see `roles.make_short_lived`."""
        if self.own:
            yield self.settings.database
            return
        with roles.acting_as(self.connection, self.me, tenant, self.settings.database, quick=quick) as url:
            yield url

    def heads(self, tenant: str) -> tuple[str, ...]:
        """Where the schema is now, as somebody sees it who comes fresh. Raises MigrationError where its version table
        is not what it has to be."""
        (row,) = postgres.schemas(self.connection, [tenant])
        with postgres.connect(self.settings.database, "tenants prove") as fresh:
            return _heads(fresh, row)

    def observe(self, entries: Sequence[Entry]) -> list[Observed]:
        """Look at the schemas: catalogs, and the version tables that are what they have to be. Writes nothing."""
        names = [entry.name for entry in entries]
        found = {row["name"]: row for row in postgres.schemas(self.connection, names)}
        last = records.last_good(self.connection, names) if catalog.version(self.connection) else {}
        observed = []
        for entry in entries:
            row = found[entry.name]
            current: tuple[str, ...] = ()
            trouble: TenantsError | None = None
            try:
                current = _heads(self.connection, row)
            except MigrationError as error:
                trouble = error
            record = last.get(entry.name)
            heads = record["to_heads"] if record and record["outcome"] != "dropped" else ()
            observed.append(
                Observed(
                    tenant=entry.name,
                    project=entry.project,
                    exists=row["exists"],
                    empty=row["empty"],
                    current=current,
                    remembered=f"the last deploy left it at {'+'.join(heads)}" if heads else None,
                    trouble=trouble,
                    suspended=entry.suspended_at is not None,
                    unserved=serving.words(entry.name, record, datetime.now(UTC)),
                )
            )
        return observed


def _require_room(connection: Connection, tenant: str) -> None:
    (found,) = postgres.rows(connection, "room_for_locks", schema=quoted(tenant))
    if found["tables"] < found["room"]:
        return
    raise SnapshotError(
        f"{tenant} has {found['tables']:,} tables; a snapshot locks each of them, and the server has room for about"
        f" {found['room']:,} locks of all sessions (max_locks_per_transaction = {found['each']})",
        next=f"drop tables of {tenant}, or: ALTER SYSTEM SET max_locks_per_transaction ="
        f" {-(-found['tables'] * found['each'] * 2 // found['room'])}, then restart PostgreSQL",
    )


def _heads(connection: Connection, row: Row) -> tuple[str, ...]:
    """What the version table says, if it is one that can be read safely. Raises MigrationError if it is not."""
    name = row["name"]
    if row["exists"] and row["owner"] != name:
        raise StateError(
            f"schema {name} belongs to {row['owner']}, not to {name}",
            next=f"tenants show {name}",
        )
    if row["version_fault"]:
        raise StateError(
            f"{name}.alembic_version is not the table that Alembic makes: {row['version_fault']}",
            next=f"put the table back: tenants restore {name}",
        )
    return postgres.read_heads(connection, name) if row["versioned"] else ()


@contextmanager
def open_access(settings: Settings, purpose: str) -> Iterator[Access]:
    """Connect, and find out whether DATABASE_URL is the admin's or a tenant's. Raises Refused if it is neither's."""
    with postgres.connect(settings.database, f"tenants {purpose}") as connection:
        yield recognise(settings, connection)


def recognise(settings: Settings, connection: Connection) -> Access:
    """Whose the connection is. Raises Refused if it is neither the admin's nor a tenant's, or the server is too old."""
    me = postgres.identify(connection)
    if me.version < OLDEST:
        raise Refused(f"PostgreSQL at {settings.database.where} is too old", next="update it to PostgreSQL 14 or later")
    if me.powerless:
        raise Refused(
            f"{me.role} is NOINHERIT: it has no right over the roles that it makes, and cannot look after tenants",
            next=f'ALTER ROLE "{me.role}" INHERIT; it may do that itself',
        )
    if me.admin:
        return Access(settings, connection, me, None)
    own = me.role if me.of_tenant and me.role in catalog.entries(connection) else None
    if own is None:
        raise Refused(
            f"the login {me.login} of DATABASE_URL is neither the admin's nor a tenant's",
            next="with the admin's URL: tenants create NAME; its answer is the DATABASE_URL for the app",
        )
    return Access(settings, connection, me, own)
