"""A snapshot that was restored is proven; what does not come back as it was is told. The live schema is untouched."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from support import Place, until


@pytest.fixture
def orchard(place: Place) -> Place:
    place.fruits()
    place.deployed()
    return place


EVERYTHING = """
    CREATE TYPE mood AS ENUM ('a', 'b');
    CREATE DOMAIN price AS numeric CHECK (VALUE >= 0);
    CREATE TYPE span AS RANGE (subtype = int);
    CREATE TYPE pair AS (x int, y mood);
    CREATE FUNCTION double(int) RETURNS int LANGUAGE sql IMMUTABLE RETURN $1 * 2;
    CREATE PROCEDURE nothing() LANGUAGE plpgsql AS 'BEGIN NULL; END';
    CREATE TABLE "Wide Öne" (
        id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, s serial, m mood, p price, r span, c pair,
        twice int GENERATED ALWAYS AS (double(id)) STORED, j jsonb, b bytea, t text, a int[], n numeric, d timestamptz,
        u citext);
    INSERT INTO "Wide Öne" (m, p, r, c, j, b, t, a, n, d, u) VALUES
        ('a', 1.5, '[1,4)', (1, 'b'), '{"x": [1, null]}', '\\x00ff', E'tab\\t, line\\n, \\\\. and ü', '{1,NULL}', 'NaN',
         'infinity', 'Ä'),
        (NULL, NULL, NULL, NULL, NULL, NULL, '', NULL, NULL, '-infinity', NULL);
    INSERT INTO "Wide Öne" (t) SELECT repeat(md5(n::text), 100) FROM generate_series(1, 2000) n;
    CREATE TABLE log (at date, what text) PARTITION BY RANGE (at);
    CREATE TABLE log_2026 PARTITION OF log FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    INSERT INTO log VALUES ('2026-11-23', 'x');
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TRIGGER touch BEFORE INSERT ON log_2026 FOR EACH ROW EXECUTE FUNCTION touch();
    CREATE VIEW seen AS SELECT id, twice FROM "Wide Öne";
    CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM seen;
    ALTER TABLE items ENABLE ROW LEVEL SECURITY;
    CREATE POLICY mine ON items USING (name <> 'carrot');
    COMMENT ON TABLE items IS 'it''s';
    ALTER DEFAULT PRIVILEGES IN SCHEMA fruits GRANT SELECT ON TABLES TO fruits;
    CREATE TABLE void ();
"""


@pytest.mark.every_server
def test_a_snapshot_of_everything_restores_and_is_proven(orchard: Place) -> None:
    orchard.tenants("create", "fruits", "--app-role")
    orchard.tenants("extension", "fruits", "citext")
    url = orchard.tenants("login", "fruits", "--owner", "--json").json["url"]
    orchard.database.sql(EVERYTHING, url=url)
    id_ = orchard.snapshot()
    before = orchard.database.dump("fruits")
    done = orchard.tenants("drill", "--json")
    assert done.code == 0, done.said
    (one,) = done.json["drilled"]
    assert (one["snapshot"], one["already"], one["rows"]) == (id_, False, 2002 + 4 + 1 + 1)
    assert orchard.database.dump("fruits") == before
    orchard.nothing_left()

    (listed,) = orchard.tenants("snapshots", "--json").json["snapshots"]
    assert listed["proven"] is True
    again = orchard.snapshot()
    (one,) = orchard.tenants("drill", "fruits", "--json").json["drilled"]
    assert (one["snapshot"], one["already"]) == (again, True), "what has not changed is proven by the first"
    assert list(orchard.store.rglob("*.proof")) == [], "the catalog knows it, where nobody else can write"


HOOKS = """
    CREATE FUNCTION fruits.reach() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
    BEGIN
        RAISE LOG 'reached as <%> <%> in <%>', session_user, current_user, current_database();
        BEGIN EXECUTE 'ALTER ROLE fruits SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END;
        BEGIN EXECUTE 'SET ROLE fruits'; EXCEPTION WHEN OTHERS THEN NULL; END;
        BEGIN EXECUTE 'ALTER ROLE fruits PASSWORD ''stolen'''; EXCEPTION WHEN OTHERS THEN NULL; END;
        RETURN true;
    END $$;
    CREATE TABLE trap (id int CHECK (fruits.reach()));
    INSERT INTO trap VALUES (1);
