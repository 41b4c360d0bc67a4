"""Roles: the owner of a schema, the logins that become it, and the short-lived role that a deploy acts through.

The owner never logs in. Every session of a tenant belongs to a login that has no right of its own and is set to the
owner's role as it begins: what it makes belongs to the owner, and SET ROLE NONE leads to an identity worth nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import LiteralString

from tenants.core.identity import Identity
from tenants.core.names import (
    EXTENSIONS_SCHEMA,
    MEMBERS_ROLE,
    app_role_name,
    deploy_role_name,
    deploy_role_prefix,
    login_name,
    scratch_prefix,
    visitor_role_name,
    visitor_role_prefix,
)
from tenants.core.settings import DatabaseUrl
from tenants.edges import catalog, exclusively, postgres, signals
from tenants.edges.postgres import Connection, compose, literal, run, run_again

SHORT_LIVED = timedelta(hours=6)
"""After this a role that was made for a moment lets nobody in, even if we were killed and nobody has run us since."""


def search_path(tenant: str) -> str:
    """The search_path of a tenant's sessions, as the setting's value."""
    return f'"{tenant}", {EXTENSIONS_SCHEMA}'


def make_owner(connection: Connection, me: Identity, tenant: str) -> None:
    """Make the owner and its schema. To be called within `roles_locked`."""
    run(connection, "CREATE ROLE {owner} NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE", owner=tenant)
    postgres.look_after(connection, me, tenant)
    run(connection, "GRANT {group} TO {owner}", group=MEMBERS_ROLE, owner=tenant)
    run_again(connection, "GRANT TEMPORARY ON DATABASE {database} TO {owner}", database=me.database, owner=tenant)
    make_schema(connection, tenant)


def make_schema(connection: Connection, tenant: str) -> None:
    """Make the owner's schema, if it is not there."""
    run(connection, "CREATE SCHEMA IF NOT EXISTS {owner} AUTHORIZATION {owner}", owner=tenant)


@dataclass(frozen=True)
class Login:
    role: str
    password: str


def make_app_role(connection: Connection, me: Identity, tenant: str) -> None:
    """Make the role that the app runs as; the audit's rules give it its grants. To be called within `roles_locked`."""
    app = app_role_name(tenant)
    run(connection, "CREATE ROLE {app} NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE", app=app)
    postgres.look_after(connection, me, app)
    run_again(connection, "GRANT TEMPORARY ON DATABASE {database} TO {app}", database=me.database, app=app)


def make_login(connection: Connection, me: Identity, tenant: str, kind: str = "owner") -> Login:
    """Make a login that becomes the tenant's owner, or the app's own role. To be called within `roles_locked`."""
    login, verifier = _create(connection, me, login_name(tenant, catalog.token()))
    _let_act_as(connection, me, login.role, app_role_name(tenant) if kind == "app" else tenant, tenant)
    catalog.add_login(connection, tenant, login.role, kind, verifier)
    return login


def make_reader(connection: Connection, me: Identity, tenant: str, role: str) -> Login:
    """Make a login that reads the tenant and is a member of no role. The audit's rules of kind `repair` grant what it
    reads, and set its search_path and limits. To be called within `roles_locked`."""
    login, verifier = _create(connection, me, role)
    catalog.add_reader(connection, role, tenant, verifier)
    return login


def renew_reader(connection: Connection, tenant: str, role: str) -> Login:
    """Give the read-only login a new password; its sessions go on. To be called within `roles_locked`."""
    login, verifier = _renew(connection, role)
    catalog.add_reader(connection, role, tenant, verifier)
    return login


def make_lasting(connection: Connection, me: Identity, role: str) -> Login:
    """Make a login without any right. To be called within `roles_locked`."""
    return _create(connection, me, role, connections=5)[0]


def new_password(connection: Connection, role: str) -> Login:
    return _renew(connection, role)[0]


