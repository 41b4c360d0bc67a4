"""The audit: what breaks the separation is found, told in a sentence, and mended where no person has to look first."""

from __future__ import annotations

from dataclasses import replace

import psycopg
import pytest
from support import Place

from tenants.core.settings import DatabaseUrl
from tenants.edges import postgres
from tenants.edges.postgres import lock_key
from tenants.usecases import audit

ON_LOGIN = "EXECUTE format('ALTER ROLE %I "

MENDED = {
    "role-superuser": "ALTER ROLE fruits SUPERUSER",
    "role-createrole": "ALTER ROLE fruits CREATEROLE",
    "role-createdb": "ALTER ROLE fruits CREATEDB",
    "role-bypassrls": "ALTER ROLE fruits BYPASSRLS",
    "role-replication": "ALTER ROLE fruits REPLICATION",
    "owner-login": "ALTER ROLE fruits LOGIN",
    "owner-password": "ALTER ROLE fruits PASSWORD 'x'",
    "login-inherits": ON_LOGIN + "INHERIT', login)",
    "member-of-predefined": "GRANT pg_read_all_data TO fruits",
    "member-of-other": "GRANT bananas TO fruits",
    "stranger-is-member": "CREATE ROLE spy LOGIN; GRANT fruits TO spy",
    "login-acts-as": ON_LOGIN + 'IN DATABASE "db.main" RESET role\', login)',
    "login-search-path": ON_LOGIN + 'IN DATABASE "db.main" SET search_path = bananas\', login)',
    "login-limits": ON_LOGIN + 'IN DATABASE "db.main" SET statement_timeout = 0\', login)',
    "login-connections": ON_LOGIN + "CONNECTION LIMIT -1', login)",
    "login-other-settings": ON_LOGIN + 'IN DATABASE "db.main" SET work_mem = 1024\', login)',
    "role-own-settings": ON_LOGIN + "SET search_path = evil', login)",
    "login-connect": "EXECUTE format('REVOKE CONNECT ON DATABASE \"db.main\" FROM %I', login)",
    "login-member": "EXECUTE format('REVOKE fruits FROM %I', login)",
    "owner-in-group": 'REVOKE "tenants~members" FROM fruits',
    "public-ways-in": 'CREATE ROLE grafana LOGIN; GRANT CONNECT ON DATABASE "db.main" TO PUBLIC',
    "public-reach": 'GRANT CONNECT ON DATABASE "db.main" TO PUBLIC; GRANT USAGE ON SCHEMA public TO PUBLIC',
    "database-create": 'GRANT CREATE ON DATABASE "db.main" TO fruits',
    "schema-owner": "ALTER SCHEMA fruits OWNER TO postgres",
    "schema-grants": "GRANT USAGE ON SCHEMA fruits TO bananas",
    "object-grants": "GRANT SELECT ON fruits.items TO bananas, PUBLIC",
    "default-grants": "ALTER DEFAULT PRIVILEGES FOR ROLE fruits GRANT SELECT ON TABLES TO PUBLIC",
    "object-owner": "ALTER TABLE fruits.items OWNER TO postgres",
    "extensions-open": "GRANT CREATE ON SCHEMA extensions TO fruits",
    "extensions-usable": 'REVOKE USAGE ON SCHEMA extensions FROM "tenants~members"',
}
"""What somebody did, by the rule that finds it; `audit --fix` mends it."""

SHARED = {
    "app-grants": 'REVOKE UPDATE ON fruits.items FROM "fruits~app"; REVOKE USAGE ON SCHEMA fruits FROM "fruits~app"',
    "app-defaults": 'ALTER DEFAULT PRIVILEGES FOR ROLE fruits IN SCHEMA fruits REVOKE ALL ON TABLES FROM "fruits~app"',
    "app-too-much": 'GRANT UPDATE (version_num) ON fruits.alembic_version TO "fruits~app"',
    "reader-grants": 'REVOKE SELECT ON bananas.items FROM "bananas~reader~dash"',
    "reader-writes": 'ALTER ROLE "fruits~reader~dash" IN DATABASE "db.main" RESET default_transaction_read_only',
    "login-search-path": 'ALTER ROLE "fruits~reader~dash" IN DATABASE "db.main" SET search_path = bananas',
    "login-limits": 'ALTER ROLE "fruits~reader~dash" IN DATABASE "db.main" SET statement_timeout = 0',
    "login-other-settings": 'ALTER ROLE "fruits~reader~dash" IN DATABASE "db.main" SET role = fruits',
    "member-of-other": 'GRANT fruits TO "fruits~reader~dash"',
}
"""The same where fruits has an app role, and a reader reads both tenants."""

