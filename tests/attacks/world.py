"""The world of the attacks: the tenant `fruits`, which attacks, its neighbour `apples`, and a digest of all that is
not the attacker's, so that an attack is not only seen to be refused but also to have changed nothing."""

from __future__ import annotations

import hashlib
import inspect
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from attacks import attempt
from attacks.attempt import BECOMING, Told, attempts
from attacks.model import Attack, Way
from support import Database, Done, Place, fresh_database
from throwaway_postgres import Server

SECRET = "a-secret-of-apples"

APPLES = f"""
    SET ROLE apples;
    SET search_path = apples;
    CREATE TYPE colour AS ENUM ('red');
    CREATE SEQUENCE numbers;
    CREATE VIEW seen AS TABLE items;
    CREATE MATERIALIZED VIEW kept AS TABLE items;
    CREATE FUNCTION secret() RETURNS text SECURITY DEFINER LANGUAGE sql AS 'SELECT name FROM apples.items LIMIT 1';
    CREATE FUNCTION same(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
    CREATE STATISTICS both_ ON name, id FROM items;
    INSERT INTO items (name) SELECT '{SECRET}' FROM generate_series(1, 100);
    ANALYZE items;
    COMMENT ON VIEW seen IS 'told in a comment';
    SELECT lo_create(0);
    RESET ROLE
"""

FRUITS = """
    SET ROLE fruits;
    SET search_path = fruits;
    CREATE FUNCTION fires() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
    CREATE FUNCTION plain(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
    CREATE VIEW own AS TABLE items;
    CREATE FUNCTION peeks(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS
        'BEGIN IF $1 <> ''fruits'' THEN RAISE EXCEPTION ''it leaks %'', $1; END IF; RETURN false; END';
    CREATE TABLE tried (id text, way text, state text, text text);
    RESET ROLE
"""

ADMINS = """
    CREATE FOREIGN DATA WRAPPER given;
    CREATE SERVER far FOREIGN DATA WRAPPER given;
    SELECT pg_create_physical_replication_slot('standby')
"""

NOT_FRUITS = "{0} <> 'fruits' AND NOT starts_with({0}, 'fruits~')"