"""


@pytest.mark.every_server
def test_what_a_drill_sets_off_reaches_nobody(orchard: Place) -> None:
    orchard.database.sql(HOOKS, url=orchard.url_of("fruits"))
    orchard.snapshot()
    began = len(orchard.database.server.log())
    assert orchard.tenants("drill").code == 0
    log = orchard.database.server.log()[began:]
    assert "reached as <fruits~scratch~" in log and "reached as <postgres>" not in log
    assert "> <fruits> in" not in log, "it is no member of the tenant"
    query = "SELECT rolsuper, rolpassword FROM pg_authid WHERE rolname = 'fruits'"
    assert orchard.database.sql(query) == [(False, None)]
    orchard.nothing_left()


def test_a_snapshot_that_does_not_come_back_as_it_was_is_told_and_fails_the_night(orchard: Place) -> None:
    """A function that changes what is restored: rows that no restore will ever bring back."""
    url = orchard.url_of("fruits")
    orchard.database.sql(
        """CREATE FUNCTION fruits.moved() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
           'BEGIN IF current_user <> ''fruits'' THEN RAISE ''not here''; END IF; RETURN true; END';
           CREATE TABLE bad (id int CHECK (fruits.moved())); INSERT INTO bad VALUES (1)""",
        url=url,
    )
    before = orchard.database.dump("fruits")
    done = orchard.tenants("nightly")
    assert done.code == 5 and "does not restore" in done.err and "not here" in done.err, done.said
    assert "fruits is untouched" in done.err
    assert orchard.database.dump("fruits") == before
    orchard.nothing_left()
    assert orchard.tenants("snapshots", "--json").json["snapshots"][0]["proven"] is False
    assert orchard.tenants("nightly", "--no-drill").code == 0


def test_a_drill_that_was_killed_leaves_what_the_next_one_clears(orchard: Place) -> None:
    orchard.database.sql(
        "CREATE FUNCTION fruits.slow() RETURNS boolean LANGUAGE plpgsql AS"
        " 'BEGIN IF current_user <> ''fruits'' THEN PERFORM pg_sleep(600); END IF; RETURN true; END';"
        "CREATE TABLE slow (id int CHECK (fruits.slow())); INSERT INTO slow VALUES (1)",
        url=orchard.url_of("fruits"),
    )
    orchard.snapshot()
    drilling = orchard.start("drill")
    query = "SELECT 1 FROM pg_stat_activity WHERE usename LIKE 'fruits~scratch~%%' AND query LIKE '%%COPY%%'"
    until(lambda: orchard.database.sql(query), "the drill has begun")
    drilling.kill()
    drilling.communicate()
    query = "SELECT datname FROM pg_database WHERE datname LIKE '%%~scratch~%%'"
    assert orchard.database.sql(query)
    until(lambda: "scratch" in {f["rule"] for f in orchard.tenants("audit", "--json").json["findings"]}, "it is named")
    assert orchard.tenants("nightly", "--no-drill").code == 0
    assert orchard.database.sql(query) == []
    orchard.nothing_left()


def test_without_the_right_to_make_a_database_the_night_goes_on(place: Place) -> None:
    place.fruits()
    place.database.sql("CREATE ROLE boss LOGIN CREATEROLE PASSWORD 'b'; ALTER DATABASE \"db.main\" OWNER TO boss")
    boss = place.database.server.url("db.main", "boss", "b")
    assert place.tenants("deploy", DATABASE_URL=boss).code == 0
    done = place.tenants("nightly", DATABASE_URL=boss)
    assert done.code == 0 and "not drilled: PostgreSQL does not let boss do that" in done.err, done.said
    assert place.tenants("drill", "fruits", DATABASE_URL=boss).code == 2


class _Ear(BaseHTTPRequestHandler):
    heard: list[str]
    told: list[str]

    def do_POST(self) -> None:
        self.told.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(200)
        self.end_headers()

    def do_GET(self) -> None:
        self.heard.append(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def test_the_heartbeat_is_sent_after_a_good_night_and_no_other(orchard: Place) -> None:
    heard: list[str] = []
    with HTTPServer(("127.0.0.1", 0), type("Ear", (_Ear,), {"heard": heard})) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        beat = {"TENANTS_HEARTBEAT_URL": f"http://127.0.0.1:{server.server_port}/secret"}
        orchard.database.sql("CREATE TABLE fruits.not_its_own ()")
        assert orchard.tenants("nightly", **beat).code == 5
        orchard.database.sql("DROP TABLE fruits.not_its_own")
        assert heard == []
        assert orchard.tenants("nightly", **beat).code == 0
        assert heard == ["/secret"]
        assert orchard.tenants("nightly", **beat).code == 0
        assert heard == ["/secret"], "the work of this period was done"
        server.shutdown()
    done = orchard.tenants("nightly", "--again", **beat)
    assert done.code == 0 and "heartbeat could not be sent" in done.err and "secret" not in done.err
    done = orchard.tenants("nightly", TENANTS_HEARTBEAT_URL="token-1234")
    assert done.code == 2 and "token-1234" not in done.err


def test_a_bad_night_is_told_and_a_good_one_is_not(orchard: Place) -> None:
    told: list[str] = []
    with HTTPServer(("127.0.0.1", 0), type("Ear", (_Ear,), {"heard": [], "told": told})) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        there = {"TENANTS_NOTIFY_URLS": f"json://user:pass-word@127.0.0.1:{server.server_port}/path"}
        orchard.database.sql("CREATE TABLE fruits.not_its_own ()")
        assert orchard.tenants("nightly", **there).code == 5
        orchard.database.sql("DROP TABLE fruits.not_its_own")
        (body,) = told
        assert "1 tenant failed" in body and "fruits: " in body
        assert orchard.tenants("nightly", **there).code == 0
        assert len(told) == 1
        server.shutdown()
    done = orchard.tenants("nightly", TENANTS_NOTIFY_URLS="nonsense://pass-word")
    assert done.code == 2 and "TENANTS_NOTIFY_URLS" in done.err and "pass-word" not in done.err


@pytest.mark.every_server
def test_pruning_keeps_what_the_policies_keep_and_what_others_need(orchard: Place) -> None:
    first = orchard.snapshot()
    ids = [first, orchard.snapshot(), orchard.snapshot()]
    orchard.database.sql("DELETE FROM items WHERE name = 'banana'", url=orchard.url_of("fruits"))
    ids.append(orchard.snapshot())
    ids.append(orchard.snapshot())
    keep = {"TENANTS_KEEP_CHANGES": "last=1"}
    dry = orchard.tenants("prune", "--dry-run", "--json", **keep).json["tenants"]["fruits"]
    assert dry["going"] == ids[:3] and dry["removed"] == []
    assert dry["kept"] == {ids[3]: [f"archive of {ids[4]}"], ids[4]: ["last", "newest"]}
    assert len(orchard.snapshots()) == 5
    done = orchard.tenants("prune", "fruits", **keep)
    assert done.code == 0 and "3 snapshots pruned" in done.err
    assert sorted(orchard.snapshots()) == ids[3:]
    assert len([name for name in orchard.stored() if name.endswith(".zst")]) == 1
    assert orchard.tenants("restore", "fruits", ids[4]).code == 0


def test_nothing_is_pruned_where_the_schema_was_lost(orchard: Place) -> None:
    ids = [orchard.snapshot()]
    orchard.database.sql("DELETE FROM items WHERE name = 'banana'", url=orchard.url_of("fruits"))
    ids.append(orchard.snapshot())
    orchard.database.sql("DROP SCHEMA fruits CASCADE; CREATE SCHEMA fruits AUTHORIZATION fruits")
    done = orchard.tenants("prune", "fruits", TENANTS_KEEP_CHANGES="last=1")
    assert done.code == 6 and "nothing is pruned" in done.err and "tenants restore fruits" in done.err
    assert sorted(orchard.snapshots()) == ids
    for wrong in ("often=1", "last=0"):
        assert orchard.tenants("prune", TENANTS_KEEP=wrong).code == 2


def test_nothing_is_pruned_while_a_manifest_cannot_be_read(orchard: Place) -> None:
    ids = [orchard.snapshot(), orchard.snapshot()]
    orchard.database.sql("DELETE FROM items WHERE name = 'banana'", url=orchard.url_of("fruits"))
    ids.append(orchard.snapshot())
    (second,) = orchard.store.rglob(f"{ids[1]}.json")
    sound = second.read_text()
    second.write_text(sound.replace('"format": 1', '"format": 2'))
    done = orchard.tenants("prune", "fruits", TENANTS_KEEP_CHANGES="last=1")
    assert done.code == 6 and "may name any archive" in done.err
    second.write_text(sound)
    assert orchard.tenants("restore", "fruits", ids[1]).code == 0


def test_a_drill_that_fails_takes_its_former_proof_away(orchard: Place) -> None:
    orchard.snapshot()
    assert orchard.tenants("drill").code == 0
    (archive,) = orchard.store.rglob("*.zst")
    archive.write_bytes(archive.read_bytes()[:-9])
    assert orchard.tenants("drill", "--again").code == 5
    assert orchard.tenants("drill").code == 5
    assert orchard.tenants("snapshots", "--json").json["snapshots"][0]["proven"] is False


def test_a_drill_that_never_comes_back_is_given_up(orchard: Place) -> None:
    orchard.database.sql(
        "CREATE FUNCTION fruits.slow() RETURNS boolean LANGUAGE plpgsql AS"
        " 'BEGIN IF current_user <> ''fruits'' THEN PERFORM pg_sleep(600); END IF; RETURN true; END';"
        "CREATE TABLE slow (id int CHECK (fruits.slow())); INSERT INTO slow VALUES (1)",
        url=orchard.url_of("fruits"),
    )
    orchard.snapshot()
    done = orchard.tenants("drill", "--timeout", "2")
    assert done.code == 5 and "given up after 2 s" in done.err, done.said
    orchard.nothing_left()


def test_one_tenant_that_fails_does_not_keep_the_others_from_their_drill_and_their_pruning(orchard: Place) -> None:
    orchard.fruits("pears")
    orchard.deployed()
    assert orchard.tenants("nightly").code == 0
    (manifest,) = (orchard.store).glob("*/fruits/*.json")
    manifest.write_text("{}")
    for command in ("drill", "prune"):
        done = orchard.tenants(command, "--json")
        assert done.code in (5, 6) and "fruits" in done.err, done.said
        assert "pears" in done.out and "fruits" not in json.dumps(done.json.get("drilled", done.json.get("tenants")))
