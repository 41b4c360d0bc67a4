"""A managed PostgreSQL: the admin is no superuser, but has CREATEROLE and owns the database. All commands work, and
what is out of its reach is said in plain words.

What a superuser makes is the measure: each difference between the two is named here.
"""

from __future__ import annotations

import re

import psycopg
import pytest
from support import NAME, Done, Place

from tenants.edges.postgres import lock_key

BOSS = f"""
    CREATE ROLE boss LOGIN CREATEROLE PASSWORD 'boss-secret';
    ALTER DATABASE "{NAME}" OWNER TO boss;
    GRANT CONNECT, TEMPORARY ON DATABASE postgres TO PUBLIC;
    GRANT CONNECT, TEMPORARY ON DATABASE template1 TO PUBLIC
"""


@pytest.fixture
def managed(place: Place) -> Place:
    """The place of such an admin."""
    place.database.sql(BOSS)
    place.environment["DATABASE_URL"] = place.database.server.url(NAME, "boss", "boss-secret")
    return place


def done(place: Place, *arguments: str, code: int = 0) -> Done:
    ended = place.tenants(*arguments)
    assert ended.code == code, ended.said
    assert "this is a bug" not in ended.said
    return ended


def url(place: Place, *arguments: str) -> str:
    return str(done(place, *arguments, "--json").json["url"])


def version(place: Place) -> int:
    return int(place.database.sql("SHOW server_version_num")[0][0])


def refused(place: Place, url: str, statement: str) -> bool:
    try:
        place.database.sql(statement, url=url)
    except psycopg.Error:
        return True
    return False


PICTURE = {
    "roles": """
        SELECT rolname, rolcanlogin, rolinherit, rolcreaterole, rolcreatedb, rolsuper, rolreplication, rolbypassrls,
               rolconnlimit, rolvaliduntil::text FROM pg_roles WHERE oid >= 16384 AND rolname <> 'boss'""",
    "members": """
        SELECT roleid::regrole, member::regrole, admin_option, to_jsonb(m) ->> 'inherit_option',
               to_jsonb(m) ->> 'set_option' FROM pg_auth_members m WHERE roleid >= 16384""",
    "settings": """
        SELECT setrole::regrole, setdatabase <> 0, s FROM pg_db_role_setting, unnest(setconfig) s
        WHERE setrole::regrole::text <> 'boss'""",
    "databases": """
        SELECT datname, pg_get_userbyid(a.grantee), privilege_type
        FROM pg_database d, aclexplode(coalesce(datacl, acldefault('d', datdba))) a WHERE a.grantee <> datdba""",
    "schemas": """
        SELECT nspname, pg_get_userbyid(nspowner), pg_get_userbyid(a.grantee), privilege_type
        FROM pg_namespace, aclexplode(coalesce(nspacl, acldefault('n', nspowner))) a
        WHERE nspname !~ '^(pg_|information_schema)'""",
    "objects": """
        SELECT relname, relkind, pg_get_userbyid(relowner), pg_get_userbyid(a.grantee), privilege_type
        FROM pg_class, aclexplode(coalesce(relacl, acldefault('r', relowner))) a
        WHERE relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('fruits', 'tenants'))
          AND relkind IN ('r', 'v')""",
    "defaults": """
        SELECT defaclrole::regrole, defaclnamespace::regnamespace, defaclobjtype, defaclacl FROM pg_default_acl""",
}
"""All that a tenant is to PostgreSQL, in rows."""


def picture(place: Place) -> dict[str, set[str]]:
    """The rows of PICTURE as text; the admin, whoever it is, is called ADMIN, and random letters are left out."""
    found = {}
    for what, query in PICTURE.items():
        rows = {str(tuple(map(str, row))) for row in place.database.sql(query)}
        found[what] = {
            re.sub(r"~(?!reader)[a-z2-9]{6}\b", "~LOGIN", re.sub(r"\b(boss|postgres)\b", "ADMIN", row)) for row in rows
        }
    return found


def make(place: Place) -> None:
    """A tenant with all that belongs to one."""
    place.fruits()
    done(
        place,
        "create",
        "fruits",
        "--app-role",
        "--connections",
        "5",
        "--temp-file-limit",
        "2GB",
        "--statement-timeout",
        "7s",
    )
    done(place, "deploy")
    done(place, "reader", "dash", "--of", "fruits")
    done(place, "extension", "fruits", "citext")