def _renew(connection: Connection, role: str) -> tuple[Login, str]:
    """Give the login a new password. Returns it, and what the server keeps instead of it."""
    login = Login(role, secrets.token_urlsafe(24))
    verifier = postgres.scram_verifier(connection, role, login.password)
    run(connection, "ALTER ROLE {role} PASSWORD {verifier}", role=role, verifier=literal(verifier))
    return login, verifier


def make_short_lived(connection: Connection, me: Identity, role: str, *, quick: bool = False) -> Login:
    """Make a login without any right, for a moment. To be called within `roles_locked`.

    The password of a `quick` one is hashed once and not 4096 times, where the server and libpq can (16 and later): that
    slows down who guesses a person's password, and this one has 192 random bits. It is what most of the time of a role
    would go to. Our own programs connect so; drivers of other languages insist on 4096 (RFC 7677).
    """
    if quick and me.version >= 160000:
        connection.execute("SET LOCAL scram_iterations = 1")
    return _create(connection, me, role, until=datetime.now(UTC) + SHORT_LIVED)[0]


def _create(
    connection: Connection, me: Identity, role: str, *, until: datetime | None = None, connections: int = -1
) -> tuple[Login, str]:
    """Make a login without any right. Returns it, and what the server keeps instead of its password."""
    login = Login(role, secrets.token_urlsafe(24))
    verifier = postgres.scram_verifier(connection, role, login.password)
    run(
        connection,
        "CREATE ROLE {role} LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
        " CONNECTION LIMIT {connections} PASSWORD {verifier} VALID UNTIL {until}",
        role=role,
        connections=literal(connections),
        verifier=literal(verifier),
        until=literal(until.isoformat() if until else "infinity"),
    )
    postgres.look_after(connection, me, role)
    return login, verifier


def _let_act_as(connection: Connection, me: Identity, login: str, owner: str, tenant: str) -> None:
    """Each session of the login becomes the `owner`, in the schema of the tenant."""
    names = {"login": login, "owner": owner, "database": me.database}
    membership = " WITH INHERIT FALSE, SET TRUE" if me.version >= 160000 else ""
    connection.execute(compose("GRANT {owner} TO {login}", **names) + postgres.raw(membership))
    run(connection, "ALTER ROLE {login} IN DATABASE {database} SET role = {owner}", **names)
    path = postgres.comma(tenant, EXTENSIONS_SCHEMA)
    run(connection, "ALTER ROLE {login} IN DATABASE {database} SET search_path = {path}", **names, path=path)
    run_again(connection, "GRANT CONNECT ON DATABASE {database} TO {login}", **names)


@contextmanager
def acting_as(
    connection: Connection, me: Identity, tenant: str, url: DatabaseUrl, *, quick: bool = False
) -> Iterator[DatabaseUrl]:
    """A URL that acts as the tenant, for as long as the block lasts. To be used under the tenant's lock.

    It is a login that is a member of that tenant alone and has no other right, so that nothing that the tenant's code
    does in its sessions reaches further than the tenant itself. What a killed run left is cleaned up first.
    """
    clean_up(connection, me, tenant, url)
    name = deploy_role_name(tenant, catalog.token())
    try:
        with postgres.roles_locked(connection):
            login = make_short_lived(connection, me, name, quick=quick)
            _let_act_as(connection, me, name, tenant, tenant)
            if me.superuser:
                limit = literal(f"{postgres.DEADLOCK_MS}ms")
                run(connection, "ALTER ROLE {role} SET deadlock_timeout = {limit}", role=name, limit=limit)
        yield url.as_login(login.role, login.password)
    finally:
        with signals.held():
            clean_up(connection, me, tenant, url)