BOTH = """CREATE ROLE "both~reader" LOGIN; INSERT INTO tenants.readers VALUES ('both~reader', '{bananas,fruits}')"""
"""A read-only login that reads two tenants, as an older version made it."""

TOLD = {
    "login-password": ON_LOGIN + "PASSWORD ''x''', login)",
    "unknown-role": 'CREATE ROLE "fruits~unknown"',
    "deploy-role": 'CREATE ROLE "fruits~deploy~abcdef"',
    "public-tables": "CREATE TABLE public.loose (id int)",
    "schema-missing": "DROP SCHEMA bananas CASCADE",
    "object-outside": "CREATE TABLE public.away (id int); ALTER TABLE public.away OWNER TO fruits",
    "large-objects": "PERFORM lo_create(4711); ALTER LARGE OBJECT 4711 OWNER TO fruits",
    "view-crosses": "CREATE VIEW fruits.v AS SELECT * FROM bananas.items; ALTER VIEW fruits.v OWNER TO fruits",
    "view-on-tenant": "CREATE VIEW public.v AS SELECT * FROM fruits.items",
    "foreign-key-crosses": "ALTER TABLE fruits.items ADD FOREIGN KEY (name) REFERENCES bananas.items",
    "trigger-crosses": "CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
    " CREATE TRIGGER t BEFORE INSERT ON fruits.items FOR EACH ROW EXECUTE FUNCTION public.f()",
    "function-crosses": "CREATE FUNCTION fruits.f(bananas.items) RETURNS int LANGUAGE sql AS 'SELECT 1';"
    " ALTER FUNCTION fruits.f OWNER TO fruits",
    "security-definer": "CREATE FUNCTION fruits.f() RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1';"
    " ALTER FUNCTION fruits.f OWNER TO fruits",
    "extension-inside": "CREATE EXTENSION citext SCHEMA fruits",
    "force-rls": "ALTER TABLE fruits.items FORCE ROW LEVEL SECURITY",
    "unlogged": "CREATE UNLOGGED TABLE fruits.u (id int); ALTER TABLE fruits.u OWNER TO fruits",
    "reader-shared": BOTH.replace("'", "''").join(("EXECUTE '", "'")),
    "no-snapshot": "UPDATE tenants.snapshots SET created_at = '2020-01-01'",
}
"""The same for what a person has to look at first."""


@pytest.fixture
def two(place: Place) -> Place:
    """Two tenants with a table each, and a snapshot of both: the audit finds nothing."""
    for name in ("bananas", "fruits"):
        assert place.tenants("create", name).code == 0
        place.fruits(name)
    place.deployed()
    assert place.tenants("nightly").code == 0
    done = place.tenants("audit")
    assert (done.code, done.out) == (0, "nothing is wrong\n"), done.said
    return place


def do(place: Place, statement: str) -> None:
    """As the superuser; `login` is the name of the login of fruits."""
    login = "(SELECT role FROM tenants.logins WHERE tenant = 'fruits')"
    place.database.sql(f"DO $do$ DECLARE login text := {login}; BEGIN {statement}; END $do$")


def rules_found(place: Place) -> set[str]:
    done = place.tenants("audit", "--json")
    assert done.code in (0, 3), done.said
    found = done.json["findings"]
    assert done.code == (3 if found else 0)
    assert all(finding["meaning"] and finding["severity"] for finding in found)
    return {finding["rule"] for finding in found}


@pytest.mark.every_server
def test_what_can_be_mended_is_found_and_mended(two: Place) -> None:
    for rule, statement in MENDED.items():
        do(two, statement)
        found = rules_found(two)
        assert rule in found, f"{rule}: {found}"
        done = two.tenants("audit", "--fix", "--json")
        assert done.code == 0, f"{rule}: {done.said}"
        assert rule in {finding["rule"] for finding in done.json["mended"]}
    assert two.tenants("audit").out == "nothing is wrong\n"