@pytest.mark.every_server
def test_what_create_leaves_differs_from_a_superusers_only_where_it_has_to(managed: Place) -> None:
    make(managed)
    theirs = picture(managed)
    for role in ("fruits", "fruits~app", "fruits~reader~dash", "tenants~members"):  # the way that the admin itself has
        assert any(f"{role}'" in row.split(", ")[0].replace('"', "") for row in theirs["members"] if "ADMIN" in row), (
            role
        )
    done(managed, "drop", "fruits", "--yes", "--no-snapshot")
    managed.database.sql(f"""
        ALTER DATABASE "{NAME}" OWNER TO postgres; DROP SCHEMA tenants, extensions CASCADE;
        DROP OWNED BY "tenants~members", boss CASCADE;
        DROP ROLE "tenants~members", boss; GRANT CONNECT, TEMPORARY ON DATABASE "{NAME}" TO PUBLIC;
        GRANT USAGE ON SCHEMA public TO PUBLIC
    """)
    managed.environment["DATABASE_URL"] = managed.database.url
    make(managed)
    superusers = picture(managed)
    less = {what: superusers[what] - theirs[what] for what in PICTURE}
    more = {what: theirs[what] - superusers[what] for what in PICTURE}
    # the login and the read-only login have the limit of their tenant
    assert [row.count("temp_file_limit=2GB") for row in less.pop("settings")] == [1, 1]
    assert all(row.split(", ")[1] == "'ADMIN'" for row in more.pop("members"))
    assert all("unknown (OID=0)" in row for row in more["databases"]) and len(more.pop("databases")) == 4
    assert {what: rows for what, rows in {**less, **more}.items() if rows} == {}


@pytest.mark.every_server
def test_every_command_works_for_an_admin_that_is_no_superuser(managed: Place) -> None:
    database = managed.database
    old = url(managed, "create", "fruits", "--app-role", "--connections", "3")
    assert database.sql("SHOW statement_timeout", url=old) == [("5min",)]
    managed.fruits()
    managed.deployed()
    assert done(managed, "apply", "--json").json == {"changed": {"fruits": []}}
    written = database.written()
    assert "nothing was changed" in done(managed, "create", "fruits").out
    assert database.written() == written

    database.sql("INSERT INTO items VALUES ('kiwi')", url=old)
    assert refused(managed, old, "DROP TABLE items") and refused(managed, old, "CREATE TABLE mine ()")
    managed.colour()
    managed.deployed()
    database.sql("UPDATE items SET colour = 'green' WHERE name = 'kiwi'", url=old)
    before = database.dump("fruits")
    broken = managed.revision("fruits", "0003", 'op.execute("DROP TABLE items"); op.execute("SELECT 1/0")', "0002")
    done(managed, "deploy", code=6)
    assert database.dump("fruits") == before
    broken.unlink()
    assert done(managed, "deploy", "--json").json["deploys"][0]["outcome"] == "up-to-date"

    second = url(managed, "login", "fruits", "--owner")
    assert database.sql("SELECT current_user::text", url=second) == [("fruits",)]
    new = url(managed, "rotate", "fruits")
    with psycopg.connect(old, autocommit=True) as session:
        assert database.sql("SELECT count(*) FROM items", url=new) == [(5,)]
        done(managed, "rotate", "fruits", "--retire")
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert refused(managed, old, "SELECT 1") and refused(managed, second, "SELECT 1")

    dash = done(managed, "reader", "dash", "--of", "fruits", "--json").json["logins"][0]["url"]
    assert database.sql("SELECT count(*) FROM fruits.items", url=dash) == [(5,)]
    assert refused(managed, dash, "SET default_transaction_read_only = off; DELETE FROM fruits.items")
    assert done(managed, "extension", "fruits", "citext", "--json").json["changed"] is True
    assert database.sql("SELECT 'A'::citext = 'a'", url=new) == [(True,)]
    untrusted = done(managed, "extension", "fruits", "pg_stat_statements", code=2)
    assert 'CREATE EXTENSION "pg_stat_statements" SCHEMA extensions' in untrusted.err and "superuser" in untrusted.err

    database.sql('ALTER ROLE fruits LOGIN; REVOKE UPDATE ON fruits.items FROM "fruits~app"')
    mended = done(managed, "audit", "--fix", "--json", code=3).json
    assert {finding["rule"] for finding in mended["mended"]} == {"owner-login", "app-grants"}
    assert {finding["rule"] for finding in mended["findings"]} == {"public-reach", "login-limits"}
    assert all(finding["needs"] for finding in mended["findings"])

    kept = database.dump("fruits")
    snapshot = done(managed, "snapshot", "fruits", "--json").json["id"]
    database.sql("DELETE FROM items", url=new)
    done(managed, "restore", "fruits", snapshot)
    assert database.dump("fruits") == kept
    database.sql("UPDATE items SET colour = 'red'", url=new)
    assert done(managed, "nightly", "--json").json["failures"] == {}
    assert len(done(managed, "snapshots", "--json").json["snapshots"]) >= 4
    assert done(managed, "list", "--json").json["tenants"][0]["revision"] == "0002"
    assert len(done(managed, "show", "fruits", "--json").json["aside"]) == 1

    with psycopg.connect(new, autocommit=True) as session:
        done(managed, "drop", "fruits", "--yes")
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert database.schemas() == ["public", "tenants"]
    assert database.roles() == ["boss", "tenants~members"]
    done(managed, "restore", "fruits", snapshot)
    assert database.dump("fruits") != kept  # a tenant anew: the grants to its former app role are gone with that
    again = url(managed, "login", "fruits")
    assert database.sql("SELECT count(*) FROM items", url=again) == [(5,)]
    managed.nothing_left()