def settle(connection: Connection, role: str, database: str, tenant: str, lock_seconds: float) -> None:
    """What the sessions of a role for a moment begin with, whatever opens them: the tenant's search_path, a short
    patience for locks, and no other limit of time. A role may do so for itself."""
    settings = {
        "search_path": postgres.comma(tenant, EXTENSIONS_SCHEMA),
        "lock_timeout": literal(f"{lock_seconds * 1000:.0f}ms"),
        "statement_timeout": literal(0),
        "idle_in_transaction_session_timeout": literal(0),
    }

    def alter() -> None:
        for name, value in settings.items():
            statement: LiteralString = "ALTER ROLE {role} IN DATABASE {database} SET {name} = {value}"
            run(connection, statement, role=role, database=database, name=name, value=value)

    postgres.again_if_concurrent(connection, alter)


@contextmanager
def seeing_all(connection: Connection, me: Identity, tenant: str, url: DatabaseUrl) -> Iterator[DatabaseUrl]:
    """A URL for pg_dump alone, for as long as the block lasts: it reads what the tenant owns, and no policy hides a row
    from it. To be used where `acting_as` is. Takes a superuser.
    """
    name = deploy_role_name(tenant, catalog.token())
    membership = " WITH INHERIT TRUE, SET FALSE" if me.version >= 160000 else ""
    try:
        with postgres.roles_locked(connection):
            login = make_short_lived(connection, me, name)
            run(connection, "ALTER ROLE {role} INHERIT BYPASSRLS", role=name)
            connection.execute(compose("GRANT {owner} TO {role}", owner=tenant, role=name) + postgres.raw(membership))
            run_again(connection, "GRANT CONNECT ON DATABASE {database} TO {role}", database=me.database, role=name)
        yield url.as_login(name, login.password)
    finally:
        with signals.held():
            remove_roles(connection, me, url, [name], None)


@contextmanager
def visiting(connection: Connection, me: Identity, tenant: str, url: DatabaseUrl) -> Iterator[DatabaseUrl]:
    """A URL that acts as the tenant for a person, for as long as the block lasts. It needs no lock: the name of our
    session says that the role is in use, and the next visit or nightly run removes one that is not."""
    clear_visitors(connection, me, tenant, url)
    name = visitor_role_name(tenant, catalog.token())
    postgres.call_it(connection, f"tenants {name}"[:63])
    try:
        with postgres.roles_locked(connection):
            login = make_short_lived(connection, me, name)
            _let_act_as(connection, me, name, tenant, tenant)
        yield url.as_login(name, login.password)
    finally:
        with signals.held():
            remove_roles(connection, me, url, [name], tenant)


def clear_visitors(
    connection: Connection, me: Identity, tenant: str, url: DatabaseUrl, *, everybody: bool = False
) -> None:
    """Remove the roles of visits that were killed, or, with `everybody`, also of those that go on."""
    found = postgres.rows(connection, "visitors", prefix=visitor_role_prefix(tenant))
    remove_roles(connection, me, url, [row["role"] for row in found if everybody or not row["visiting"]], tenant)


@contextmanager
def reading(
    connection: Connection, me: Identity, tenant: str, url: DatabaseUrl, schema: str, relations: Sequence[str]
) -> Iterator[DatabaseUrl]:
    """A URL that may read the relations of a schema that is no tenant's yet, for as long as the block lasts, and do
    nothing else. `relations` are quoted. To be used under the tenant's lock, as `acting_as` is."""
    clear_readers(connection, me, tenant, url)
    names = {"role": deploy_role_name(tenant, catalog.token()), "schema": schema, "database": me.database}
    try:
        with postgres.roles_locked(connection):
            login = make_short_lived(connection, me, names["role"])
            run_again(connection, "GRANT CONNECT ON DATABASE {database} TO {role}", **names)
            run(connection, "GRANT USAGE ON SCHEMA {schema} TO {role}", **names)
            run(connection, "GRANT SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {role}", **names)
            for relation in relations:
                run(connection, "GRANT SELECT ON {relation} TO {role}", relation=postgres.raw(relation), **names)
        yield url.as_login(login.role, login.password)
    finally:
        with signals.held():
            clear_readers(connection, me, tenant, url)


