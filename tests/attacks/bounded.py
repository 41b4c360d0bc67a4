"""What any shared server is open to: a neighbour that holds on to things or uses them up. A limit bounds it, or the
audit names it, and one command ends it.

Each statement is a line, said in one session that stays open; `& ` goes on without an answer. `{key:…}` is a lock of
this program, `{snapshot}` one that another session has handed on.
"""

from __future__ import annotations

from attacks.model import Attack, Group, Way

_SUSPEND = "`tenants suspend fruits`"
_RESTART = "`dokku postgres:restart db`, then `tenants suspend fruits`"
_LOGIN: tuple[Way, ...] = ("login", "app")


def _held(
    id_: str,
    title: str,
    code: str,
    rule: str,
    kept_by: str = "the audit names the session",
    ways: tuple[Way, ...] = _LOGIN,
) -> Attack:
    return Attack(id_, title, code, kept_by, outcome="bounded", ways=ways, expects=(), rule=rule, ended_by=_SUSPEND)


HELD = Group(
    "Holding on",
    (
        _held(
            "hold-tenant",
            "Hold a neighbour's lock of this program, under the name of one of its runs, so that no deploy begins",
            "SET application_name = 'tenants deploy'\nSELECT pg_advisory_lock({key:tenant apples})",
            "advisory-lock",
            "the next run with the admin's URL ends the session that holds it",
            ("app", "login"),
        ),
        _held(
            "hold-roles",
            "Hold the lock under which this program changes roles",
            "SET application_name = 'tenants nightly'\nSELECT pg_advisory_lock({key:roles})",
            "advisory-lock",
            "the next run with the admin's URL ends the session that holds it",
            ("app", "login"),
        ),
        _held(
            "hold-nightly",
            "Hold the lock of the nightly run",
            "SET application_name = 'tenants nightly'\nSELECT pg_advisory_lock({key:nightly})",
            "advisory-lock",
            "the next run with the admin's URL ends the session that holds it",
            ("app", "login"),
        ),
        _held(
            "hold-transaction",
            "Keep a transaction open for hours, so that the whole server cannot clean up",
            "SET idle_in_transaction_session_timeout = 0\nBEGIN ISOLATION LEVEL REPEATABLE READ\nSELECT 1",
            "long-transaction",
            "10 minutes idle, unless the session lifts that; then the audit names it",
        ),
        _held(
            "hold-snapshot",
            "Hand a snapshot on from transaction to transaction, so that none of them is old",
            "BEGIN ISOLATION LEVEL REPEATABLE READ\nSET TRANSACTION SNAPSHOT '{snapshot}'\nSELECT 1",
            "long-transaction",
            "the audit knows it by the age of the snapshot",
        ),
        _held(
            "hold-processor",
            "Burn the processor in an endless loop",
            "SET statement_timeout = 0\n& DO $$BEGIN LOOP NULL; END LOOP; END$$",
            "long-transaction",
            "5 minutes a statement, unless the session lifts that; then the audit names it",
        ),
        _held(
            "hold-own-role",
            "Hold the row of one's own role, which shutting it out has to change",
            "SET ROLE NONE\nBEGIN\nALTER ROLE SESSION_USER PASSWORD 'held'",
            "long-transaction",
            "suspend waits for nothing before its sessions are gone",
        ),
        _held(
            "hold-neighbours-table",
            "Lock a neighbour's table without any privilege, by asking what its view reads",
            "BEGIN\nSELECT pg_get_viewdef(oid) FROM pg_class WHERE relname = 'seen'",
            "lock-crosses",
            "migrations wait 1 s for a lock and try again for a minute",
        ),
        _held(
            "hold-many",
            "Take thousands of locks",
            "SELECT count(pg_advisory_lock(n)) FROM generate_series(1, 2000) n",
            "many-locks",
        ),
        _held(
            "hold-notifications",
            "Listen and never hear, so that the queue of NOTIFY fills up for all",
            "LISTEN loot\nBEGIN\nSELECT 1",
            "notifications",
            "the queue takes 8 GB",
        ),
        _held(
            "hold-catalog",
            "Read one's own rows of the catalog in a transaction that stays open, so that no update of it begins",
            "SET idle_in_transaction_session_timeout = 0\nBEGIN\nSELECT count(*) FROM tenants.deploys",
            "long-transaction",
            "an update of the catalog ends the sessions of tenants that hold its tables",
            ("login", "login"),
        ),
        _held(
            "hold-prepared",
            "Leave a prepared transaction, which needs no session",
            "BEGIN\nUPDATE fruits.items SET name = name\nPREPARE TRANSACTION 'left'",
            "prepared-transaction",
            "PostgreSQL has none unless max_prepared_transactions is set; suspend rolls them back",
        ),
        _held(
            "hold-prepared-role",
            "Prepare a change of one's own role, so that it can neither be shut out nor dropped",
            "SET ROLE NONE\nBEGIN\nALTER ROLE SESSION_USER PASSWORD 'held'\nPREPARE TRANSACTION 'held'",
            "prepared-transaction",
            "the same",
            ("app", "login"),
        ),
        _held(
            "fill-temporary",
            "Fill the disk with temporary tables, which no limit of PostgreSQL covers",
            "CREATE TEMPORARY TABLE loot AS SELECT repeat('x', 8000) AS x FROM generate_series(1, 20000)",
            "size",
            "the size that a tenant may have counts them",
        ),
    ),
)

