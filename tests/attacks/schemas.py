"""Traps: what a tenant may plant in its own schema, in its rows of the catalog and in the bucket, for the admin,
pg_dump, the audit or a restore to trip over. What has to hold is in tests/acceptance/test_hostile_schemas.py."""

from __future__ import annotations

from typing import Literal

from attacks.model import Attack, Group, Way

AWAY = "ALTER TABLE alembic_version RENAME TO former; "

FAULTY = {
    "view": AWAY + "CREATE VIEW alembic_version AS SELECT '0001'::varchar(32) AS version_num WHERE trap()",
    "view-over-the-table": AWAY + "CREATE VIEW alembic_version AS SELECT version_num FROM former WHERE trap()",
    "materialized-view": AWAY + "CREATE MATERIALIZED VIEW alembic_version AS SELECT trap()::text AS version_num",
    "composite-type": AWAY + "CREATE TYPE alembic_version AS (version_num text)",
    "sequence": AWAY + "CREATE SEQUENCE alembic_version",
    "index": AWAY + "CREATE INDEX alembic_version ON items (trap(name))",
    "partitioned": AWAY
    + "CREATE TABLE alembic_version (version_num varchar(32)) PARTITION BY LIST (trap(version_num))",
    "partition": AWAY + "CREATE TABLE whole (version_num varchar(32)) PARTITION BY LIST (version_num);"
    "CREATE TABLE alembic_version PARTITION OF whole DEFAULT; INSERT INTO whole VALUES ('0001')",
    "parent": "CREATE TABLE child () INHERITS (alembic_version); INSERT INTO child VALUES ('0002')",
    "unlogged": AWAY + "CREATE UNLOGGED TABLE alembic_version AS TABLE former",
    "row-security": "ALTER TABLE alembic_version ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
    "CREATE POLICY trap ON alembic_version USING (trap())",
    "rule": "CREATE RULE trap AS ON INSERT TO alembic_version DO ALSO SELECT trap()",
    "type-and-cast": AWAY + "CREATE TYPE v AS (n text);"
    "CREATE FUNCTION into_text(v) RETURNS text LANGUAGE sql AS 'SELECT fruits.trap()::text';"
    "CREATE CAST (v AS text) WITH FUNCTION into_text(v) AS IMPLICIT;"
    "CREATE TABLE alembic_version (version_num v); INSERT INTO alembic_version VALUES (ROW('0001'))",
    "domain": AWAY + "CREATE DOMAIN v AS varchar(32) CHECK (trap(VALUE) <> '');"
    "CREATE TABLE alembic_version (version_num v); INSERT INTO alembic_version VALUES ('0001')",
    "enumeration": AWAY + "CREATE TYPE v AS ENUM ('0001'); CREATE TABLE alembic_version (version_num v)",
    "number": AWAY + "CREATE TABLE alembic_version (version_num int); INSERT INTO alembic_version VALUES (1)",
    "other-column": "ALTER TABLE alembic_version RENAME version_num TO version",
    "more-columns": "ALTER TABLE alembic_version ADD more text DEFAULT trap(''::text)",
    "no-column": "ALTER TABLE alembic_version DROP version_num",
    "generated": AWAY + "CREATE TABLE alembic_version (version_num text GENERATED ALWAYS AS (trap(1)) STORED)",
    "unknown-revision": "UPDATE alembic_version SET version_num = E'\\x1b[2J\\n\\u009b\\u202e'",
    "long-revision": AWAY + "CREATE TABLE alembic_version AS SELECT repeat('x', 1000000) AS version_num",
    "many-revisions": AWAY + "CREATE TABLE alembic_version AS SELECT n::text AS version_num"
    " FROM generate_series(1, 100000) n",
}

SOUND = {
    "expression-index": "CREATE INDEX ON alembic_version ((trap(version_num)))",
    "partial-index": "CREATE INDEX ON alembic_version (version_num) WHERE trap(version_num) <> ''",
    "statistics": "CREATE STATISTICS trap ON (trap(version_num)), version_num FROM alembic_version;"
    "ANALYZE alembic_version",
    "check": "ALTER TABLE alembic_version ADD CHECK (trap(version_num) <> '')",
    "trigger": "CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS"
    " 'BEGIN PERFORM fruits.trap(); RETURN NEW; END';"
    "CREATE TRIGGER fire BEFORE UPDATE ON alembic_version FOR EACH ROW EXECUTE FUNCTION fire()",
    "default": "ALTER TABLE alembic_version ALTER version_num SET DEFAULT trap(''::text)",
}

HOOKS = """
    CREATE TABLE one (x int CHECK (fruits.reach('check')));
    CREATE DOMAIN reached AS int CHECK (fruits.reach('domain'));
    CREATE TABLE two (x reached);
    CREATE TABLE three (x int, y boolean GENERATED ALWAYS AS (fruits.reach('generated')) STORED);
    CREATE TABLE four (x int, y int);
    CREATE INDEX ON four (x) WHERE fruits.reach('index');
    CREATE UNIQUE INDEX ON four ((fruits.reach('expression', x)));
    CREATE STATISTICS s ON (fruits.reach('statistics', x)), (fruits.reach('statistics', y)) FROM four;
    CREATE MATERIALIZED VIEW five AS SELECT fruits.reach('materialized view');
    INSERT INTO one VALUES (1);
    INSERT INTO two VALUES (1);
    INSERT INTO three VALUES (1);
    INSERT INTO four VALUES (1, 1);
    CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM fruits.reach(''trigger''); RETURN NEW; END';
    CREATE TRIGGER fire BEFORE INSERT ON one FOR EACH ROW EXECUTE FUNCTION fire();
    ALTER TABLE one ENABLE ALWAYS TRIGGER fire;
"""