def clear_readers(connection: Connection, me: Identity, tenant: str, url: DatabaseUrl) -> None:
    """Remove the roles of `reading`, and what they were granted; to be called under the tenant's lock."""
    found = postgres.rows(connection, "roles_of", prefix=deploy_role_prefix(tenant))
    remove_roles(connection, me, url, [row["role"] for row in found], None)


def clean_up(connection: Connection, me: Identity, tenant: str, url: DatabaseUrl) -> list[str]:
    """Remove all deploy roles of the tenant, their sessions and what they own. Returns their names.

    Idempotent. To be called under the tenant's lock: then no deploy role of it is anybody's.
    """
    found = [row["role"] for row in postgres.rows(connection, "roles_of", prefix=deploy_role_prefix(tenant))]
    if found:
        catalog.forget_swaps(connection, tenant)  # before the roles, by which we would find them again
        besides = lambda: run(connection, "ALTER ROLE {owner} PASSWORD NULL", owner=tenant)  # noqa: E731
        remove_roles(connection, me, url, found, tenant, besides=besides)
    return found


def left_behind(connection: Connection, tenant: str) -> bool:
    """Whether there are roles for a moment: of a run that is at work, or of one that was killed."""
    prefixes = (deploy_role_prefix(tenant), scratch_prefix(tenant))
    return any(postgres.rows(connection, "roles_of", prefix=prefix) for prefix in prefixes)


def shut_out(connection: Connection, me: Identity, names: Sequence[str]) -> tuple[int, int]:
    """Let the roles into the database no more, end their sessions, and roll back what they have prepared. Returns how
    many sessions and prepared transactions there were.

    It waits for nothing that they could hold: neither for a key of ours nor for the row of a role, which each session
    can hold of its own (ALTER ROLE … PASSWORD in a transaction that stays open). Only the right to connect is taken,
    and that they cannot hold up. What takes such locks, NOLOGIN and DROP ROLE, comes after it.
    """
    if there := [row["role"] for row in postgres.rows(connection, "present", roles=list(names))]:
        whom = postgres.comma(*there)
        revoke: LiteralString = "REVOKE CONNECT ON DATABASE {database} FROM {roles}"
        run_again(connection, revoke, database=me.database, roles=whom)
    sessions = postgres.end_sessions(connection, names)
    prepared = postgres.rows(connection, "prepared", roles=list(names))
    for left in prepared:
        exclusively.rollback_prepared(connection, left["gid"], left["role"])
    return sessions, len(prepared)


def remove_roles(
    connection: Connection,
    me: Identity,
    url: DatabaseUrl,
    names: list[str],
    heir: str | None,
    *,
    besides: Callable[[], object] = lambda: None,
) -> None:
    """Shut the roles out, give what they own to `heir` (or drop it), and drop them. What they own in another database
    of the server is dropped there; `url` is the admin's. What is to go with them, `besides`, goes in the same
    transaction."""
    shut_out(connection, me, names)
    with postgres.roles_locked(connection):
        for name in names:
            run(connection, "ALTER ROLE {role} NOLOGIN", role=name)
    postgres.end_sessions(connection, names)
    for name in names:
        for other in _other_databases(connection, me, name):
            with postgres.connect(url.in_database(other), "tenants cleans up") as there:
                run(there, "DROP OWNED BY {role}", role=name)
    with postgres.roles_locked(connection):
        besides()
        for name in names:
            if heir:
                run(connection, "REASSIGN OWNED BY {role} TO {heir}", role=name, heir=heir)
            run_again(connection, "DROP OWNED BY {role}", role=name)  # it takes rights on the database
            run(connection, "DROP ROLE {role}", role=name)


def _other_databases(connection: Connection, me: Identity, role: str) -> list[str]:
    """Where else on this server the role owns something or is granted something."""
    found = [row["name"] for row in postgres.rows(connection, "databases_of_role", role=role)]
    return [name for name in found if name != me.database]