def test_what_the_admins_role_says_of_memberships_makes_no_difference(managed: Place) -> None:
    """Since PostgreSQL 16 it says what a role that is made is to its maker; who needs more has to say so."""
    managed.database.sql("ALTER ROLE boss NOINHERIT; ALTER ROLE boss SET createrole_self_grant = 'inherit'")
    managed.fruits()
    managed.deployed()
    first = managed.url_of("fruits")
    second = url(managed, "rotate", "fruits")
    done(managed, "rotate", "fruits", "--retire")
    assert refused(managed, first, "SELECT 1")
    managed.database.sql("DELETE FROM items", url=second)
    done(managed, "drop", "fruits", "--yes")
    done(managed, "restore", "fruits")
    done(managed, "restore", "fruits")
    done(managed, "drop", "fruits", "--yes", "--no-snapshot")
    assert managed.database.roles() == ["boss", "tenants~members"]


@pytest.mark.every_server
def test_what_only_the_servers_owner_can_mend_is_told_and_nobody_is_promised_anything(managed: Place) -> None:
    database = managed.database
    database.sql("CREATE ROLE grafana LOGIN PASSWORD 'theirs'")
    first = done(managed, "create", "fruits")
    for name in ("postgres", "template1"):
        told = f"REVOKE ALL ON DATABASE {name} FROM PUBLIC"
        assert sum(told in line and "takes postgres, who owns it" in line for line in first.err.splitlines()) == 1
        assert f"database {name}" not in "".join(line for line in first.err.splitlines() if "grafana" in line)
    assert "temp_file_limit" in first.err and "a superuser" in first.err
    assert database.sql("SELECT 1", url=database.server.url(NAME, "grafana", "theirs")) == [(1,)]
    done(managed, "create", "pears")
    written = database.written()
    applied = done(managed, "apply")
    assert applied.err.count("REVOKE ALL ON DATABASE postgres") == 1
    assert applied.out.count("as it ought to be") == 2
    assert database.written() == written

    audited = done(managed, "audit", code=3)
    assert "REVOKE ALL ON DATABASE postgres FROM PUBLIC;\n          That takes postgres, who owns it" in audited.out
    assert "have the server's owner run the SQL" in audited.err
    assert "passed over" in audited.err and "login-password" in audited.err
    document = done(managed, "audit", "--json", code=3).json
    assert document["passed_over"] == ["login-password", "owner-password"]
    for finding in document["findings"]:
        database.sql(finding["fix"])
    assert done(managed, "audit").out == "nothing is wrong\n"

    database.sql("ALTER ROLE fruits SUPERUSER; GRANT pg_read_all_data TO fruits")
    left = done(managed, "audit", "--fix", "--json", code=3).json["findings"]
    assert {finding["rule"] for finding in left} >= {"role-superuser"}
    for finding in left:
        assert finding["needs"], finding
        database.sql(finding["fix"])
    assert done(managed, "audit", "--json").json["findings"] == []