STATE = f"""
    WITH others AS (SELECT oid FROM pg_namespace WHERE {NOT_FRUITS.format("nspname")}
                    AND nspname !~ '^pg_(toast_)?temp_'),
    classes AS (SELECT c.* FROM pg_class c JOIN others o ON o.oid = c.relnamespace WHERE relkind NOT IN ('t', 'i')
                AND c.oid >= 16384)
    SELECT 'role ' || rolname, (to_jsonb(a) - '{{oid,rolpassword}}'::text[])::text FROM pg_authid a
    UNION ALL SELECT 'password of ' || rolname, md5(rolpassword) FROM pg_authid WHERE {NOT_FRUITS.format("rolname")}
    UNION ALL SELECT 'member', concat(roleid::regrole, ' ', member::regrole) FROM pg_auth_members
    UNION ALL SELECT 'setting of ' || coalesce(rolname, 'all'), concat(setdatabase, setconfig)
        FROM pg_db_role_setting LEFT JOIN pg_roles r ON r.oid = setrole
        WHERE coalesce({NOT_FRUITS.format("rolname")}, true)
    UNION ALL SELECT 'database ' || datname, concat(datdba::regrole, datacl) FROM pg_database
    UNION ALL SELECT 'tablespace', spcname::text FROM pg_tablespace
    UNION ALL SELECT 'schema ' || nspname, concat(nspowner::regrole, nspacl) FROM pg_namespace
        WHERE nspname !~ '^pg_(toast_)?temp_' AND nspname <> 'fruits'
    UNION ALL SELECT 'schemas', count(*)::text FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_'
    UNION ALL SELECT 'large object ' || oid, lomowner::regrole::text FROM pg_largeobject_metadata
    UNION ALL SELECT 'extension ' || extname, xmin::text FROM pg_extension
    UNION ALL SELECT 'language ' || lanname, xmin::text FROM pg_language
    UNION ALL SELECT 'event trigger', evtname::text FROM pg_event_trigger
    UNION ALL SELECT 'publication', pubname::text FROM pg_publication
    UNION ALL SELECT 'subscription', subname::text FROM pg_subscription
    UNION ALL SELECT 'slot', slot_name::text FROM pg_replication_slots
    UNION ALL SELECT 'origin', roname::text FROM pg_replication_origin
    UNION ALL SELECT 'wrapper ' || fdwname, xmin::text FROM pg_foreign_data_wrapper
    UNION ALL SELECT 'server ' || srvname, xmin::text FROM pg_foreign_server
    UNION ALL SELECT 'mapping', umid::text FROM pg_user_mappings
    UNION ALL SELECT 'default privileges', defaclacl::text
        FROM pg_default_acl WHERE {NOT_FRUITS.format("defaclrole::regrole::text")}
    UNION ALL SELECT 'cast', count(*)::text FROM pg_cast
    UNION ALL SELECT 'access method', count(*)::text FROM pg_am
    UNION ALL SELECT 'prepared', gid FROM pg_prepared_xacts
    UNION ALL SELECT 'class ' || oid::regclass, concat(relowner::regrole, relkind, relnatts, relhastriggers,
        relrowsecurity, relhasrules, relacl, obj_description(oid)) FROM classes
    UNION ALL SELECT 'column of ' || attrelid::regclass, concat(attname, atttypid, attacl)
        FROM pg_attribute a JOIN classes c ON c.oid = attrelid WHERE attnum > 0
    UNION ALL SELECT 'constraint on ' || conrelid::regclass, concat(k.xmin, conname)
        FROM pg_constraint k JOIN classes c ON c.oid = conrelid
    UNION ALL SELECT 'trigger on ' || tgrelid::regclass, concat(tgname, tgenabled)
        FROM pg_trigger JOIN classes c ON c.oid = tgrelid
    UNION ALL SELECT 'policy on ' || polrelid::regclass, polname::text FROM pg_policy JOIN classes c ON c.oid = polrelid
    UNION ALL SELECT 'index of ' || indrelid::regclass, indexrelid::text
        FROM pg_index JOIN classes c ON c.oid = indrelid
    UNION ALL SELECT 'function ' || p.oid::regprocedure, concat(p.xmin, proowner::regrole, proacl)
        FROM pg_proc p JOIN others o ON o.oid = pronamespace WHERE p.oid >= 16384
            OR proname IN ('now', 'version', 'loot')
    UNION ALL SELECT 'type ' || t.oid::regtype, t.xmin::text FROM pg_type t JOIN others o ON o.oid = typnamespace
        WHERE t.oid >= 16384 AND t.typtype <> 'c' AND t.typelem = 0
    UNION ALL SELECT 'operator', count(*)::text FROM pg_operator JOIN others o ON o.oid = oprnamespace
    UNION ALL SELECT 'rows of apples.items', count(*) || md5(string_agg(i::text, ',' ORDER BY id)) FROM apples.items i
    UNION ALL SELECT 'apples.numbers', concat(last_value, is_called) FROM apples.numbers
    UNION ALL SELECT 'rows of tenants.tenants', md5(string_agg(t::text, ',' ORDER BY name)) FROM tenants.tenants t
    UNION ALL SELECT 'rows of tenants.swaps', count(*)::text FROM tenants.swaps
    UNION ALL SELECT 'rows of tenants.catalog', c::text FROM tenants.catalog c
    UNION ALL SELECT 'rows of tenants.written', tenant FROM tenants.written WHERE tenant <> 'fruits'
    UNION ALL SELECT 'rows of tenants.logins', md5(string_agg(t::text, ',' ORDER BY role)) FROM tenants.logins t
    UNION ALL SELECT 'rows of tenants.deploys', count(*) || coalesce(md5(string_agg(t::text, ',' ORDER BY id)), '')
        FROM tenants.deploys t WHERE tenant <> 'fruits'
    UNION ALL SELECT 'rows of tenants.snapshots', count(*) || coalesce(md5(string_agg(t::text, ',' ORDER BY id)), '')
        FROM tenants.snapshots t WHERE tenant <> 'fruits'
    UNION ALL SELECT 'neighbour''s session', pid::text FROM pg_stat_activity WHERE starts_with(usename, 'apples~')
    ORDER BY 1, 2
"""
FILES = ("pg_hba.conf", "pg_ident.conf", "postgresql.conf", "postgresql.auto.conf", "PG_VERSION")