def test_what_an_app_role_and_a_reader_have_too_much_or_too_little_is_found_and_mended(two: Place) -> None:
    assert two.tenants("create", "fruits", "--app-role").code == 0
    assert two.tenants("reader", "dash", "--of", "bananas,fruits").code == 0
    assert rules_found(two) == set()
    for rule, statement in SHARED.items():
        do(two, statement)
        assert rule in rules_found(two)
        done = two.tenants("audit", "--fix", "--json")
        assert done.code == 0 and rule in {finding["rule"] for finding in done.json["mended"]}, done.said


def test_a_view_that_a_login_over_several_tenants_reads_is_closed(two: Place) -> None:
    do(two, BOTH)
    assert two.tenants("apply").code == 0
    view = "CREATE VIEW fruits.v AS SELECT 1 AS one; ALTER VIEW fruits.v OWNER TO fruits;"
    do(two, view + ' GRANT SELECT (one) ON fruits.v TO "both~reader"')
    assert "reader-views" in rules_found(two)
    assert "reader-views" in {f["rule"] for f in two.tenants("audit", "--fix", "--json").json["mended"]}


STRANGERS_DEFAULTS = """
    ALTER DEFAULT PRIVILEGES FOR ROLE fruits GRANT SELECT ON TABLES TO bananas;
    ALTER DEFAULT PRIVILEGES FOR ROLE fruits GRANT USAGE ON SCHEMAS TO PUBLIC;
    ALTER DEFAULT PRIVILEGES FOR ROLE fruits IN SCHEMA fruits GRANT SELECT ON TABLES TO bananas WITH GRANT OPTION;
    ALTER DEFAULT PRIVILEGES FOR ROLE fruits IN SCHEMA fruits GRANT SELECT ON TABLES TO PUBLIC;
    ALTER DEFAULT PRIVILEGES FOR ROLE fruits IN SCHEMA fruits GRANT EXECUTE ON FUNCTIONS TO bananas;
    ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA fruits GRANT USAGE ON SEQUENCES TO bananas
"""

OWN_DEFAULTS = """
    ALTER DEFAULT PRIVILEGES FOR ROLE bananas REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
    ALTER DEFAULT PRIVILEGES FOR ROLE bananas REVOKE INSERT ON TABLES FROM bananas;
    ALTER DEFAULT PRIVILEGES FOR ROLE bananas IN SCHEMA bananas GRANT EXECUTE ON FUNCTIONS TO PUBLIC;
    ALTER DEFAULT PRIVILEGES FOR ROLE bananas IN SCHEMA bananas GRANT SELECT ON TABLES TO "bananas~reader~dash"
"""


@pytest.mark.every_server
def test_defaults_that_open_what_comes_are_mended_and_those_that_do_not_are_left(two: Place) -> None:
    assert two.tenants("reader", "dash", "--of", "bananas").code == 0
    assert two.tenants("create", "fruits", "--app-role").code == 0
    defaults = "SELECT defaclrole, defaclnamespace, defaclobjtype, defaclacl::text FROM pg_default_acl ORDER BY 1, 2, 3"
    do(two, OWN_DEFAULTS)
    own = two.database.sql(defaults)
    assert rules_found(two) == set()
    do(two, STRANGERS_DEFAULTS)
    done = two.tenants("audit", "--json")
    found = [finding for finding in done.json["findings"] if finding["rule"] == "default-grants"]
    assert len(found) == len(done.json["findings"]) == 6, done.said
    assert {finding["tenant"] for finding in found} == {"fruits"}
    assert two.tenants("audit", "--fix").code == 0
    assert two.database.sql(defaults) == own
    two.database.sql("SET ROLE fruits; CREATE TABLE fruits.later (); CREATE FUNCTION fruits.f() RETURNS int RETURN 1")
    grants = "SELECT grantee FROM information_schema.role_table_grants WHERE table_name = 'later'"
    assert {row[0] for row in two.database.sql(grants)} == {"fruits", "fruits~app"}


