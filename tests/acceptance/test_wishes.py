"""What a tenant is wanted to be: limits, an app role, logins that rotate, readers, extensions. A second call changes
nothing."""

from __future__ import annotations

import psycopg
import pytest
from support import Place


def refused(place: Place, url: str, statement: str) -> bool:
    try:
        place.database.sql(statement, url=url)
    except psycopg.Error:
        return True
    return False


@pytest.mark.every_server
def test_limits_are_set_changed_and_kept(place: Place) -> None:
    made = place.tenants("create", "fruits", "--connections", "2", "--statement-timeout", "7s", "--json")
    url = str(made.json["url"])
    assert place.database.sql("SHOW statement_timeout", url=url) == [("7s",)]
    assert place.database.sql("SHOW temp_file_limit", url=url) == [("1GB",)]
    assert refused(place, url, "SET temp_file_limit = -1")
    with psycopg.connect(url), psycopg.connect(url):
        assert refused(place, url, "SELECT 1")
    assert "login-connections" in place.tenants("create", "fruits", "--connections", "3").out
    assert "nothing was changed" in place.tenants("create", "fruits", "--connections", "3").out
    assert place.tenants("apply", "--json").json == {"changed": {"fruits": []}}
    place.database.sql("UPDATE tenants.tenants SET lock_timeout = '3s'")
    assert place.tenants("apply", "--json").json["changed"]["fruits"] != []
    assert place.database.sql("SHOW lock_timeout", url=url) == [("3s",)]
    for option, value in (("--statement-timeout", "soon"), ("--temp-file-limit", "1"), ("--connections", "0")):
        assert place.tenants("create", "fruits", option, value).code == 2


def test_limits_of_the_app_do_not_end_its_own_migrations(place: Place) -> None:
    url = str(place.tenants("create", "fruits", "--statement-timeout", "200ms", "--json").json["url"])
    assert refused(place, url, "SELECT pg_sleep(0.5)")
    place.revision("", "0001", 'op.execute("SELECT pg_sleep(0.5)")')
    done = place.tenants("deploy", DATABASE_URL=url)
    assert done.code == 0, done.said


@pytest.mark.every_server
def test_the_app_role_changes_rows_and_no_definitions_of_what_is_there_and_what_comes(place: Place) -> None:
    place.fruits()
    url = str(place.tenants("create", "fruits", "--app-role", "--json").json["url"])
    place.deployed()
    later = 'op.execute("CREATE TABLE later (id int GENERATED ALWAYS AS IDENTITY, n serial)")'
    place.revision("fruits", "0002", later, "0001")
    place.deployed()
    place.database.sql("INSERT INTO items VALUES ('kiwi'); UPDATE items SET name = 'lime' WHERE name = 'kiwi'", url=url)
    place.database.sql("INSERT INTO later DEFAULT VALUES; DELETE FROM later; SELECT * FROM alembic_version", url=url)
    for statement in (
        "CREATE TABLE mine (id int)",
        "DROP TABLE items",
        "ALTER TABLE items ADD COLUMN x int",
        "TRUNCATE items",
        "UPDATE alembic_version SET version_num = '0001'",
        "SET ROLE fruits",
    ):
        assert refused(place, url, statement), statement
    done = place.tenants("deploy", DATABASE_URL=url)
    assert done.code == 2, done.said
    owners = str(place.tenants("login", "fruits", "--owner", "--json").json["url"])
    assert place.tenants("deploy", DATABASE_URL=owners).code == 0
    assert place.tenants("nightly").code == 0
    assert place.tenants("restore", "fruits").code == 0
    place.database.sql("INSERT INTO items VALUES ('kiwi')", url=url)
    assert place.tenants("audit").out == "nothing is wrong\n"


def test_a_login_is_rotated_without_a_moment_in_which_none_works(place: Place) -> None:
    old = str(place.tenants("create", "fruits", "--json").json["url"])
    new = str(place.tenants("rotate", "fruits", "--json").json["url"])
    assert place.database.sql("SELECT 1", url=old) == place.database.sql("SELECT 1", url=new)
    assert place.tenants("nightly").code == 0
    assert not refused(place, old, "SELECT 1")  # its app may be between two connections
    place.database.sql("UPDATE tenants.logins SET retired_at = now() - interval '2 hours' WHERE retired_at IS NOT NULL")
    with psycopg.connect(old):
        assert place.tenants("nightly", "--again").code == 0
        assert not refused(place, old, "SELECT 1")  # a session uses it
    assert place.tenants("rotate", "fruits", "--retire").code == 0
    assert refused(place, old, "SELECT 1")
    assert not refused(place, new, "SELECT 1")
    assert place.tenants("rotate", "fruits", "--retire").code == 2
    assert place.tenants("audit").out == "nothing is wrong\n"


def test_a_reader_reads_the_tables_of_its_tenants_and_nothing_else(place: Place) -> None:
    for name in ("apples", "bananas", "cherries"):
        place.fruits(name)
    place.deployed()
    url = str(place.tenants("reader", "dash", "--of", "apples,bananas", "--json").json["url"])
    assert place.database.sql("SELECT count(*) FROM bananas.items", url=url) == [(4,)]
    later = 'op.execute("CREATE TABLE later ()"); op.execute("CREATE VIEW v AS SELECT * FROM items")'
    place.revision("bananas", "0002", later, "0001")
    place.deployed()
    assert place.database.sql("SELECT count(*) FROM bananas.later", url=url) == [(0,)]
    for statement in ("SELECT * FROM cherries.items", "SELECT * FROM bananas.v", "DELETE FROM bananas.items"):
        assert refused(place, url, statement), statement
    assert refused(place, url, "SET default_transaction_read_only = off; DELETE FROM bananas.items")
    assert place.tenants("reader", "dash", "--of", "apples").code == 2
    assert place.tenants("nightly").code == 0
    assert place.tenants("audit").out == "nothing is wrong\n"


def test_extensions_lie_where_all_may_use_them_and_none_may_change_them(place: Place) -> None:
    url = str(place.tenants("create", "fruits", "--json").json["url"])
    assert place.tenants("extension", "fruits", "citext", "--json").json["changed"] is True
    assert place.tenants("extension", "fruits", "citext", "--json").json["changed"] is False
    place.database.sql("CREATE TABLE t (name citext); INSERT INTO t VALUES ('A')", url=url)
    assert place.database.sql("SELECT count(*) FROM t WHERE name = 'a'", url=url) == [(1,)]
    assert refused(place, url, "CREATE TABLE extensions.t ()")
    for name in ("dblink", "postgres_fdw", "file_fdw", "nonsense"):
        assert place.tenants("extension", "fruits", name).code == 2