FILLED = Group(
    "Using up",
    (
        Attack(
            "fill-schema",
            "Fill the disk with rows",
            "INSERT INTO fruits.items (name) SELECT repeat('x', 8000) FROM generate_series(1, 20000)",
            "the size that a tenant may have (`--size`), which PostgreSQL does not enforce",
            outcome="bounded",
            ways=("app",),
            expects=(),
            rule="size",
            ended_by=_SUSPEND,
        ),
        Attack(
            "fill-catalogs",
            "Make thousands of tables, so that a snapshot of anybody takes longer and one's own finds no locks",
            "DO $$BEGIN FOR n IN 1..60 LOOP EXECUTE format('CREATE TABLE fruits.t%s ()', n); END LOOP; END$$",
            "the number of objects that a tenant may have (`--objects`), which PostgreSQL does not enforce",
            outcome="bounded",
            ways=("login",),
            expects=(),
            rule="objects",
            ended_by="`tenants suspend fruits`, then `tenants drop fruits --no-snapshot`",
        ),
        Attack(
            "fill-catalogs-functions",
            "Make thousands of functions",
            "DO $$BEGIN FOR n IN 1..60 LOOP EXECUTE format('CREATE FUNCTION fruits.f%s() RETURNS int LANGUAGE sql AS "
            "''SELECT 1''', n); END LOOP; END$$",
            "the same",
            outcome="bounded",
            ways=("login",),
            expects=(),
            rule="objects",
            ended_by="the same",
        ),
        Attack(
            "fill-catalogs-temporary",
            "Make thousands of temporary tables",
            "DO $$BEGIN FOR n IN 1..60 LOOP EXECUTE format('CREATE TEMPORARY TABLE t%s ()', n); END LOOP; END$$",
            "the same, which counts them",
            outcome="bounded",
            ways=("login",),
            expects=(),
            rule="objects",
            ended_by=_SUSPEND,
        ),
        Attack(
            "fill-records",
            "Record deploys without an end",
            "DO $$BEGIN FOR n IN 1..120 LOOP PERFORM tenants.add_record('deploy', '{}', '{}', '{}', NULL, NULL, "
            "'migrated', NULL, '{}', NULL, NULL, NULL); END LOOP; END$$",
            "120 records an hour, of which the newest 1,000 stay, and no more than 2 MB",
            outcome="bounded",
            ways=("login",),
            expects=(),
            rule="record-rate",
            ended_by=_SUSPEND,
        ),
        Attack(
            "fill-large-objects",
            "Fill the disk with large objects, outside of every schema",
            "SELECT lo_from_bytea(0, repeat('x', 100000)::bytea)",
            "the audit names whoever has any",
            outcome="bounded",
            ways=("login",),
            expects=(),
            rule="large-objects",
            ended_by=_SUSPEND,
        ),
        Attack(
            "fill-files",
            "Fill the disk with temporary files",
            "SELECT count(*) FROM (SELECT n FROM generate_series(1, 1000000) n ORDER BY n DESC OFFSET 1) x",
            "`temp_file_limit` of the login, which it cannot lift",
            outcome="bounded",
            ways=("app",),
            expects=("53400",),
            ended_by=_SUSPEND,
        ),
        Attack(
            "fill-connections",
            "Open connections until nobody else gets one",
            "",
            "CONNECTION LIMIT of the login (`--connections`)",
            outcome="bounded",
            ways=("login",),
            expects=("53300",),
            ended_by=_SUSPEND,
        ),
        Attack(
            "fill-knocks",
            "Open connections and never say a password: they count for no login",
            "",
            "`authentication_timeout`; and who is not in the network cannot",
            outcome="bounded",
            ways=("login",),
            expects=(),
            ended_by="`docker network disconnect tenants CONTAINER`",
        ),
        Attack(
            "fill-locks",
            "Take all locks that the server has room for: nobody can log in any more, not even the admin",
            "DO $$BEGIN FOR n IN 1..1000000 LOOP PERFORM pg_advisory_lock(n); END LOOP; END$$",
            "nothing in PostgreSQL; the data is not touched",
            outcome="bounded",
            ways=("login",),
            expects=("53200",),
            ended_by=_RESTART,
        ),
        Attack(
            "hold-mending",
            "Hold the row of one's own role while the admin mends all tenants, so that the others are not mended",
            "SET ROLE NONE\nALTER ROLE SESSION_USER SET work_mem = 1024\nBEGIN\n"
            "ALTER ROLE SESSION_USER SET work_mem = 2048",
            "a session of a tenant that keeps such a fix waiting is ended after 1.5 s",
            outcome="bounded",
            ways=("login",),
            expects=(),
            rule="long-transaction",
            ended_by=_SUSPEND,
        ),
        Attack(
            "leave-prepared",
            "Leave a prepared transaction that holds the deploy role, so that the role cannot be dropped",
            "SET ROLE NONE\nBEGIN\nSELECT lo_create(0)\nPREPARE TRANSACTION 'orphan'",
            "removing a deploy role rolls back what it has prepared",
            outcome="bounded",
            ways=("revision",),
            expects=(),
            rule="prepared-transaction",
            ended_by="the end of the deploy",
        ),
        Attack(
            "storm",
            "Come back faster than one is shut out",
            "SET ROLE NONE\nBEGIN\nALTER ROLE SESSION_USER PASSWORD 'held'",
            "suspend takes the right to connect before it ends a session",
            outcome="bounded",
            ways=("login",),
            expects=(),
            ended_by=_SUSPEND,
        ),
    ),
)

GROUPS = (HELD, FILLED)
