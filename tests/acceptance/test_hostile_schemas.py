"""Hostile schemas: what a tenant may make in its own schema, in its own rows of the catalog or in the bucket must not
run as the admin, and must not keep the others from being answered, migrated and backed up."""

from __future__ import annotations

import hashlib
import json
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest
from attacks.schemas import FAULTY, FORGED, HOOKS, MANIFESTS, SOUND
from support import Done, Place, ending

TRAP = """
    CREATE FUNCTION fruits.trap() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
    BEGIN
        RAISE LOG 'trapped <%> as <%>', session_user, current_user;
        BEGIN
            EXECUTE 'ALTER ROLE fruits SUPERUSER';
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
        RETURN true;
    END $$;
    CREATE FUNCTION fruits.trap(anyelement) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
        'BEGIN RETURN fruits.trap()::text; END';
"""
"""A function that tells the server's log who runs it, whatever becomes of the transaction, and reaches for more."""

POWERS = """
    SELECT rolname, rolsuper, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls, rolpassword IS NULL
    FROM pg_authid WHERE oid >= 16384 ORDER BY 1
"""


class Market(Place):
    """Two tenants, fruits and pears, with a revision pending for each; fruits has set its trap."""

    def prepare(self) -> None:
        for name in ("fruits", "pears"):
            self.fruits(name)
        self.deployed()
        for name in ("fruits", "pears"):
            self.colour(name)
        self.database.sql("""
            CREATE ROLE "fruits~plant" LOGIN NOINHERIT PASSWORD 'plant' IN ROLE fruits;
            GRANT CONNECT ON DATABASE "db.main" TO "fruits~plant";
            ALTER ROLE "fruits~plant" SET role = fruits;
            ALTER ROLE "fruits~plant" SET search_path = fruits
        """)
        self.plant(TRAP)
        self.powers = self.database.sql(POWERS)
        self.log_began = len(self.database.server.log())

    def plant(self, statements: str) -> None:
        """Run statements as the tenant fruits, in a session like those of its app."""
        self.database.sql(statements, url=self.database.server.url("db.main", "fruits~plant", "plant"))

    def left(self, statements: str) -> bool:
        """Write rows of the catalog that an older program let a tenant write. False where the columns refuse them:
        then there is nothing to be tripped over."""
        try:
            self.database.sql(statements)
        except psycopg.errors.CheckViolation:
            return False
        return True

    def all(self, *commands: str, **environment: str | None) -> list[Done]:
        """Run several commands at the same time."""
        with ThreadPoolExecutor(len(commands)) as pool:
            return list(pool.map(lambda command: self.tenants(*command.split(), **environment), commands))

    def trapped(self) -> set[str]:
        """Who has run the trap: sessions, each as it logged in."""
        return set(re.findall("LOG:  trapped <(.*?)>", self.database.server.log()[self.log_began :]))

    def nothing_gained(self) -> None:
        assert {login for login in self.trapped() if not login.startswith("fruits~")} == set()
        assert self.database.sql(POWERS) == self.powers
        self.nothing_left()


@pytest.fixture
def market(place: Place) -> Market:
    place.__class__ = Market
    assert isinstance(place, Market)
    place.prepare()
    return place


def _deploys(done: Done) -> dict[str, str]:
    return {deploy["tenant"]: deploy["outcome"] for deploy in done.json["deploys"]}


def _answers(market: Market, *, faulty: bool) -> None:
    """What everybody is told while the version table of fruits is as it is."""
    listed, planned, other = market.all("list --json", "plan --json", "show pears --json")
    for done in (listed, other):
        assert done.code == 0, done.said
    assert next(t["trouble"] for t in listed.json["tenants"] if t["tenant"] == "pears") is None
    assert other.json["revision"] == "0001"
    assert planned.code == (6 if faulty else 0), planned.said
    assert {p["tenant"]: p["action"] for p in json.loads(planned.out.split("\n}\n")[0] + "}")["plans"]} == {
        "fruits": "stop" if faulty else "migrate",
        "pears": "migrate",
    }
    assert "\x1b" not in planned.err
    assert max(map(len, planned.err.splitlines()), default=0) < 5000
    assert market.trapped() == set()


