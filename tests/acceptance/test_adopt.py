"""Those who live in `public` today get a tenant, and their app does not notice."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from support import NAME, Place

SHOP = """
    CREATE TYPE mood AS ENUM ('fresh', 'ripe');
    CREATE DOMAIN price AS numeric CHECK (VALUE >= 0);
    CREATE TYPE span AS RANGE (subtype = int);
    CREATE SEQUENCE tickets;
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.touched := now(); RETURN NEW; END';
    CREATE FUNCTION worth(mood) RETURNS int LANGUAGE sql IMMUTABLE RETURN CASE $1 WHEN 'ripe' THEN 2 ELSE 1 END;
    CREATE AGGREGATE total (int) (sfunc = int4pl, stype = int);
    CREATE TABLE "Shelf" (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text);
    CREATE TABLE items (
        id serial PRIMARY KEY, name text NOT NULL, feeling mood DEFAULT 'fresh', cost price, days span,
        ticket int DEFAULT nextval('tickets'), shelf int REFERENCES "Shelf", touched timestamptz);
    CREATE INDEX ON items (worth(feeling));
    CREATE STATISTICS both_of ON name, cost FROM items;
    CREATE TRIGGER touch BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION touch();
    CREATE VIEW ripe AS SELECT name, worth(feeling) AS worth FROM items WHERE feeling = 'ripe';
    CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM ripe;
    CREATE TABLE log (at date NOT NULL, what text) PARTITION BY RANGE (at);
    CREATE TABLE log_2026 PARTITION OF log FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    CREATE TABLE alembic_version (version_num varchar(32) CONSTRAINT alembic_version_pkc PRIMARY KEY);
    INSERT INTO alembic_version VALUES ('0001');
    INSERT INTO "Shelf" (name) VALUES ('upper');
    INSERT INTO items (name, feeling, shelf) VALUES ('apple', 'ripe', 1), ('banana', 'fresh', 1);
    INSERT INTO log VALUES ('2026-11-23', 'opened');
