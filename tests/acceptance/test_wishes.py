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


def orchard_of_three(place: Place) -> None:
    for name in ("apples", "bananas", "cherries"):
        place.fruits(name)
    place.deployed()


def urls(place: Place, *arguments: str) -> dict[str, str | None]:
    """What `tenants reader dash …` answers, by tenant."""
    done = place.tenants("reader", "dash", *arguments, "--json")
    assert done.code == 0, done.said
    return {login["tenant"]: login["url"] for login in done.json["logins"]}


@pytest.mark.every_server
def test_a_reader_gets_a_login_for_each_tenant_that_reads_that_tenant_and_changes_nothing(place: Place) -> None:
    orchard_of_three(place)
    reads = urls(place, "--of", "apples,bananas")
    assert set(reads) == {"apples", "bananas"} and reads["apples"] and reads["bananas"]
    url = reads["bananas"]
    later = """
        op.execute("CREATE TYPE mood AS ENUM ('good')")
        op.execute("CREATE TABLE later (m mood)")
        op.execute("CREATE VIEW v AS SELECT name FROM items")
        op.execute("CREATE TABLE hidden AS SELECT 1 AS one UNION SELECT 2")
        op.execute("ALTER TABLE hidden ENABLE ROW LEVEL SECURITY")
        op.execute("CREATE POLICY odd ON hidden USING (one = 1)")
    """
    place.revision("bananas", "0002", later, "0001")
    place.deployed()
    for table, rows in {"items": 4, "later": 0, "v": 4, "hidden": 1}.items():
        assert place.database.sql(f"SELECT count(*) FROM {table}", url=url) == [(rows,)], table
    for statement in ("SELECT * FROM cherries.items", "SELECT * FROM apples.items", "DELETE FROM items"):
        assert refused(place, url, statement), statement
    assert refused(place, url, "SET default_transaction_read_only = off; DELETE FROM items")
    assert place.tenants("nightly").code == 0
    assert place.tenants("audit").out == "nothing is wrong\n"


def test_a_reader_that_is_there_keeps_its_password_until_it_is_rotated_or_dropped(place: Place) -> None:
    orchard_of_three(place)
    (first,) = urls(place, "--of", "apples").values()
    second = urls(place, "--of", "apples,bananas")
    assert second["apples"] is None and second["bananas"] and not refused(place, str(first), "TABLE items")
    (third,) = urls(place, "--of", "apples", "--rotate").values()
    assert refused(place, str(first), "SELECT 1") and not refused(place, str(third), "TABLE items")
    done = place.tenants("reader", "dash", "--drop", "--of", "apples", "--json")
    assert done.json == {"reader": "dash", "logins": [], "dropped": ["apples~reader~dash"]}, done.said
    assert refused(place, str(third), "SELECT 1") and not refused(place, str(second["bananas"]), "TABLE items")
    assert place.tenants("reader", "dash", "--drop").code == 0
    assert [role for role in place.database.roles() if "reader" in role] == []
    assert place.tenants("reader", "dash", "--drop").code == 2
    assert place.tenants("reader", "dash").code == 2


def test_a_reader_whose_login_postgresql_would_cut_is_refused(place: Place) -> None:
    place.tenants("create", "a" * 40)
    done = place.tenants("reader", "dash-of-the-boss", "--of", "a" * 40)
    assert done.code == 2 and "64 characters of 63" in done.err and "at most 15 characters" in done.err, done.said
    assert place.tenants("reader", "dash-of-the-bos", "--of", "a" * 40).code == 0


def test_suspend_shuts_readers_out_and_drop_takes_them_along(place: Place) -> None:
    orchard_of_three(place)
    reads = urls(place, "--of", "apples,bananas")
    url = str(reads["apples"])
    with psycopg.connect(url) as session:
        assert place.tenants("suspend", "apples").code == 0
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert refused(place, url, "SELECT 1") and not refused(place, str(reads["bananas"]), "TABLE items")
    assert place.tenants("resume", "apples").code == 0
    assert place.database.sql("SELECT count(*) FROM items", url=url) == [(4,)]
    assert place.tenants("restore", "apples", place.snapshot("apples")).code == 0
    assert place.database.sql("SELECT count(*) FROM items", url=url) == [(4,)]
    assert place.tenants("drop", "apples", "--yes").code == 0
    assert refused(place, url, "SELECT 1")
    assert [role for role in place.database.roles() if "reader" in role] == ["bananas~reader~dash"]
    assert place.database.sql("SELECT role FROM tenants.readers") == [("bananas~reader~dash",)]


def test_a_login_that_reads_several_tenants_goes_on_is_reported_and_is_replaced(place: Place) -> None:
    """An older version made it: a session of it reaches both tenants."""
    orchard_of_three(place)
    place.database.sql("""
        CREATE ROLE "dash~reader" LOGIN NOINHERIT PASSWORD 'old';
        GRANT CONNECT ON DATABASE "db.main" TO "dash~reader";
        ALTER ROLE "dash~reader" IN DATABASE "db.main" SET search_path = apples, bananas;
        INSERT INTO tenants.readers VALUES ('dash~reader', '{apples,bananas}')
    """)
    old = place.database.server.url("db.main", "dash~reader", "old")
    place.database.sql("SET ROLE bananas; CREATE TABLE bananas.later (); CREATE VIEW bananas.v AS SELECT 1 AS one")
    assert place.tenants("apply").code == 0
    assert place.database.sql("SELECT count(*) FROM apples.items, bananas.later", url=old) == [(0,)]
    assert refused(place, old, "SELECT * FROM bananas.v")
    found = [f for f in place.tenants("audit", "--json").json["findings"] if f["rule"] == "reader-shared"]
    assert {(f["severity"], f["tenant"]) for f in found} == {("high", "apples"), ("high", "bananas")}
    assert all("tenants reader dash --of apples,bananas" in f["object"] for f in found)
    done = place.tenants("reader", "dash", "--of", "apples,bananas")
    assert done.code == 0 and "dropped login dash~reader" in done.err, done.said
    assert refused(place, old, "SELECT 1")
    assert [role for role in place.database.roles() if "reader" in role] == [
        "apples~reader~dash",
        "bananas~reader~dash",
    ]
    assert "reader" not in place.tenants("audit").out


def test_extensions_lie_where_all_may_use_them_and_none_may_change_them(place: Place) -> None:
    url = str(place.tenants("create", "fruits", "--json").json["url"])
    assert place.tenants("extension", "fruits", "citext", "--json").json["changed"] is True
    assert place.tenants("extension", "fruits", "citext", "--json").json["changed"] is False
    place.database.sql("CREATE TABLE t (name citext); INSERT INTO t VALUES ('A')", url=url)
    assert place.database.sql("SELECT count(*) FROM t WHERE name = 'a'", url=url) == [(1,)]
    assert refused(place, url, "CREATE TABLE extensions.t ()")
    for name in ("dblink", "postgres_fdw", "file_fdw", "nonsense"):
        assert place.tenants("extension", "fruits", name).code == 2
