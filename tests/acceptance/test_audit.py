"""The audit: what breaks the separation is found, told in a sentence, and mended where no person has to look first."""

from __future__ import annotations

import psycopg
import pytest
from support import Place

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
    "public-reach": 'GRANT CONNECT ON DATABASE "db.main" TO PUBLIC; GRANT USAGE ON SCHEMA public TO PUBLIC',
    "database-create": 'GRANT CREATE ON DATABASE "db.main" TO fruits',
    "schema-owner": "ALTER SCHEMA fruits OWNER TO postgres",
    "schema-grants": "GRANT USAGE ON SCHEMA fruits TO bananas",
    "object-grants": "GRANT SELECT ON fruits.items TO bananas, PUBLIC",
    "object-owner": "ALTER TABLE fruits.items OWNER TO postgres",
    "extensions-open": "GRANT CREATE ON SCHEMA extensions TO fruits",
    "extensions-usable": 'REVOKE USAGE ON SCHEMA extensions FROM "tenants~members"',
}
"""What somebody did, by the rule that finds it; `audit --fix` mends it."""

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


def test_every_rule_has_a_test_or_says_here_why_not() -> None:
    elsewhere = {"app-grants", "app-defaults", "app-too-much", "reader-grants", "reader-views"}  # test_wishes.py
    elsewhere |= {"login-shut-out", "login-suspended", "size"}  # test_suspend.py
    elsewhere |= {"lock-crosses", "many-locks", "notifications", "prepared-transaction", "long-transaction"}  # attacks/
    untested = {
        "index-invalid": "an invalid index takes a broken CREATE INDEX CONCURRENTLY",
    }
    assert {rule.id for rule in audit.rules()} == {*MENDED, *TOLD, "advisory-lock", *elsewhere, *untested}
    assert len(audit.rules()) >= 25


def test_rules_are_listed_with_what_they_mean(place: Place) -> None:
    done = place.tenants("audit", "--rules", "--json")
    assert [rule["id"] for rule in done.json["rules"]] == [rule.id for rule in audit.rules()]
    assert "role-superuser" in place.tenants("audit", "--rules").out