@pytest.mark.parametrize("planted", FAULTY.values(), ids=list(FAULTY))
def test_a_version_table_that_is_a_trap_is_told_and_the_others_go_on(market: Market, planted: str) -> None:
    market.plant(planted)
    market.log_began = len(market.database.server.log())  # planting it may have run it, as the tenant
    _answers(market, faulty=True)
    done = market.tenants("deploy", "--json")
    assert done.code == 6, done.said
    assert _deploys(done) == {"fruits": "failed", "pears": "migrated"}
    assert "this is a bug" not in done.said
    market.nothing_gained()


@pytest.mark.parametrize("planted", ["view-over-the-table", "row-security", "type-and-cast", "domain"])
def test_a_version_table_that_is_a_trap_does_not_stop_the_nightly_run(market: Market, planted: str) -> None:
    market.plant(FAULTY[planted])
    done = market.tenants("nightly", "--json")
    assert "pears" in done.json["snapshots"], done.said
    assert done.code == (5 if "fruits" in done.json["failures"] else 0), done.said
    market.nothing_gained()


def test_a_version_table_of_another_server_is_told_and_the_others_go_on(market: Market) -> None:
    market.database.sql(
        "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; DROP TABLE fruits.alembic_version;"
        "CREATE FOREIGN TABLE fruits.alembic_version (version_num varchar(32)) SERVER s;"
        "ALTER FOREIGN TABLE fruits.alembic_version OWNER TO fruits"
    )
    _answers(market, faulty=True)
    done = market.tenants("deploy", "--json")
    assert _deploys(done) == {"fruits": "failed", "pears": "migrated"}
    market.nothing_gained()


@pytest.mark.parametrize("planted", SOUND.values(), ids=list(SOUND))
def test_what_hangs_on_a_sound_version_table_runs_as_the_tenant_alone(market: Market, planted: str) -> None:
    market.plant(planted)
    market.log_began = len(market.database.server.log())
    _answers(market, faulty=False)
    done = market.tenants("deploy", "--json")
    assert done.code == 0, done.said
    assert _deploys(done) == {"fruits": "migrated", "pears": "migrated"}
    market.nothing_gained()


@pytest.mark.parametrize("planted", ["view", "row-security", "type-and-cast"])
def test_an_admin_that_is_no_superuser_runs_nothing_of_a_tenant_either(place: Place, planted: str) -> None:
    place.database.sql(
        "CREATE ROLE boss LOGIN CREATEROLE CREATEDB PASSWORD 'boss-secret'; ALTER DATABASE \"db.main\" OWNER TO boss;"
        "ALTER SCHEMA public OWNER TO boss"
    )
    url = place.database.server.url("db.main", "boss", "boss-secret")
    place.environment["DATABASE_URL"] = url
    place.__class__ = Market
    assert isinstance(place, Market)
    place.prepare()
    place.plant(FAULTY[planted])
    place.log_began = len(place.database.server.log())
    _answers(place, faulty=True)
    done = place.tenants("deploy", "--json")
    assert _deploys(done) == {"fruits": "failed", "pears": "migrated"}
    place.nothing_gained()


def test_a_version_table_that_its_tenant_has_locked_holds_up_nobody_else(market: Market) -> None:
    with ending(market.start("nightly", "--json")) as nightly:
        with psycopg.connect(market.database.server.url("db.main", "fruits~plant", "plant")) as holder:
            holder.execute("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE")
            listed, planned, other = market.all("list --json", "plan", "show pears --json")
            deployed = market.tenants("deploy", "--json")
        night = json.loads(nightly.communicate(timeout=120)[0])
    assert {t["tenant"]: t["revision"] for t in listed.json["tenants"]} == {"fruits": None, "pears": "0001"}
    assert planned.code == 6, planned.said
    assert "fruits.alembic_version is locked by another session" in planned.said
    assert other.json["revision"] == "0001"
    assert _deploys(deployed) == {"fruits": "failed", "pears": "migrated"}
    assert "pears" in night["snapshots"]
    kept = market.tenants("snapshots", "--json").json["snapshots"]
    assert [s["tenant"] for s in kept if s["revision"] is None] == [], "a snapshot that does not know its revision"
    market.nothing_gained()