"""
"""A database as it grows in ten years: something of everything, in schema public."""


@pytest.fixture
def shop(place: Place) -> Place:
    place.database.sql(SHOP)
    place.revision("fruits", "0001", "pass")
    return place


def lying_in(shop: Place, schema: str) -> list[tuple[str, str]]:
    """What lies in the schema, and whose it is."""
    query = """
        SELECT i.type || ' ' || i.identity, pg_get_userbyid(o.owner) FROM (
            SELECT 'pg_class'::regclass AS class, oid, relowner AS owner, relnamespace AS nsp FROM pg_class
            WHERE relkind NOT IN ('i', 'I')
            UNION ALL SELECT 'pg_proc'::regclass, oid, proowner, pronamespace FROM pg_proc
            UNION ALL SELECT 'pg_type'::regclass, oid, typowner, typnamespace FROM pg_type
            UNION ALL SELECT 'pg_statistic_ext'::regclass, oid, stxowner, stxnamespace FROM pg_statistic_ext
        ) o CROSS JOIN LATERAL pg_identify_object(o.class, o.oid, 0) i
        WHERE o.nsp = to_regnamespace(%s) ORDER BY 1"""
    return [(str(what), str(who)) for what, who in shop.database.sql(query, [schema])]


@pytest.mark.every_server
def test_the_app_reads_and_writes_all_along_and_everything_is_its_tenants_in_the_end(shop: Place) -> None:
    before = shop.database.sql("SELECT count(*) FROM items")[0][0]
    stop, written = threading.Event(), []

    def app() -> None:
        with closing(psycopg.connect(shop.database.url, autocommit=True)) as connection:
            while not stop.is_set():
                query = "INSERT INTO items (name, feeling) VALUES ('plum', 'ripe') RETURNING id"
                written.append(connection.execute(query).fetchone())
                connection.execute('SELECT * FROM items JOIN "Shelf" ON shelf = "Shelf".id', prepare=True).fetchall()
                connection.execute("CREATE TABLE IF NOT EXISTS items (id int)")

    thread = threading.Thread(target=app)
    thread.start()
    try:
        done = shop.tenants("adopt", "fruits", "--from", "public", "--json")
        served = len(written)
        while len(written) < served + 20 and thread.is_alive():
            pass
    finally:
        stop.set()
        thread.join()
    assert done.code == 0, done.said
    assert len(written) >= served + 20, "the app went on after the adoption"
    url = done.json["url"]
    assert shop.database.sql("SELECT count(*) FROM items", url=url)[0][0] == before + len(written)

    owners = {who for _, who in lying_in(shop, "fruits")}
    assert owners == {"fruits"}
    standing = shop.database.sql(
        "SELECT relname, relkind FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
    )
    names = ["Shelf", "alembic_version", "counted", "items", "log", "log_2026", "ripe"]
    assert standing == [(name, "v") for name in names]
    assert shop.tenants("audit").code == 0, shop.tenants("audit").said
    reasons = [s["reason"] for s in shop.tenants("snapshots", "fruits", "--json").json["snapshots"]]
    assert reasons == ["adopt", "adopt"]

    shop.revision("fruits", "0002", 'op.execute("ALTER TABLE items ADD colour text")', "0001")
    shop.deployed("fruits")
    as_app = (
        "INSERT INTO items (name, colour, feeling, days) VALUES ('kiwi', 'green', 'ripe', span(1, 2)) RETURNING ticket"
    )
    assert shop.database.sql(as_app, url=url)[0][0] > len(written)
    assert shop.database.sql("SELECT total(worth) FROM ripe", url=url)[0][0] > 2
    shop.database.sql("REFRESH MATERIALIZED VIEW counted", url=url)

    assert shop.tenants("adopt", "fruits", "--finish", "--json").json["taken_down"]
    assert lying_in(shop, "public") == []
    assert shop.tenants("audit").code == 0
    last = shop.tenants("snapshots", "fruits", "--json").json["snapshots"][-1]["id"]
    done = shop.tenants("restore", "fruits", last)
    assert done.code == 0, done.said
    assert shop.database.sql("SELECT count(*) FROM items", url=url)[0][0] == before + len(written)
    shop.nothing_left()


@pytest.mark.every_server
def test_it_can_be_undone_as_if_nothing_had_been(shop: Place) -> None:
    shop.database.sql("""
        CREATE ROLE owner_of_old; CREATE ROLE metabase LOGIN;
        GRANT ALL ON SCHEMA public TO owner_of_old; ALTER TABLE "Shelf" OWNER TO owner_of_old
    """)
    shop.tenants("create", "pears")  # PUBLIC has lost its reach
    before = shop.database.dump("public")
    assert shop.tenants("adopt", "fruits", "--from", "public").code == 0
    assert shop.database.dump("public") != before
    done = shop.tenants("adopt", "fruits", "--undo")
    assert done.code == 0 and "tenants drop fruits" in done.out, done.said
    assert shop.database.dump("public") == before
    assert lying_in(shop, "fruits") == []
    assert shop.tenants("adopt", "fruits", "--undo").code == 2
    found = {f["rule"] for f in shop.tenants("audit", "--json").json["findings"]}
    assert found == {"public-tables"}
    done = shop.tenants("adopt", "fruits", "--from", "public", "--json")
    assert done.code == 0 and done.json["url"] is None, "the login that was made the first time goes on"


def test_an_undo_takes_back_the_revision_that_was_said_so_that_no_empty_schema_counts_as_migrated(place: Place) -> None:
    place.database.sql("CREATE TABLE items (name text); INSERT INTO items VALUES ('apple')")
    place.revision("fruits", "0001", "pass")
    for _ in range(2):
        done = place.tenants("adopt", "fruits", "--from", "public", "--at", "0001")
        assert done.code == 0, done.said
        assert place.tenants("plan", "--check").code == 0
        assert place.tenants("adopt", "fruits", "--undo").code == 0
        assert lying_in(place, "fruits") == []
        assert "up to date" not in place.tenants("plan").said
    assert place.database.sql("SELECT * FROM public.items") == [("apple",)]


def test_a_dry_run_shows_every_step_and_changes_nothing(shop: Place) -> None:
    before, written = shop.database.dump("public"), shop.database.written()
    done = shop.tenants("adopt", "fruits", "--from", "public", "--dry-run")
    assert done.code == 0
    assert shop.database.written() == written and shop.stored() == []
    for line in (
        'ALTER TABLE public.items SET SCHEMA "fruits";',
        'ALTER TABLE "fruits".items OWNER TO "fruits";',
        'ALTER ROUTINE public.worth(public.mood) SET SCHEMA "fruits";',
        'CREATE VIEW public.items AS SELECT * FROM "fruits".items;',
    ):
        assert line in done.out.splitlines()
    assert "not, by their names: function" in done.err and "type public.mood" in done.err
    assert shop.database.dump("public") == before

    shop.tenants("create", "fruits")
    shop.database.sql(done.out)  # what is shown is what is run
    assert {who for _, who in lying_in(shop, "fruits")} == {"fruits"}


@pytest.mark.every_server
def test_some_tables_take_along_what_they_alone_need(shop: Place) -> None:
    shop.database.sql("CREATE TABLE pears (id serial, name text); CREATE VIEW sweet AS SELECT * FROM pears")
    done = shop.tenants("adopt", "pears", "--from", "public", "--table", "pears", "--table", "log", "--json")
    assert done.code == 0, done.said
    assert done.json["moved"] == [
        "table public.log",
        "table public.log_2026",
        "table public.pears",
        "view public.sweet",
    ]
    assert shop.database.sql("SELECT what FROM log", url=done.json["url"]) == [("opened",)]
    assert ("table public.items", "postgres") in lying_in(shop, "public")
    assert ("table public.alembic_version", "postgres") in lying_in(shop, "public")

    done = shop.tenants("adopt", "fruits", "--from", "public", "--table", "items", "--json")
    assert done.code == 2
    assert 'table public.items needs table public."Shelf", which stays' in done.err


IN_THE_WAY = {
    "foreign key": (
        "CREATE TABLE away.other (item int REFERENCES items)",
        "table away.other, which stays, needs table public.items",
    ),
    "view": ("CREATE VIEW away.look AS SELECT * FROM items", "view away.look, which stays, needs table public.items"),
    "type": ("CREATE TABLE away.felt (m mood)", "table away.felt, which stays, needs type public.mood"),
    "uses": (
        "CREATE TYPE away.kind AS ENUM ('x'); ALTER TABLE items ADD k away.kind",
        "needs type away.kind, which stays",
    ),
    "extension": (
        "CREATE EXTENSION citext; ALTER TABLE items ADD c citext",
        'ALTER EXTENSION "citext" SET SCHEMA extensions',
    ),
    "event trigger": (
        "CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';"
        "CREATE EVENT TRIGGER watching ON sql_drop WHEN TAG IN ('DROP SERVER') EXECUTE FUNCTION watch();"
        "CREATE VIEW seen AS SELECT 'watch()'::regprocedure AS f",
        "view public.seen needs function public.watch(), which stays",
    ),
    "row security": ("ALTER TABLE items ENABLE ROW LEVEL SECURITY", "with --no-snapshot"),
    "no version": ("DROP TABLE alembic_version", "--at REVISION"),
}


@pytest.mark.parametrize("what", IN_THE_WAY)
def test_what_is_in_the_way_is_told_before_anything_changes(shop: Place, what: str) -> None:
    planted, told = IN_THE_WAY[what]
    shop.database.sql("CREATE SCHEMA away; " + planted)
    before, roles = shop.database.dump("public"), shop.database.roles()
    for options in ([], ["--dry-run"]):
        done = shop.tenants("adopt", "fruits", "--from", "public", *options)
        assert done.code == 2
        assert told in done.err
    assert shop.database.dump("public") == before and shop.database.roles() == roles
    assert shop.stored() == []
    shop.database.sql("DROP EVENT TRIGGER IF EXISTS watching")


def test_tables_that_nothing_versions_are_stamped(shop: Place) -> None:
    shop.database.sql("DROP TABLE alembic_version")
    for revision, code in (("0009", 2), ("0001'; --", 2), ("0001", 0)):
        done = shop.tenants("adopt", "fruits", "--from", "public", "--at", revision)
        assert done.code == code, done.said
    assert shop.tenants("plan", "fruits", "--json").json["plans"][0]["action"] == "up-to-date"
    assert shop.tenants("audit").code == 0


@pytest.mark.every_server
def test_a_schema_of_that_name_is_taken_over_where_it_is(shop: Place) -> None:
    shop.database.sql("ALTER SCHEMA public RENAME TO fruits; CREATE SCHEMA public")
    done = shop.tenants("create", "fruits")
    assert done.code == 2 and "tenants adopt fruits --from fruits" in done.err
    done = shop.tenants("adopt", "fruits", "--from", "fruits", "--json")
    assert done.code == 0, done.said
    assert {who for _, who in lying_in(shop, "fruits")} == {"fruits"} and done.json["bridges"] == []
    assert len(shop.database.sql("SELECT * FROM items", url=done.json["url"])) == 2
    assert shop.tenants("audit").code == 0, shop.tenants("audit").said


def test_the_bridge_goes_when_the_app_has_its_own_url(shop: Place) -> None:
    url = shop.tenants("adopt", "fruits", "--from", "public", "--json").json["url"]
    assert shop.tenants("nightly").code == 0
    assert lying_in(shop, "public") != [], "nobody has come in with the new login yet"
    done = shop.tenants("live", DATABASE_URL=url)
    assert done.code == 0 and "7 views in the place of its tables stay" in done.err, done.said
    assert "tenants adopt fruits --finish" in done.err
    assert lying_in(shop, "public") != [], "the release before runs on for a minute"
    assert "7 views in the place" in shop.tenants("live", "fruits").err
    shop.tenants("create", "pears")
    refused = shop.tenants("live", "pears", DATABASE_URL=url)
    assert refused.code == 2, "a tenant speaks of itself alone"
    assert shop.tenants("adopt", "fruits", "--finish").code == 0
    assert lying_in(shop, "public") == []
    assert "views" not in shop.tenants("live", DATABASE_URL=url).said

    shop.database.sql("CREATE TABLE public.more (id int)")
    assert "is at 0001 already" in shop.tenants("adopt", "fruits", "--from", "public", "--at", "0001").err
    assert shop.tenants("adopt", "fruits", "--from", "public").code == 0
    with closing(psycopg.connect(url)):
        done = shop.tenants("nightly", "--again")
    assert done.code == 0 and "taken down: public.more" in done.err, done.said
    assert lying_in(shop, "public") == []


@pytest.mark.parametrize("own", [False, True], ids=["by the admin", "by the tenant itself"])
def test_the_bridge_goes_with_a_deploy_ten_minutes_after_the_app_serves_with_its_own_url(
    shop: Place, own: bool
) -> None:
    url = shop.tenants("adopt", "fruits", "--from", "public", "--json").json["url"]
    after = "0001"

    def migrated(id_: str) -> None:
        nonlocal after
        shop.revision("fruits", id_, f'op.execute("CREATE TABLE t{id_} (id int)")', after)
        after = id_
        done = shop.tenants("deploy", "fruits", **({"DATABASE_URL": url} if own else {}))
        assert done.code == 0, done.said

    migrated("0002")
    assert lying_in(shop, "public") != [], "it was never said that it serves"
    assert shop.tenants("live", DATABASE_URL=url).code == 0
    migrated("0003")
    assert lying_in(shop, "public") != [], "the release before may be at work"
    shop.database.sql("UPDATE tenants.deploys SET live_at = live_at - interval '10 minutes'")
    migrated("0004")
    assert lying_in(shop, "public") == []


def test_tables_that_somebody_holds_are_waited_for_and_nobody_queues_behind_us(shop: Place) -> None:
    with closing(psycopg.connect(shop.database.url)) as busy:
        busy.execute("SELECT * FROM items")
        adopting = shop.start("adopt", "fruits", "--from", "public")
        assert adopting.stderr
        line = ""
        while "waiting for tables" not in line:
            line = adopting.stderr.readline()
            assert line, "it was not told that it waits"
        assert len(shop.database.sql("SELECT * FROM items")) == 2
        assert "fruits" not in shop.database.roles()
        busy.rollback()
        out, err = adopting.communicate(timeout=60)
    assert adopting.returncode == 0, err + out
    assert "DATABASE_URL=" in out


def test_without_a_snapshot_nothing_is_adopted(shop: Place, tmp_path: Path) -> None:
    before = shop.database.dump("public")
    for store in (None, f"file://{tmp_path}/migrations/fruits/0001_step.py"):
        done = shop.tenants("adopt", "fruits", "--from", "public", TENANTS_STORE=store)
        assert done.code in (2, 5), done.said
        assert shop.database.dump("public") == before
        assert "fruits" not in shop.database.roles()
        assert shop.tenants("list", "--json").json["tenants"] == []
    done = shop.tenants("adopt", "fruits", "--from", "public", "--no-snapshot", TENANTS_STORE=None)
    assert done.code == 0, done.said


def test_the_snapshot_before_is_one_of_the_former_schema(shop: Place) -> None:
    done = shop.tenants("adopt", "fruits", "--from", "public", "--json")
    assert shop.tenants("adopt", "fruits", "--finish").code == 0
    refused = shop.tenants("restore", "fruits", done.json["snapshot"])
    assert refused.code == 2 and "of schema public, as it was before fruits was adopted" in refused.err
    assert shop.tenants("restore", "fruits").code == 0, "the one that was taken after is as good as any"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["fruits"], "adopt fruits from where?"),
        (["fruits", "--from", "public", "--undo"], "from where?"),
        (["fruits", "--from", "tenants"], "nothing is adopted from schema tenants"),
        (["fruits", "--from", "pg_catalog"], "nothing is adopted from schema pg_catalog"),
        (["fruits", "--from", "pears"], "is that of tenant pears already"),
        (["fruits", "--from", "nowhere"], "there is no schema 'nowhere'"),
        (["fruits", "--from", "public", "--table", "nothing"], "there is no table nothing in schema public"),
        (["fruits", "--finish"], "there is no tenant 'fruits'"),
        (["Fruits", "--from", "public"], "characters that are not allowed"),
    ],
)
def test_what_makes_no_sense_is_told(shop: Place, arguments: list[str], told: str) -> None:
    shop.tenants("create", "pears")
    done = shop.tenants("adopt", *arguments)
    assert done.code == 2 and told in done.err, done.said


def test_only_the_admin_adopts(shop: Place) -> None:
    url = shop.tenants("create", "pears", "--json").json["url"]
    for options in (["--from", "public"], ["--finish"], ["--undo"]):
        done = shop.tenants("adopt", "pears", *options, DATABASE_URL=url)
        assert done.code == 2 and "needs the admin's URL" in done.err


@pytest.mark.every_server
def test_an_admin_that_is_no_superuser_adopts_what_is_its_own_and_is_told_what_is_not(shop: Place) -> None:
    server = shop.database.server
    shop.database.sql(f"""
        CREATE ROLE boss LOGIN CREATEROLE PASSWORD 'boss-secret';
        ALTER DATABASE "{NAME}" OWNER TO boss; ALTER SCHEMA public OWNER TO boss
    """)
    theirs = server.url(NAME, "boss", "boss-secret")
    before = shop.database.dump("public")
    done = shop.tenants("adopt", "fruits", "--from", "public", DATABASE_URL=theirs)
    assert done.code == 2 and "table public.items belongs to postgres, which the admin is not" in done.err, done.said
    assert shop.database.dump("public") == before and "fruits" not in shop.database.roles()

    shop.database.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public AUTHORIZATION boss")
    owned = SHOP.replace("CREATE TYPE span AS RANGE (subtype = int)", "CREATE DOMAIN span AS int4range")
    shop.database.sql(owned, url=theirs)  # the functions of a range type are the server's
    done = shop.tenants("adopt", "fruits", "--from", "public", "--json", DATABASE_URL=theirs)
    assert done.code == 0, done.said
    assert {who for _, who in lying_in(shop, "fruits")} == {"fruits"}
    assert shop.database.sql("INSERT INTO items (name) VALUES ('fig') RETURNING id", url=theirs)
    assert len(shop.database.sql("SELECT * FROM items", url=done.json["url"])) == 3
    assert shop.tenants("adopt", "fruits", "--undo", DATABASE_URL=theirs).code == 0
    assert {who for _, who in lying_in(shop, "public")} == {"boss"}


def test_a_bridge_that_stands_for_a_week_is_told(shop: Place) -> None:
    assert shop.tenants("adopt", "fruits", "--from", "public").code == 0
    assert shop.tenants("audit").code == 0
    shop.database.sql("UPDATE tenants.adopted SET adopted_at = now() - interval '8 days'")
    assert {f["rule"] for f in shop.tenants("audit", "--json").json["findings"]} == {"bridge"}
    shop.tenants("adopt", "fruits", "--finish")
    assert shop.tenants("audit").code == 0


def test_no_restore_while_the_app_may_write_through_what_stands_in_the_place_of_its_tables(shop: Place) -> None:
    assert shop.tenants("adopt", "fruits", "--from", "public").code == 0
    done = shop.tenants("restore", "fruits")
    assert done.code == 2 and "may still write through" in done.err and "tenants adopt fruits --finish" in done.err
    shop.database.sql("INSERT INTO public.items (name) VALUES ('fig')")
    assert shop.database.sql("SELECT count(*) FROM fruits.items") == [(3,)]


def test_nothing_that_a_tenant_made_becomes_a_superusers_by_the_way_back(shop: Place) -> None:
    shop.database.sql("CREATE SCHEMA legacy; CREATE TABLE legacy.old (id int)")
    assert shop.tenants("adopt", "fruits", "--from", "legacy", "--at", "0001").code == 0
    shop.database.sql("DROP TABLE public.alembic_version")
    url = shop.tenants("adopt", "fruits", "--from", "public", "--json").json["url"] or shop.url_of("fruits")
    assert shop.tenants("adopt", "fruits", "--undo").code == 0
    mine = {what for what, _ in lying_in(shop, "fruits")}
    assert "table fruits.old" in mine and "table fruits.alembic_version" in mine and "table fruits.items" not in mine
    assert ("table public.items", "postgres") in lying_in(shop, "public")

    assert shop.tenants("adopt", "fruits", "--from", "public").code == 0
    evil = "RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN NEW; END'"
    shop.database.sql(f"CREATE OR REPLACE FUNCTION touch() {evil}", url=url)
    done = shop.tenants("adopt", "fruits", "--undo")
    assert done.code == 2 and "have changed since the adoption" in done.err
    assert shop.database.sql("SELECT count(*) FROM items", url=url) == [(2,)], "its login goes on"
    assert {who for _, who in lying_in(shop, "fruits")} == {"fruits"}


def test_rows_that_a_policy_hides_are_not_shown_by_a_view_in_the_place_of_their_table(shop: Place) -> None:
    shop.database.sql(
        "CREATE ROLE web; GRANT SELECT ON items TO web; ALTER TABLE items ENABLE ROW LEVEL SECURITY;"
        " CREATE POLICY p ON items USING (false)"
    )
    done = shop.tenants("adopt", "fruits", "--from", "public", "--no-snapshot")
    assert done.code == 2 and "no view can stand in its place" in done.err
    shop.database.sql("REVOKE ALL ON items FROM web")
    assert shop.tenants("adopt", "fruits", "--from", "public", "--no-snapshot").code == 0


def test_a_migration_that_a_view_is_in_the_way_of_is_told_what_to_do(shop: Place) -> None:
    assert shop.tenants("adopt", "fruits", "--from", "public").code == 0
    shop.revision("fruits", "0002", 'op.drop_column("items", "cost")', "0001")
    done = shop.tenants("deploy", "fruits")
    assert done.code == 6 and "tenants adopt fruits --finish" in done.err, done.said
    assert shop.tenants("adopt", "fruits", "--finish").code == 0
    shop.deployed("fruits")
