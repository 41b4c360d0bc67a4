"""The digest of a schema's definitions: what changes it, and what does not."""

from __future__ import annotations

import psycopg
import pytest
from support import Database

from tenants.edges.sql import statement

THERE = """
CREATE SCHEMA s;
CREATE SCHEMA elsewhere;
CREATE TYPE s.mood AS ENUM ('sad', 'ok');
CREATE TYPE s.point AS (x int, y int);
CREATE DOMAIN s.small AS int CHECK (VALUE < 10);
CREATE SEQUENCE s.numbers;
CREATE FUNCTION s.one() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION s.noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TABLE s.trees (id bigint PRIMARY KEY, name text DEFAULT 'x', mood s.mood);
CREATE TABLE s.parts (id bigint, year int) PARTITION BY LIST (year);
CREATE TABLE s.part_1 (id bigint, year int);
CREATE INDEX trees_name ON s.trees (name);
CREATE VIEW s.names AS SELECT name FROM s.trees;
INSERT INTO s.trees SELECT n, 'tree', 'ok' FROM generate_series(1, 100) n;
"""
CHANGES = [
    "ALTER TABLE s.trees ADD COLUMN height int",
    "ALTER TABLE s.trees DROP COLUMN mood",
    "ALTER TABLE s.trees ALTER COLUMN name SET DEFAULT 'y'",
    "ALTER TABLE s.trees ALTER COLUMN name DROP DEFAULT",
    "ALTER TABLE s.trees ALTER COLUMN name SET NOT NULL",
    "ALTER TABLE s.trees RENAME COLUMN name TO title",
    "ALTER TABLE s.trees ADD CONSTRAINT tall CHECK (id > 0)",
    "ALTER TABLE s.trees ADD CONSTRAINT same FOREIGN KEY (id) REFERENCES s.trees",
    "ALTER TABLE s.trees DROP CONSTRAINT trees_pkey",
    "ALTER TABLE s.trees ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE s.trees SET (fillfactor = 50)",
    "ALTER TABLE s.trees SET SCHEMA elsewhere",
    "ALTER TABLE s.trees RENAME TO bushes",
    "ALTER TABLE s.parts ATTACH PARTITION s.part_1 FOR VALUES IN (1)",
    "CREATE POLICY seen ON s.trees USING (true)",
    "CREATE TRIGGER noting BEFORE INSERT ON s.trees FOR EACH ROW EXECUTE FUNCTION s.noted()",
    "CREATE RULE quiet AS ON DELETE TO s.trees DO INSTEAD NOTHING",
    "CREATE INDEX ON s.trees (lower(name))",
    "ALTER INDEX s.trees_name RENAME TO trees_by_name",
    "DROP INDEX s.trees_name",
    "CREATE STATISTICS s.together ON id, name FROM s.trees",
    "CREATE OR REPLACE VIEW s.names AS SELECT name, 1 AS one FROM s.trees",
    "DROP VIEW s.names",
    "CREATE MATERIALIZED VIEW s.many AS SELECT 1 AS one",
    "CREATE TABLE s.empty ()",
    "GRANT SELECT ON s.trees TO PUBLIC",
    "GRANT USAGE ON SCHEMA s TO PUBLIC",
    "ALTER TYPE s.mood ADD VALUE 'happy'",
    "ALTER TYPE s.mood RENAME VALUE 'ok' TO 'fine'",
    "ALTER TYPE s.point ADD ATTRIBUTE z int",
    "ALTER DOMAIN s.small ADD CONSTRAINT positive CHECK (VALUE > 0)",
    "ALTER DOMAIN s.small DROP CONSTRAINT small_check",
    "ALTER SEQUENCE s.numbers INCREMENT 5",
    "CREATE OR REPLACE FUNCTION s.one() RETURNS int LANGUAGE sql AS 'SELECT 2'",
    "DROP FUNCTION s.one()",
    "CREATE OPERATOR s.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)",
    'CREATE COLLATION s.plain FROM "C"',
    "CREATE TEXT SEARCH CONFIGURATION s.words (COPY = simple)",
]
NO_CHANGES = [
    "INSERT INTO s.trees VALUES (1000, 'new', 'sad')",
    "DELETE FROM s.trees WHERE id < 50",
    "SELECT nextval('s.numbers')",
    "VACUUM ANALYZE s.trees",
    "ANALYZE s.parts",
    "REINDEX TABLE elsewhere.other",
    "ALTER TABLE elsewhere.other ADD COLUMN more int",
    "CREATE FUNCTION elsewhere.two() RETURNS int LANGUAGE sql AS 'SELECT 2'",
    "BEGIN; ALTER TABLE s.trees ADD COLUMN height int; ROLLBACK",
]


@pytest.mark.every_major
def test_the_digest_of_definitions_changes_with_every_one_of_them_and_with_nothing_else(database: Database) -> None:
    database.sql(THERE + "CREATE TABLE elsewhere.other (id int PRIMARY KEY);")

    with psycopg.connect(database.url, autocommit=True) as connection:

        def digest() -> str:
            row = connection.execute(statement("fingerprint"), {"schema": "s"}).fetchone()
            assert row
            return str(row[0])

        unnoticed = []
        for change in CHANGES:
            connection.execute("BEGIN")
            before = digest()
            connection.execute(change.encode())
            unnoticed += [change] if digest() == before else []
            connection.execute("ROLLBACK")
        before, noticed = digest(), []
        for other in NO_CHANGES:
            connection.execute(other.encode())
            noticed += [other] if digest() != before else []
    assert (unnoticed, noticed) == ([], [])