REACHING = """
    ALTER ROLE fruits SUPERUSER
    ALTER ROLE fruits LOGIN
    GRANT pears TO fruits
    SELECT tenants.set_aside()
    INSERT INTO tenants.swaps VALUES (session_user, 'pears', 'loot')
    INSERT INTO tenants.deploys (tenant, project, kind, from_heads, to_heads, applied, outcome, stages)
        VALUES ('pears', 'x', 'drop', '{}', '{}', '{}', 'dropped', '{}')
    CREATE SCHEMA loot
    CREATE DATABASE loot
    CREATE ROLE loot
    CREATE TABLE public.loot (x int)
    CREATE TABLE tenants.loot (x int)
    ALTER SCHEMA pears RENAME TO loot
    DROP SCHEMA pears CASCADE
    SET ROLE postgres
    SET SESSION AUTHORIZATION postgres
    SELECT lo_import('/etc/passwd')
    COPY fruits.items TO PROGRAM 'true'
"""


def test_what_a_restore_sets_off_reaches_nothing(market: Market) -> None:
    statements = [s.strip() for s in REACHING.strip().replace("\n        ", " ").splitlines()]
    quoted = ", ".join("'" + s.replace("'", "''") + "'" for s in statements)
    market.plant(f"""
        CREATE FUNCTION reach(hook text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $f$
        DECLARE s text; becoming text;
        BEGIN
            IF strpos(session_user, '~deploy~') = 0 THEN
                RETURN true;  -- it is being planted
            END IF;
            RAISE LOG 'trapped <%> by %', session_user, hook;
            FOREACH s IN ARRAY ARRAY[{quoted}] LOOP
                FOREACH becoming IN ARRAY ARRAY['RESET ROLE', 'SET ROLE NONE', 'RESET SESSION AUTHORIZATION'] LOOP
                    BEGIN
                        EXECUTE becoming;
                    EXCEPTION WHEN OTHERS THEN NULL;
                    END;
                    BEGIN
                        EXECUTE s;
                        RAISE LOG 'escaped through %: %', hook, s;
                    EXCEPTION WHEN OTHERS THEN NULL;
                    END;
                END LOOP;
            END LOOP;
            BEGIN
                EXECUTE 'RESET ROLE';
            EXCEPTION WHEN OTHERS THEN NULL;
            END;
            RETURN true;
        END $f$;
        CREATE FUNCTION reach(text, int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
            'BEGIN PERFORM fruits.reach($1); RETURN $2; END';
        {HOOKS}
    """)
    database = market.database
    before, pears = database.dump("fruits"), database.dump("pears")
    taken = market.tenants("snapshot", "fruits", "--json")
    assert taken.code == 0, taken.said
    market.log_began = len(database.server.log())
    done = market.tenants("restore", "fruits", taken.json["id"])
    assert done.code == 0, done.said
    log = database.server.log()[market.log_began :]
    ran = set(re.findall("LOG:  trapped <.*?> by (.*)", log))
    assert ran >= {"check", "domain", "generated", "index", "expression", "statistics", "materialized view"}
    assert re.findall("LOG:  escaped .*", log) == []
    assert database.dump("pears") == pears
    assert database.dump("fruits") == before
    kept = [schema for schema in database.schemas() if not schema.startswith("fruits~before~")]
    assert kept == ["fruits", "pears", "public", "tenants"]
    market.nothing_gained()