def test_a_column_that_is_open_to_a_stranger_is_found_and_closed(two: Place) -> None:
    do(two, "GRANT SELECT (name) ON fruits.items TO bananas; GRANT USAGE ON SCHEMA fruits TO bananas")
    neighbours = two.url_of("bananas")
    assert two.database.sql("SELECT count(name) FROM fruits.items", url=neighbours) == [(4,)]
    found = two.tenants("audit", "--json").json["findings"]
    assert "table fruits.items (name) to bananas" in {finding["object"] for finding in found}
    assert two.tenants("audit", "--fix").code == 0
    do(two, "GRANT USAGE ON SCHEMA fruits TO bananas")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        two.database.sql("SELECT count(name) FROM fruits.items", url=neighbours)


def test_what_a_stranger_has_handed_on_is_taken_from_all(two: Place) -> None:
    do(two, "GRANT SELECT ON fruits.items TO bananas WITH GRANT OPTION; GRANT USAGE ON SCHEMA fruits TO bananas")
    two.database.sql("GRANT SELECT ON fruits.items TO PUBLIC", url=two.url_of("bananas"))
    do(two, "CREATE ROLE spy; CREATE ROLE friend; GRANT fruits TO spy WITH ADMIN OPTION")
    two.database.sql("SET ROLE spy; GRANT fruits TO friend")
    done = two.tenants("audit", "--fix")
    assert done.code == 0, done.said
    members = "SELECT count(*) FROM pg_auth_members WHERE member::regrole::text IN ('spy', 'friend')"
    assert two.database.sql(members) == [(0,)]


def test_who_comes_in_through_public_is_told_before_and_stays_by_name(two: Place) -> None:
    database, theirs = two.database, {}
    database.sql("""
        CREATE ROLE grafana LOGIN PASSWORD 'theirs'; CREATE ROLE ann LOGIN NOINHERIT PASSWORD 'theirs';
        CREATE ROLE staff; GRANT staff TO ann; CREATE ROLE idle;
        CREATE ROLE eve LOGIN PASSWORD 'theirs'; GRANT CONNECT ON DATABASE "db.main" TO eve;
        CREATE TABLE public.visits AS SELECT 1 AS one; GRANT SELECT ON public.visits TO staff, grafana, eve;
        GRANT CONNECT, TEMPORARY ON DATABASE "db.main" TO PUBLIC; GRANT USAGE ON SCHEMA public TO PUBLIC
    """)
    for name in ("grafana", "ann", "eve"):
        theirs[name] = database.server.url("db.main", name, "theirs")
    listed = [f for f in two.tenants("audit", "--json").json["findings"] if f["tenant"] is None]
    order = [finding["rule"] for finding in listed]
    assert order.index("public-reach") > max(i for i, rule in enumerate(order) if rule == "public-ways-in")
    kept = {finding["object"] for finding in listed if finding["rule"] == "public-ways-in"}
    assert kept == {
        "ann: CONNECT, TEMPORARY on database db.main",
        "eve: TEMPORARY on database db.main",
        "grafana: CONNECT, TEMPORARY on database db.main",
        "staff: TEMPORARY on database db.main",
        *(f"{name}: USAGE on schema public" for name in ("ann", "eve", "grafana", "staff")),
    }
    done = two.tenants("audit", "--fix")
    assert done.code == 3, done.said  # the table in schema public is left
    assert all(line in done.err for line in kept), done.err
    for name, become in (("grafana", ""), ("eve", ""), ("ann", "SET ROLE staff;")):
        read = f"{become} CREATE TEMPORARY TABLE scratch AS SELECT 1; SELECT one FROM public.visits"
        assert database.sql(read, url=theirs[name]) == [(1,)]
    assert [r for r in rules_found(two) if r.startswith("public-") and r != "public-tables"] == []


def test_create_tells_who_comes_in_through_public_before_it_closes(place: Place) -> None:
    place.database.sql("CREATE ROLE grafana LOGIN PASSWORD 'theirs'")
    told = place.tenants("create", "fruits").err.splitlines()
    [database] = [i for i, line in enumerate(told) if "grafana: CONNECT, TEMPORARY on database db.main" in line][:1]
    [schema] = [i for i, line in enumerate(told) if "grafana: USAGE on schema public" in line][:1]
    closed = [i for i, line in enumerate(told) if "mended public-reach" in line]
    assert len(closed) >= 2 and max(database, schema) < min(closed), told
    assert "loses its reach" in told[database] and "loses its reach" in told[schema]