@pytest.mark.every_server
def test_memberships_that_the_admin_lacks_are_found_and_mended_where_it_may(managed: Place) -> None:
    done(managed, "create", "fruits")
    database = managed.database
    grants = database.sql("SELECT roleid::regrole::text, grantor::regrole::text FROM pg_auth_members"
                          " WHERE member = 'boss'::regrole")  # fmt: skip
    modern = version(managed) >= 160000
    for role, grantor in grants:
        if not modern or grantor == "boss":  # what it gave itself
            database.sql(f"REVOKE {role} FROM boss {'GRANTED BY boss' if modern else ''}")
    found = [f for f in done(managed, "audit", "--json", code=3).json["findings"] if f["rule"] == "admin-is-member"]
    assert {"fruits"} < {finding["object"] for finding in found} and not any(finding["needs"] for finding in found)
    assert "mended admin-is-member: fruits" in done(managed, "create", "fruits").err
    managed.fruits()
    managed.deployed()
    if not modern:
        return
    database.sql("REVOKE fruits FROM boss CASCADE")  # an upgrade from PostgreSQL 15 leaves it so
    [left] = [f for f in done(managed, "audit", "--fix", "--json", code=3).json["findings"] if f["object"] == "fruits"]
    assert (left["rule"], left["needs"]) == ("admin-is-member", "a superuser")
    database.sql(left["fix"])
    managed.colour()
    managed.deployed()


@pytest.mark.every_server
def test_an_admin_that_cannot_look_after_tenants_is_told_before_it_makes_one(managed: Place) -> None:
    database = managed.database
    if version(managed) < 160000:
        database.sql("ALTER ROLE boss NOINHERIT")
        told = done(managed, "create", "fruits", code=2)
        assert 'ALTER ROLE "boss" INHERIT' in told.err
        database.sql('ALTER ROLE "boss" INHERIT', url=managed.environment["DATABASE_URL"])
    else:
        database.sql('CREATE ROLE "tenants~members"')  # by the admin of another database
        told = done(managed, "create", "fruits", code=2)
        assert 'GRANT "tenants~members" TO "boss" WITH ADMIN OPTION' in told.err
        assert "tenants" not in database.schemas()
        database.sql('GRANT "tenants~members" TO "boss" WITH ADMIN OPTION')
    done(managed, "create", "fruits")
    database.sql(
        "CREATE ROLE second LOGIN CREATEROLE PASSWORD 'x'; GRANT CREATE, CONNECT ON DATABASE \"db.main\" TO second"
    )
    database.sql("ALTER SCHEMA tenants OWNER TO postgres; ALTER TABLE tenants.catalog OWNER TO postgres;"
                 "ALTER TABLE tenants.tenants OWNER TO postgres; ALTER ROLE second INHERIT")  # fmt: skip
    managed.environment["DATABASE_URL"] = database.server.url(NAME, "second", "x")
    told = done(managed, "list", code=2)
    assert "another admin's" in told.err and "owner of schema tenants" in told.err


@pytest.mark.every_server
def test_a_superusers_audit_takes_what_the_admin_gave_to_a_stranger_and_leaves_the_admin_its_own(
    managed: Place,
) -> None:
    done(managed, "create", "fruits")
    admins = managed.environment["DATABASE_URL"]
    managed.database.sql("CREATE ROLE stranger")
    managed.database.sql("GRANT fruits TO stranger", url=admins)
    managed.environment["DATABASE_URL"] = managed.database.url
    mended = done(managed, "audit", "--fix", "--json").json["mended"]
    assert [f["object"] for f in mended if f["rule"] == "stranger-is-member"] == ["stranger in fruits"]
    assert managed.database.sql("SELECT pg_has_role('stranger', 'fruits', 'MEMBER')") == [(False,)]
    managed.environment["DATABASE_URL"] = admins
    done(managed, "drop", "fruits", "--yes")


REACH = """
    CREATE FUNCTION fruits.reach() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $f$
    DECLARE s text;
    BEGIN
        RAISE LOG 'trapped <%> as <%>', session_user, current_user;
        FOREACH s IN ARRAY ARRAY['RESET ROLE', 'SET ROLE boss', 'GRANT boss TO fruits', 'GRANT pears TO fruits',
            'ALTER ROLE fruits CREATEROLE', 'CREATE ROLE loot', 'GRANT fruits TO pears WITH ADMIN OPTION',
            'ALTER DATABASE "db.main" OWNER TO fruits', 'CREATE SCHEMA loot', 'CREATE TABLE public.loot ()',
            'CREATE TABLE pears.loot ()', 'DELETE FROM pears.items', 'ALTER SCHEMA tenants OWNER TO fruits'] LOOP
            BEGIN
                EXECUTE s;
                IF s <> 'RESET ROLE' THEN
                    RAISE LOG 'escaped: %', s;
                END IF;
            EXCEPTION WHEN OTHERS THEN NULL;
            END;
        END LOOP;
        RETURN true;
    END $f$;
    CREATE TABLE one (x int CHECK (fruits.reach()));
    CREATE TABLE two (x int, y boolean GENERATED ALWAYS AS (fruits.reach()) STORED);
    CREATE INDEX ON two (x) WHERE fruits.reach();
    CREATE MATERIALIZED VIEW three AS SELECT fruits.reach();
    CREATE VIEW four AS SELECT * FROM items WHERE fruits.reach();
    CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM fruits.reach(); RETURN NEW; END';
    CREATE TRIGGER fire BEFORE INSERT OR UPDATE ON alembic_version FOR EACH ROW EXECUTE FUNCTION fire();
    ALTER TABLE alembic_version ENABLE ALWAYS TRIGGER fire;
    INSERT INTO one VALUES (1); INSERT INTO two VALUES (1)
"""