def test_names_that_are_commands_survive_a_restore_and_do_nothing(market: Market) -> None:
    pwned = market.folder / "pwned"
    names = [
        f"\n\\! touch {pwned}\n",
        f"x\r\n\\! touch {pwned}\r\n--",
        f'a";\n\\! touch {pwned}\n--',
        "\\.",
        "\\unrestrict",
        "$x$; ALTER ROLE fruits SUPERUSER; $x$",
        "'; ALTER ROLE fruits SUPERUSER; --",
        "\x1b[2J\x1b]0;owned\x07",
        ":name :'name' %s %(x)s {0}",
        "Größe 🍎",
    ]
    for name in names:
        quoted = '"' + name.replace('"', '""') + '"'
        text = "'" + name.replace("'", "''") + "'"
        market.plant(
            f"CREATE TABLE {quoted} ({quoted} text DEFAULT {text}); COMMENT ON TABLE {quoted} IS {text};"
            f"INSERT INTO {quoted} VALUES ({text}), (E'\\\\.'), (E'\n\\\\.\n\\\\! touch {pwned}\n')"
        )
    before = market.database.dump("fruits")
    taken = market.tenants("snapshot", "fruits", "--json")
    assert taken.code == 0, taken.said
    for name in names[:5]:
        market.plant('DROP TABLE "' + name.replace('"', '""') + '"')
    done = market.tenants("restore", "fruits", taken.json["id"])
    assert done.code == 0, done.said
    assert market.database.dump("fruits") == before
    assert not pwned.exists()
    assert "\x1b" not in done.said + taken.said
    market.nothing_gained()


SHADOWS = """
    CREATE FUNCTION current_schema() RETURNS name LANGUAGE sql AS 'SELECT fruits.trap()::text::name';
    CREATE FUNCTION set_config(text, text, boolean) RETURNS text LANGUAGE sql AS 'SELECT fruits.trap()::text';
    CREATE FUNCTION format(text, name, name) RETURNS text LANGUAGE sql AS 'SELECT fruits.trap()::text';
    CREATE FUNCTION pg_try_advisory_lock(bigint) RETURNS boolean LANGUAGE sql AS 'SELECT fruits.trap()';
    CREATE FUNCTION to_regclass(pg_catalog.text) RETURNS regclass LANGUAGE sql AS
        'SELECT fruits.trap()::text::regclass';
    CREATE FUNCTION count() RETURNS bigint LANGUAGE sql AS 'SELECT fruits.trap()::int::bigint';
    CREATE FUNCTION starts_with(name, text) RETURNS boolean LANGUAGE sql AS 'SELECT fruits.trap()';
    CREATE FUNCTION same(name, name) RETURNS boolean LANGUAGE sql AS 'SELECT fruits.trap()';
    CREATE FUNCTION same(name, text) RETURNS boolean LANGUAGE sql AS 'SELECT fruits.trap()';
    CREATE FUNCTION same(oid, oid) RETURNS boolean LANGUAGE sql AS 'SELECT fruits.trap()';
    CREATE FUNCTION same(bigint, integer) RETURNS boolean LANGUAGE sql AS 'SELECT fruits.trap()';
    CREATE OPERATOR = (LEFTARG = name, RIGHTARG = name, FUNCTION = same);
    CREATE OPERATOR = (LEFTARG = name, RIGHTARG = text, FUNCTION = same);
    CREATE OPERATOR = (LEFTARG = oid, RIGHTARG = oid, FUNCTION = same);
    CREATE OPERATOR = (LEFTARG = bigint, RIGHTARG = integer, FUNCTION = same);
    CREATE OPERATOR <> (LEFTARG = name, RIGHTARG = name, FUNCTION = same);
    CREATE TABLE pg_roles (rolname name, rolsuper boolean);
    CREATE TABLE pg_namespace (oid oid, nspname name);
    CREATE TABLE pg_class (oid oid, relname name);
    CREATE TABLE tenants (name text, project text);
    CREATE DOMAIN text AS pg_catalog.text CHECK (fruits.trap());
    CREATE DOMAIN regclass AS pg_catalog.regclass CHECK (fruits.trap());
    CREATE DOMAIN "varchar" AS pg_catalog.varchar CHECK (fruits.trap());
    CREATE DOMAIN uuid AS pg_catalog.uuid CHECK (fruits.trap());
"""


