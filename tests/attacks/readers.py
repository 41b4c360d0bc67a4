"""What a tenant plants for a read-only login: code that runs when the reader asks an ordinary query. The neighbour is
read with another login, and out of reach.

Each row is SQL as `fruits`, and after the line READS the query of the reader. `steal()` reads the neighbour, and sends
what it gets, and as whom, by NOTIFY.
"""

from __future__ import annotations

from attacks.model import Attack, Group

READS = "-- as the reader:"

PLANTED = """
    CREATE FUNCTION fruits.steal() RETURNS boolean LANGUAGE plpgsql IMMUTABLE COST 0.0001 AS $$
    DECLARE found text := 'nothing';
    BEGIN
        BEGIN
            EXECUTE 'SELECT string_agg(name, ''|'') FROM apples.items' INTO found;
        EXCEPTION WHEN insufficient_privilege THEN
            found := 'denied';
        END;
        PERFORM pg_notify('loot', current_user || ' ' || found);
        RETURN true;
    END $$;
    CREATE FUNCTION fruits.same(a varchar, b varchar) RETURNS boolean LANGUAGE plpgsql AS
        'BEGIN RETURN fruits.steal() AND a::text = b::text; END';
    CREATE TYPE fruits.mood AS ENUM ('good');
    CREATE FUNCTION fruits.say(fruits.mood) RETURNS text LANGUAGE plpgsql AS
        'BEGIN PERFORM fruits.steal(); RETURN ''said''; END';
    CREATE TABLE fruits.moods (m fruits.mood, name varchar);
    INSERT INTO fruits.moods VALUES ('good', 'x')
"""


def _row(id_: str, title: str, plants: str, reads: str) -> Attack:
    code = f"{plants}\n{READS}\n{reads}"
    kept_by = "a session of a read-only login reaches one tenant: what runs in it reads that tenant alone"
    return Attack("reader-" + id_, title, code, kept_by, "harmless", ("reader",), expects=())


GROUPS = (
    Group(
        "Code that waits for a read-only login",
        (
            _row(
                "operator",
                "An operator that fits varchar better than PostgreSQL's own",
                "CREATE OPERATOR fruits.= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = fruits.same)",
                "SELECT name FROM moods WHERE name = 'x'",
            ),
            _row(
                "function",
                "A function whose argument fits better than that of PostgreSQL's own",
                "CREATE FUNCTION fruits.upper(varchar) RETURNS text LANGUAGE plpgsql AS"
                " 'BEGIN PERFORM fruits.steal(); RETURN $1; END'",
                "SELECT upper(name) FROM moods",
            ),
            _row(
                "cast",
                "A cast of its own type, with no schema in the search_path",
                "CREATE CAST (fruits.mood AS text) WITH FUNCTION fruits.say(fruits.mood)",
                "SET search_path = pg_catalog; SELECT m::text FROM fruits.moods",
            ),
            _row(
                "domain",
                "A domain whose CHECK is asked as a value is cast",
                "CREATE DOMAIN fruits.checked AS text CHECK (fruits.steal())",
                "SELECT name::fruits.checked FROM moods",
            ),
            _row(
                "view",
                "A view that calls a function",
                "CREATE VIEW fruits.looked AS SELECT name, fruits.steal() FROM fruits.moods",
                "SELECT * FROM looked",
            ),
            _row(
                "policy",
                "A policy of row level security that calls a function",
                "CREATE TABLE fruits.hidden AS SELECT 1 AS one; ALTER TABLE fruits.hidden ENABLE ROW LEVEL SECURITY;"
                " CREATE POLICY asked ON fruits.hidden USING (fruits.steal())",
                "SELECT * FROM hidden",
            ),
            _row(
                "statistics",
                "An expression of statistics, which the planner evaluates",
                "CREATE TABLE fruits.counted AS SELECT n FROM generate_series(1, 10) n;"
                " CREATE STATISTICS fruits.guessed ON (n + 1), (fruits.steal() AND n > 0) FROM fruits.counted;"
                " CREATE INDEX ON fruits.counted (n) WHERE fruits.steal()",
                "SELECT n FROM counted WHERE n > 3",
            ),
            _row(
                "aggregate",
                "An aggregate of a known name whose state is computed by a function",
                "CREATE FUNCTION fruits.add(boolean, varchar) RETURNS boolean LANGUAGE sql AS 'SELECT fruits.steal()';"
                " CREATE AGGREGATE fruits.max(varchar) (SFUNC = fruits.add, STYPE = boolean)",
                "SELECT max(name) FROM moods",
            ),
            _row(
                "sorted",
                "An order of its own type",
                "CREATE TYPE fruits.pair AS (a int);"
                " CREATE FUNCTION fruits.less(fruits.pair, fruits.pair) RETURNS boolean"
                " LANGUAGE sql AS 'SELECT fruits.steal()';"
                " CREATE OPERATOR fruits.< (LEFTARG = fruits.pair, RIGHTARG = fruits.pair, FUNCTION = fruits.less);"
                " CREATE TABLE fruits.pairs AS SELECT ROW(n)::fruits.pair AS p FROM generate_series(1, 3) n",
                "SELECT count(*) FROM pairs a, pairs b WHERE a.p < b.p",
            ),
        ),
    ),
)