FORGED = {
    "a-null": "ARRAY[NULL]",
    "a-matrix": "ARRAY[['a', 'b'], ['c', 'd']]",
    "escape-sequences": r"ARRAY[E'\x1b[2J\nfruits   migrated\u009b2J\u202e']",
    "very-long": "ARRAY[repeat('x', 3000000)]",
    "very-many": "array_agg(n::text)",
}

MANIFESTS: dict[str, bytes | dict[str, object]] = {
    "deep": b"[" * 200000,
    "huge": b'{"format": 1, "padding": "' + b"x" * (64 << 20) + b'"}',
    "not-text": b"\xff\xfe",
    "empty": b"",
    "number": b"1",
    "overflow": {"created_at": "9999-12-31T23:59:59-10:00"},
    "half-a-character": {"reason": "\ud800"},
    "escape-sequences": {"reason": "\x1b[2J\nfruits", "project": "\x9b2J"},
    "endless-size": {"size": 10**400},
    "another-tenant": {"tenant": "fruits"},
    "heads-of-nulls": {"heads": [None]},
}

_TITLES = {
    "view": "Put a view in the place of the version table, to run as whoever reads it",
    "view-over-the-table": "Put a view over the real version table in its place",
    "materialized-view": "Put a materialized view in its place",
    "composite-type": "Put a type in its place",
    "sequence": "Put a sequence in its place",
    "index": "Put an index in its place",
    "partitioned": "Put a partitioned table with a function as its key in its place",
    "partition": "Make it a partition of another table",
    "parent": "Let another table inherit from it, and add a row",
    "unlogged": "Make it a table that is empty after a crash",
    "row-security": "Put a policy on it that runs a function",
    "rule": "Put a rule on it",
    "type-and-cast": "Give it a type with a cast that runs a function",
    "domain": "Give it a domain whose check runs a function",
    "enumeration": "Give it an enumeration",
    "number": "Give it a number",
    "other-column": "Rename its column",
    "more-columns": "Give it more columns, with a default that runs a function",
    "no-column": "Drop its column",
    "generated": "Give it a generated column that runs a function",
    "unknown-revision": "Write escape sequences into it",
    "long-revision": "Write a megabyte into it",
    "many-revisions": "Write a hundred thousand revisions into it",
    "expression-index": "Index it by a function",
    "partial-index": "Index it where a function says so",
    "statistics": "Have statistics of a function kept",
    "check": "Check it by a function",
    "trigger": "Put a trigger on it",
    "default": "Give it a default that runs a function",
    "a-null": "Record a revision that is null",
    "a-matrix": "Record a matrix of revisions",
    "escape-sequences": "Record escape sequences",
    "very-long": "Record three megabytes",
    "very-many": "Record two hundred thousand revisions",
}

_MANIFEST_TITLES = {
    "deep": "A manifest of JSON nested 200 000 deep",
    "huge": "A manifest of 64 megabytes",
    "not-text": "A manifest that is no text",
    "empty": "An empty manifest",
    "number": "A manifest that is a number",
    "overflow": "A manifest with a moment outside of time",
    "half-a-character": "A manifest with half a character",
    "escape-sequences": "A manifest with escape sequences for the terminal",
    "endless-size": "A manifest with a size of 400 digits",
    "another-tenant": "A manifest of another tenant",
    "heads-of-nulls": "A manifest whose revisions are null",
}

_HOOK_TITLES = {
    "check": "A check constraint that runs code while a restore fills its table",
    "domain": "A domain that does",
    "generated": "A generated column that does",
    "index": "The condition of an index that does",
    "expression": "The expression of an index that does",
    "statistics": "Statistics of an expression that do, when the restored tables are analyzed",
    "materialized view": "A materialized view that does, when it is refreshed",
    "trigger": "A trigger that always fires",
}


def _rows(
    prefix: str,
    titles: dict[str, str],
    codes: dict[str, str],
    kept_by: str,
    outcome: Literal["denied", "harmless"],
    ways: tuple[Way, ...],
) -> tuple[Attack, ...]:
    return tuple(
        Attack(prefix + id_.replace(" ", "-"), titles[id_], code, kept_by, outcome, ways, expects=())
        for id_, code in codes.items()
    )


GROUPS = (
    Group(
        "Traps in one's own schema",
        (
            *_rows(
                "version-",
                _TITLES,
                FAULTY,
                "what is no plain table is told and not read; COPY of a plain table plans nothing",
                "denied",
                ("login",),
            ),
            *_rows("version-", _TITLES, SOUND, "it runs in sessions of the tenant alone", "harmless", ("login",)),
            *_rows(
                "restore-",
                _HOOK_TITLES,
                dict.fromkeys(_HOOK_TITLES, HOOKS),
                "a restore replays in a session that has no right beyond the tenant",
                "harmless",
                ("login",),
            ),
        ),
    ),
    Group(
        "Forgeries in one's own rows of the catalog",
        _rows(
            "record-", _TITLES, FORGED, "the columns' checks, and what is shown is made printable", "denied", ("login",)
        ),
    ),
    Group(
        "Manifests in the bucket",
        _rows(
            "manifest-",
            _MANIFEST_TITLES,
            {id_: repr(code)[:200] for id_, code in MANIFESTS.items()},
            "a manifest is read as any input is, and where its archive lies is never taken from its text",
            "denied",
            ("bucket",),
        ),
    ),
)