def test_names_of_the_server_that_a_tenant_plants_in_its_schema_catch_nothing_of_ours(market: Market) -> None:
    url = market.url_of("fruits")
    login = url.split("//")[1].split(":")[0]
    market.plant(SHADOWS)
    market.database.sql(
        f'SET SESSION AUTHORIZATION "{login}"; ALTER ROLE "{login}" SET search_path = fruits, pg_catalog'
    )
    market.powers = market.database.sql(POWERS)
    market.log_began = len(market.database.server.log())
    for done in market.all("list --json", "plan --json", "show fruits --json", "show pears --json"):
        assert done.code == 0, done.said
    for done in market.all("list --json", "plan --json", "show fruits --json", DATABASE_URL=url):
        assert done.code == 0, done.said
    own = market.tenants("deploy", "--json", DATABASE_URL=url)
    assert own.code == 0, own.said
    assert _deploys(own) == {"fruits": "migrated"}
    admins = market.tenants("deploy", "--json")
    assert _deploys(admins) == {"fruits": "up-to-date", "pears": "migrated"}
    assert market.tenants("nightly").code == 0
    assert market.trapped() == set()
    market.nothing_gained()


def test_what_a_tenant_writes_about_itself_does_not_keep_the_others_from_being_answered(market: Market) -> None:
    wrong = []
    for name, heads in FORGED.items():
        if not market.left(f"""
            INSERT INTO tenants.deploys
                (tenant, project, kind, from_heads, to_heads, applied, git_rev, snapshot, outcome, error, stages)
            SELECT 'fruits', E'x\\x1b', 'deploy', {heads}, {heads}, {heads}, 'abcdef0', E'\\x1b',
                   'migrated', E'\\x1b', '[]'
            FROM (SELECT n FROM generate_series(1, {200000 if "array_agg" in heads else 1}) n)
        """):
            continue
        done = market.all("list --json", "plan", "show pears --json", "show fruits", "live", GIT_REV="abcdef0")
        said = "".join(one.said for one in done)
        if any(one.code for one in done) or "\x1b" in said or len(said) > 100000:
            wrong.append((name, [one.code for one in done], len(said), "\x1b" in said))
        market.database.sql("DELETE FROM tenants.deploys WHERE project LIKE 'x%'")
    assert wrong == []


def test_moments_that_nobody_can_tell_keep_nobody_from_being_answered(market: Market) -> None:
    wrong = []
    for moment in ("infinity", "-infinity", "294000-01-01", "4713-01-01 BC"):
        changed = market.left(f"UPDATE tenants.deploys SET live_at = '{moment}'")
        taken = market.left(f"""
            INSERT INTO tenants.snapshots (id, tenant, created_at, bytes, sha256, verified_at)
            VALUES ('{moment}', 'fruits', '{moment}', 1, repeat('0', 64), '{moment}')
        """)
        if not (changed or taken):
            continue
        done = market.all("plan", "show pears --json", "show fruits --json", "snapshots")
        if any(one.code for one in done):
            wrong.append((moment, [one.code for one in done]))
        market.database.sql("UPDATE tenants.deploys SET live_at = NULL")
    assert wrong == []


