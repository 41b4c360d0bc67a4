"""Tenants come and go: create, login, list, show, drop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tenants.core.errors import Refused, SnapshotError, UsageError
from tenants.core.events import Event, Tell
from tenants.core.names import check_name
from tenants.core.settings import DatabaseUrl
from tenants.edges import catalog, postgres
from tenants.edges.catalog import Entry, Record
from tenants.edges.postgres import compose, run
from tenants.edges.store import open_store
from tenants.usecases import locks, roles, snapshots
from tenants.usecases.access import Access


@dataclass(frozen=True)
class Created:
    """What `create` and `login` answer. `url` is shown this once: nobody keeps the password."""

    tenant: str
    project: str
    login: str | None
    url: DatabaseUrl | None
    changed: tuple[str, ...]
    """What was done, in words; empty if everything was there."""


def create(access: Access, name: str, project: str | None, tell: Tell, *, with_login: bool = True) -> Created:
    """Make the tenant: schema, owner, a login, and an entry in the catalog, all in one transaction.

    Idempotent: a second call changes nothing. Raises Refused if a role, schema or database of that name is there that
    is not this catalog's.
    """
    check_name(name)
    project = check_name(project, "project") if project is not None else None
    access.require_admin(f"tenants create {name}")
    connection, me = access.connection, access.me
    known = access.entries().get(name)
    if known and project and project != known.project:
        raise Refused(f"tenant {name} exists, and its project is {known.project}", next=f"tenants show {name}")
    if not known and (refusal := access.taken(name)):
        raise refusal
    catalog.ensure(connection)
    changed = list(close_public(access, tell))
    login = None
    with postgres.roles_locked(connection):
        found = catalog.entries_with_logins(connection).get(name)
        if found is None:
            roles.make_owner(connection, me, name)
            catalog.add_tenant(connection, name, project or name)
            changed += [f"schema {name}", f"role {name}"]
        elif not postgres.rows(connection, "schemas", names=[name])[0]["exists"]:
            roles.make_schema(connection, name)
            changed.append(f"schema {name}")
        logins = found.logins if found else ()
        if with_login and not logins:
            login = roles.make_login(connection, me, name)
            changed.append(f"login {login.role}")
    for what in changed:
        tell(Event(name, "create", what))
    last = login.role if login else logins[-1] if logins else None
    return Created(name, found.project if found else project or name, last, _url(access, login), tuple(changed))


def _url(access: Access, login: roles.Login | None) -> DatabaseUrl | None:
    return access.settings.database.as_login(login.role, login.password) if login else None


def add_login(access: Access, name: str) -> Created:
    """Make a further login for the tenant; those that are there go on."""
    access.require_admin(f"tenants login {name}")
    entry = access.entry(name)
    catalog.ensure(access.connection)
    with postgres.roles_locked(access.connection):
        login = roles.make_login(access.connection, access.me, name)
    return Created(name, entry.project, login.role, _url(access, login), (f"login {login.role}",))


def close_public(access: Access, tell: Tell) -> list[str]:
    """Take from PUBLIC what it has on this database, on schema public, and on `postgres` and `template1`.

    Logins that are not ours and came in through PUBLIC keep what they had: it is granted to them by name first.
    """
    connection = access.connection
    reach = [(row["kind"], row["name"]) for row in postgres.rows(connection, "public_reach")]
    if not reach:
        return []
    changed = []
    with postgres.roles_locked(connection):
        for kind, name in reach:
            if kind == "database":
                _keep_ways_in(access, name, tell)
                run(connection, "REVOKE ALL ON DATABASE {name} FROM PUBLIC", name=name)
            else:
                run(connection, "REVOKE ALL ON SCHEMA {name} FROM PUBLIC", name=name)
    for row in postgres.rows(connection, "public_reach"):
        reach.remove((row["kind"], row["name"]))
        tell(
            Event(
                "PUBLIC",
                "create",
                f"still reaches {row['kind']} {row['name']}: only its owner can take that",
                failed=True,
            )
        )
    changed += [f"PUBLIC's reach into {kind} {name} removed" for kind, name in reach]
    return changed


def _keep_ways_in(access: Access, database: str, tell: Tell) -> None:
    """Grant by name what strangers have had through PUBLIC: the way into the database, and schema public here."""
    connection = access.connection
    for row in postgres.rows(connection, "logins_through_public", database=database):
        role = row["role"]
        run(connection, "GRANT CONNECT, TEMPORARY ON DATABASE {name} TO {role}", name=database, role=role)
        if database == access.me.database:
            rights = "USAGE" if access.me.version >= 150000 else "USAGE, CREATE"
            grant = compose("ON SCHEMA public TO {role}", role=role)
            connection.execute(postgres.raw("GRANT ") + postgres.raw(rights) + postgres.raw(" ") + grant)
        tell(Event(role, "create", f"keeps its way into database {database}, now by a grant of its own"))


def show(access: Access, name: str) -> dict[str, Any]:
    """All that is known of a tenant, for people and for scripts."""
    entry = access.entry(name)
    seen = access.observe([entry])[0]
    logins = []
    if not access.own:
        logins = list(catalog.entries_with_logins(access.connection)[name].logins)
    return {
        "tenant": name,
        "project": entry.project,
        "schema": name,
        "role": name,
        "logins": logins,
        "created_at": entry.created_at,
        "revision": "+".join(seen.current) or None,
        "trouble": seen.trouble.message if seen.trouble else None,
        "aside": [r["name"] for r in postgres.rows(access.connection, "asides") if r["tenant"] == name],
        "deploys": catalog.last_records(access.connection, name),
    }


def list_tenants(access: Access) -> list[dict[str, Any]]:
    entries = list(access.entries().values())
    seen = {o.tenant: o for o in access.observe(entries)} if entries else {}
    return [
        {
            "tenant": e.name,
            "project": e.project,
            "revision": "+".join(seen[e.name].current) or None,
            "trouble": t.message if (t := seen[e.name].trouble) else None,
            "created_at": e.created_at,
        }
        for e in entries
    ]


def drop(access: Access, name: str, tell: Tell, *, no_snapshot: bool = False, wait: float = locks.WAIT) -> str | None:
    """Drop the tenant: its logins, its schema, its owner. A last snapshot is taken first, and its id returned.

    Raises SnapshotError, with nothing dropped, if there is something to keep and it could not be kept.
    """
    access.require_admin(f"tenants drop {name}")
    entry = access.entry(name)
    catalog.ensure(access.connection)
    with locks.tenant_lock(access, name, "drop", tell, wait) as lock:
        found = postgres.rows(access.connection, "schemas", names=[name])[0]
        snapshot = None
        if not found["empty"] and found["exists"] and not no_snapshot:
            try:
                with access.acting_as(name) as url:
                    snapshot = snapshots.take(access, url, entry, "drop", tell).id
            except (SnapshotError, UsageError) as error:
                error.data = f"{name} was not dropped"
                raise
        else:
            roles.clean_up(access.connection, access.me, name, access.settings.database)
        lock.check()
        _remove(access, entry)
        catalog.add_record(
            access.connection,
            Record(name, entry.project, "drop", [], [], [], "dropped", {}, snapshot=snapshot),
        )
    store = open_store(access.settings)
    tell(Event(name, "drop", "schema, logins and role are gone" + ("; its snapshots stay" if store else "")))
    return snapshot


def _remove(access: Access, entry: Entry) -> None:
    connection, me = access.connection, access.me
    logins = list(catalog.entries_with_logins(connection)[entry.name].logins)
    asides = [row["name"] for row in postgres.rows(connection, "asides") if row["tenant"] == entry.name]
    with postgres.roles_locked(connection):
        for login in logins:
            run(connection, "ALTER ROLE {role} NOLOGIN", role=login)
    postgres.end_sessions(connection, logins)
    with postgres.roles_locked(connection):
        for schema in [entry.name, *asides]:
            run(connection, "DROP SCHEMA IF EXISTS {schema} CASCADE", schema=schema)
        catalog.remove_tenant(connection, entry.name)
    roles.remove_roles(connection, me, access.settings.database, [*logins, entry.name], None)