@pytest.mark.parametrize("rule", TOLD)
def test_what_a_person_has_to_look_at_is_told_and_left(two: Place, rule: str) -> None:
    do(two, TOLD[rule])
    assert rule in rules_found(two)
    fixed = two.tenants("audit", "--fix", "--json")
    assert fixed.code == 3
    assert rule in {finding["rule"] for finding in fixed.json["findings"]}
    for finding in fixed.json["findings"]:  # the SQL that is shown does what it is shown for
        if finding["fix"]:
            two.database.sql(finding["fix"])
            assert rule not in rules_found(two)


def test_a_neighbour_that_holds_a_lock_of_ours_is_told(two: Place) -> None:
    with psycopg.connect(two.url_of("fruits"), autocommit=True) as session:
        session.execute("SELECT pg_advisory_lock(%s)", [lock_key("tenant bananas")])
        assert "advisory-lock" in rules_found(two)


def mended_by_its_sql(place: Place, rule: str) -> bool:
    """Run what the rule shows, as a person would; whether it finds nothing any more."""
    [fix] = [f["fix"] for f in place.tenants("audit", "--json").json["findings"] if f["rule"] == rule]
    place.database.sql(fix)
    return rule not in rules_found(place)


def test_an_index_that_was_broken_off_is_told(two: Place) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation):
        two.database.sql("CREATE UNIQUE INDEX CONCURRENTLY i ON fruits.items ((length(name) > 0))")
    assert rules_found(two) == {"index-invalid"}
    assert mended_by_its_sql(two, "index-invalid")


def test_a_transaction_that_was_prepared_and_left_is_told(two: Place) -> None:
    two.database.sql("BEGIN; DELETE FROM items; PREPARE TRANSACTION 'left'", url=two.url_of("fruits"))
    try:
        assert rules_found(two) == {"prepared-transaction"}
        assert mended_by_its_sql(two, "prepared-transaction")
    finally:  # no database can be dropped before
        for (left,) in two.database.sql("SELECT gid FROM pg_prepared_xacts"):
            two.database.sql(f"ROLLBACK PREPARED '{left}'")


def test_a_transaction_that_is_open_for_too_long_is_told(two: Place) -> None:
    [rule] = [rule for rule in audit.rules() if rule.id == "long-transaction"]
    assert rule.query.count("interval '1 hour'") == 1
    at_once = replace(rule, query=rule.query.replace("interval '1 hour'", "interval '0'"))
    with psycopg.connect(two.url_of("fruits")) as session, psycopg.connect(two.url_of("bananas"), autocommit=True):
        session.execute("SELECT")
        with postgres.connect(DatabaseUrl.parse(two.database.url), "tests") as ours:
            me = postgres.identify(ours)
            [found] = audit.find(ours, me, [at_once], set())
            assert found.tenant == "fruits" and audit.find(ours, me, [rule], set()) == []
        assert found.fix
        two.database.sql(found.fix)
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT")


def test_every_rule_has_a_test() -> None:
    own = {"advisory-lock", "index-invalid", "prepared-transaction", "long-transaction"}
    elsewhere = {"admin-is-member"}  # test_managed.py
    elsewhere |= {"login-shut-out", "login-suspended", "size"}  # test_suspend.py
    elsewhere |= {"bridge"}  # test_adopt.py
    elsewhere |= {"scratch", "no-proof"}  # test_drills.py, test_status.py
    elsewhere |= {"lock-crosses", "many-locks", "notifications"}  # attacks/
    elsewhere |= {"record-rate", "objects"}  # test_denials.py, test_crowds.py
    own |= {"reader-views"}
    assert {rule.id for rule in audit.rules()} == {*MENDED, *SHARED, *TOLD, *own, *elsewhere}
    assert len(audit.rules()) >= 25


def test_rules_are_listed_with_what_they_mean(place: Place) -> None:
    done = place.tenants("audit", "--rules", "--json")
    assert [rule["id"] for rule in done.json["rules"]] == [rule.id for rule in audit.rules()]
    assert "role-superuser" in place.tenants("audit", "--rules").out