def test_a_tenant_sees_its_own_rows_of_the_catalog_alone_and_writes_none_for_others(market: Market) -> None:
    assert market.tenants("snapshot", "pears").code == 0
    url = market.database.server.url("db.main", "fruits~plant", "plant")
    for table, column in (("tenants", "name"), ("deploys", "tenant")):
        assert market.database.sql(f"SELECT DISTINCT {column} FROM tenants.{table}", url=url) == [("fruits",)]
    assert market.database.sql("SELECT * FROM tenants.snapshots", url=url) == []
    for leaky in ("CREATE FUNCTION pg_temp.peek(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN"
                  " RAISE LOG 'trapped <%> as <>', $1; RETURN true; END $$; SELECT 1 FROM tenants.tenants"
                  " WHERE pg_temp.peek(name)",):  # fmt: skip
        market.log_began = len(market.database.server.log())
        market.database.sql(leaky, url=url)
        assert market.trapped() == {"fruits"}
    for forged in (
        "INSERT INTO tenants.snapshots VALUES ('x', 'pears', now(), 'x', 1, 'x', now())",
        "INSERT INTO tenants.deploys (tenant, project, kind, from_heads, to_heads, applied, outcome, stages)"
        " VALUES ('pears', 'x', 'drop', '{}', '{}', '{}', 'dropped', '{}')",
        "UPDATE tenants.deploys SET tenant = 'pears'",
        "MERGE INTO tenants.deploys d USING (SELECT 'pears') s (t) ON d.tenant = s.t WHEN MATCHED THEN DELETE",
        "COPY tenants.deploys (tenant, project) FROM STDIN",
        "ALTER POLICY own ON tenants.deploys USING (true)",
        "DROP FUNCTION tenants.set_aside()",
        "SELECT tenants.set_aside()",
    ):
        with pytest.raises(psycopg.Error, match=r"permission denied|row-level security|must be owner|no restore is"):
            market.database.sql(forged, url=url)


def test_a_tenant_that_locks_its_own_row_does_not_keep_the_others_from_being_live(market: Market) -> None:
    assert market.tenants("deploy", GIT_REV="abcdef0").code == 0
    with psycopg.connect(market.url_of("fruits")) as holder:
        assert holder.execute("SELECT tenants.mark_live('abcdef0')").fetchone() == (True,)
        done = market.tenants("live", "--json", GIT_REV="abcdef0")
    assert done.code == 0, done.said
    assert "pears" in done.json["live"]


@pytest.mark.parametrize("lock", ["nightly", "roles", "tenant pears"])
def test_a_tenant_that_holds_a_key_of_ours_keeps_nobody_waiting(market: Market, lock: str) -> None:
    key = int.from_bytes(hashlib.sha256(f"dokku-tenants {lock}".encode()).digest()[:8]) >> 1
    url = market.database.server.url("db.main", "fruits~plant", "plant")
    with closing(psycopg.connect(url, autocommit=True)) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [key])
        done = market.tenants("nightly")
        assert done.code == 0, done.said
        with pytest.raises(psycopg.OperationalError):
            holder.execute("SELECT 1")


def test_a_manifest_that_lies_does_not_hide_the_other_snapshots(market: Market) -> None:
    taken = [done.json["id"] for done in market.all("snapshot fruits --json", "snapshot pears --json")]
    (path,) = market.store.glob(f"*/pears/{taken[1]}.json")
    newer = path.with_name("20990101T000000Z-aaaaaa.json")
    wrong = []
    for name, hostile in MANIFESTS.items():
        if isinstance(hostile, dict):
            hostile = json.dumps({**json.loads(path.read_text()), "id": newer.stem, **hostile}).encode()
        newer.write_bytes(hostile)
        listed, shown, put_back = market.all("snapshots --json", "snapshots", f"restore pears {newer.stem}")
        said = listed.err + shown.said + put_back.said
        found = {s["id"] for s in listed.json.get("snapshots", [])} if listed.out.startswith("{") else set()
        if "this is a bug" in said or "\x1b" in said or not found >= set(taken) or put_back.code not in (0, 5):
            wrong.append((name, listed.code, shown.code, put_back.code, len(found), "this is a bug" in said))
    assert wrong == []


def test_a_file_in_the_bucket_that_is_no_snapshot_hides_none(market: Market) -> None:
    taken = market.tenants("snapshot", "pears", "--json").json["id"]
    (path,) = market.store.glob(f"*/pears/{taken}.json")
    for stray in (path.parents[1] / path.name, path.parents[1] / "a" / "b" / path.name, market.store / path.name):
        stray.parent.mkdir(parents=True, exist_ok=True)
        stray.write_text("{}")
    done = market.tenants("snapshots", "--json")
    assert [s["id"] for s in done.json["snapshots"]] == [taken], done.said