@dataclass
class World:
    """A place with both tenants, and a session of the neighbour that is at work."""

    place: Place
    login: str
    """The URL of a login that acts as the owner."""
    app: str
    loot: Path
    revisions: list[str] = field(default_factory=list)

    @property
    def database(self) -> Database:
        return self.place.database

    def state(self) -> set[tuple[str, ...]]:
        """All that is not the attacker's."""
        data = self.database.server.data
        files = {(f"file {name}", hashlib.md5((data / name).read_bytes()).hexdigest()) for name in FILES}
        files |= {("file of the server", path.name) for path in data.iterdir() if path.suffix != ".tmp"}
        files |= {("loot", str(path)) for path in self.loot.parent.glob(self.loot.name + "*")}
        return {*map(tuple, self.database.sql(STATE)), *files}

    def deploy(self, body: str) -> Done:
        """Push one more revision of fruits whose `upgrade` is `body`."""
        id_ = f"{len(self.revisions) + 2:04}"
        self.place.revision("fruits", id_, body, self.revisions[-1] if self.revisions else "0001")
        self.revisions.append(id_)
        return self.place.tenants("deploy", "fruits")

    def deploy_sql(self, text: str) -> Done:
        """The same of nothing but SQL."""
        return self.deploy(f"op.execute({text!r})")

    def attempt(self, way: Way, attacks: Sequence[Attack]) -> list[Told]:
        """Try statements in that way."""
        statements = [(attack.id, attack.code.replace("{loot}", str(self.loot))) for attack in attacks]
        if way in ("login", "app"):
            return attempts(self.login if way == "login" else self.app, statements)
        self.database.sql("TRUNCATE fruits.tried")
        if way == "sql":
            answering = {attack.id for attack in attacks if attack.answers is not None}
            done = self.deploy_sql(as_sql(statements, answering))
        else:
            done = self.deploy(as_revision(statements))
        assert done.code == 0, done.said
        return [(id_, how, state, text) for id_, how, state, text in self.database.sql("TABLE fruits.tried")]


def as_revision(statements: Sequence[tuple[str, str]]) -> str:
    """The body of a revision that tries the statements in sessions of its own."""
    return f"""
import json
space = {{}}
exec({inspect.getsource(attempt)!r}, space)
raw = op.get_bind().connection.driver_connection
info = raw.info
url = f"postgres://{{info.user.replace('~', '%7E')}}:{{info.password}}@{{info.host}}:{{info.port}}/db.main"
told = space["attempts"](url, {list(statements)!r})
with space["psycopg"].connect(url) as other:
    other.cursor().executemany("INSERT INTO fruits.tried VALUES (%s, %s, %s, %s)", told)
"""


def as_sql(statements: Sequence[tuple[str, str]], answering: set[str]) -> str:
    """The same as plain SQL. What is allowed and ought not to be is named, and stays to be found."""
    becoming = ["SELECT", *BECOMING[1:]]  # DISCARD ALL runs outside of a transaction alone
    listed = json.dumps([[id_, code, id_ in answering] for id_, code in statements]).replace("'", "''")
    return f"""
        CREATE TEMPORARY TABLE told (id text, way text, state text, text text) ON COMMIT DROP;
        DO $try$
        DECLARE one jsonb; way text; said text; state text;
        BEGIN
            FOR one IN SELECT jsonb_array_elements('{listed}') LOOP
                FOREACH way IN ARRAY ARRAY[{", ".join(f"'{b}'" for b in becoming)}] LOOP
                    said := ''; state := '00000';
                    BEGIN
                        EXECUTE way;
                        IF (one->>2)::boolean THEN EXECUTE one->>1 INTO said; ELSE EXECUTE one->>1; END IF;
                    EXCEPTION WHEN OTHERS THEN
                        state := SQLSTATE; said := SQLERRM;
                    END;
                    EXECUTE 'SET ROLE fruits';
                    INSERT INTO fruits.tried VALUES (one->>0, way, state, said);
                END LOOP;
            END LOOP;
        END $try$
    """


@contextmanager
def world(server: Server, *limits: str) -> Iterator[World]:
    with fresh_database(server) as database, tempfile.TemporaryDirectory(prefix="world-") as name:
        folder = Path(name)
        place = Place(folder, database)
        body = """
            items = op.create_table("items", sa.Column("id", sa.Integer, sa.Identity(), primary_key=True),
                                    sa.Column("name", sa.Text))
            op.bulk_insert(items, [{"name": "apple"}])
        """
        for tenant in ("apples", "fruits"):
            place.revision(tenant, "0001", body)
        place.deployed()
        made = place.tenants("create", "fruits", "--app-role", *limits, "--json")
        assert made.code == 0, made.said
        login, theirs = place.tenants("login", "fruits", "--owner", "--json").json["url"], place.url_of("apples")
        database.sql(APPLES + ";" + FRUITS + ";" + ADMINS)
        try:
            with psycopg.connect(theirs, autocommit=True) as session:
                session.execute("BEGIN; SELECT txid_current(); PREPARE TRANSACTION 'theirs'")
                session.execute(f"SELECT '{SECRET}'")
                yield World(place, login, made.json["url"], folder / "loot")
        finally:
            for (gid,) in database.sql("SELECT gid FROM pg_prepared_xacts"):
                database.sql(f"ROLLBACK PREPARED '{gid}'")
            database.sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