POWERS = """
    SELECT rolname, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, array(
        SELECT roleid::regrole::text FROM pg_auth_members WHERE member = r.oid ORDER BY 1)
    FROM pg_roles r WHERE oid >= 16384 AND rolname <> 'boss' ORDER BY 1
"""


@pytest.mark.every_server
def test_a_tenants_function_never_runs_with_the_admins_memberships(managed: Place) -> None:
    """The admin inherits the rights of all tenants, so code of one of them that ran in its session would have them."""
    database = managed.database
    for name in ("fruits", "pears"):
        managed.fruits(name)
    managed.deployed()
    planted = managed.url_of("fruits")
    powers = database.sql(POWERS)
    began = len(database.server.log())
    database.sql(REACH, url=planted)
    managed.revision("fruits", "0002", 'op.execute("SELECT fruits.reach()")', "0001")
    managed.deployed()
    done(managed, "create", "fruits", "--app-role")
    done(managed, "reader", "dash", "--of", "fruits,pears")
    done(managed, "audit", "--fix", code=3)
    done(managed, "nightly")
    done(managed, "restore", "fruits")
    done(managed, "show", "fruits")
    log = database.server.log()[began:]
    ran = set(re.findall("LOG:  trapped <(.*?)> as", log))
    assert len(ran) >= 3 and all(login.startswith("fruits~") for login in ran), ran
    assert re.findall("LOG:  escaped: .*", log) == []
    tables = "SELECT relname FROM pg_class WHERE relnamespace = 'pears'::regnamespace AND relkind = 'r' ORDER BY 1"
    assert database.sql(tables) == [("alembic_version",), ("items",)]
    assert database.sql("SELECT count(*) FROM pears.items") == [(4,)]
    now = [
        row for row in database.sql(POWERS) if row[0] not in ("fruits~reader~dash", "pears~reader~dash", "fruits~app")
    ]
    assert now == powers
    done(managed, "drop", "fruits", "--yes")
    log = database.server.log()[began:]
    assert all(login.startswith("fruits~") for login in re.findall("LOG:  trapped <(.*?)> as", log))
    managed.nothing_left()


@pytest.mark.every_server
def test_a_strangers_lock_that_the_admin_cannot_end_is_named(managed: Place) -> None:
    done(managed, "create", "fruits")
    managed.database.sql('CREATE ROLE "x~spy" LOGIN PASSWORD \'x\'; GRANT CONNECT ON DATABASE "db.main" TO "x~spy"')
    with psycopg.connect(managed.database.server.url(NAME, "x~spy", "x"), autocommit=True) as spy:
        spy.execute("SELECT pg_advisory_lock(%s)", [lock_key("tenant fruits")])
        told = done(managed, "drop", "fruits", "--yes", "--wait", "0", code=4)
    assert "role x~spy" in told.err


@pytest.mark.every_server
def test_an_admin_that_may_make_databases_rehearses_and_drills(managed: Place) -> None:
    """Up to 14 the schema `public` of a new database is the server's owner's, and that is tried here as well."""
    managed.database.sql("ALTER ROLE boss CREATEDB")
    del managed.environment["TENANTS_REHEARSAL"]
    managed.fruits()
    managed.deployed()
    managed.colour()
    file = managed.migrations / "fruits" / "0002_colour.py"
    file.write_text(file.read_text() + '\n\ndef downgrade():\n    op.drop_column("items", "colour")\n')
    assert "1 revision passed on a copy" in done(managed, "deploy").err
    done(managed, "drill", "fruits", "--again")
    assert "taken back by downgrade" in done(managed, "undo", "fruits", "--yes").err
    managed.nothing_left()
