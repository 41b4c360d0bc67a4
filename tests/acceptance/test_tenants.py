"""Tenants come and go: create, login, list, show and drop, and what an app can do with the URL it gets."""

from __future__ import annotations

import subprocess
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from psycopg import errors
from support import TENANTS, Place, ending


@pytest.mark.every_server
def test_create_answers_with_a_url_that_works_in_the_schema_and_nowhere_else(place: Place) -> None:
    neighbour = place.tenants("create", "neighbour", "--json").json
    place.database.sql("CREATE TABLE secrets AS SELECT 1 AS one", url=neighbour["url"])
    done = place.tenants("create", "api.example-1.com", "--project", "api", "--json")
    assert done.code == 0, done.said
    answer = done.json
    assert list(answer) == ["tenant", "project", "schema", "role", "login", "url"]
    name = answer["tenant"]
    assert (name, answer["project"]) == ("api.example-1.com", "api")
    assert answer["schema"] == answer["role"] == name
    assert answer["login"] != name and f"//{answer['login']}:" in answer["url"]
    logins = "SELECT rolname FROM pg_roles WHERE rolcanlogin AND oid >= 16384 ORDER BY 1"
    assert place.database.sql(logins) == sorted([(answer["login"],), (neighbour["login"],)])
    assert done.err.count(answer["url"]) == 0

    with psycopg.connect(answer["url"], autocommit=True) as app:
        app.execute("CREATE TABLE items (name text); INSERT INTO items VALUES ('apple'); CREATE TEMP TABLE scratch ()")
        owner = app.execute("SELECT schemaname, tableowner FROM pg_tables WHERE tablename = 'items'").fetchall()
        assert owner == [(name, name)]
        assert app.execute("SELECT current_user::text, current_schema()::text").fetchone() == (name, name)
        assert app.execute("SELECT name FROM tenants.tenants").fetchall() == [(name,)]
        for statement in (
            "SELECT * FROM neighbour.secrets",
            "CREATE TABLE neighbour.mine ()",
            "CREATE TABLE public.mine ()",
            "CREATE SCHEMA mine",
            "SET ROLE neighbour",
            "SELECT * FROM tenants.logins",
            "DELETE FROM tenants.tenants",
            "CREATE ROLE mine",
            "SELECT pg_read_file('/etc/hostname')",
        ):
            with pytest.raises(errors.InsufficientPrivilege):
                app.execute(statement.encode())
        app.execute("SET ROLE NONE")
        with pytest.raises(errors.InsufficientPrivilege):
            app.execute('SELECT * FROM "api.example-1.com".items')
    for database in ("postgres", "template1"):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(answer["url"].rpartition("/")[0] + f"/{database}")


def test_create_for_people_prints_the_url_alone_on_standard_output(place: Place) -> None:
    done = place.tenants("create", "fruits")
    assert done.code == 0, done.said
    [line] = done.out.splitlines()
    assert place.database.sql("SELECT 1", url=line.removeprefix("DATABASE_URL=")) == [(1,)]


def test_second_create_changes_nothing_and_says_so(place: Place) -> None:
    first = place.tenants("create", "fruits", "--json").json
    written, roles = place.database.written(), place.database.roles()
    second = place.tenants("create", "fruits")
    assert second.code == 0, second.said
    assert "nothing was changed" in second.out and "tenants login fruits" in second.out
    as_json = place.tenants("create", "fruits", "--json")
    assert as_json.code == 0, as_json.said
    assert as_json.json == first | {"url": None}
    other = place.tenants("create", "fruits", "--project", "vegetables")
    assert other.code == 2 and "its project is fruits" in other.err, other.said
    assert (place.database.written(), place.database.roles()) == (written, roles)
    assert place.database.sql("SELECT 1", url=first["url"]) == [(1,)]


@pytest.mark.parametrize("what", ["role", "schema", "database"])
def test_name_that_something_else_bears_is_refused_and_left_as_it_is(place: Place, what: str) -> None:
    make = {
        "role": "CREATE ROLE fruits LOGIN PASSWORD 'theirs'",
        "schema": "CREATE SCHEMA fruits; CREATE TABLE fruits.items AS SELECT 'theirs' AS name",
        "database": "CREATE DATABASE fruits",
    }
    place.database.sql(make[what])
    try:
        written = place.database.written()
        done = place.tenants("create", "fruits")
        assert done.code == 2, done.said
        assert f"a {what} named 'fruits' exists already" in done.err and "not taken over" in done.err
        place.fruits()
        place.fruits("vegetables")
        pushed = place.tenants("plan", "--json")
        assert [p["action"] for p in pushed.json["plans"][:2]] == ["stop", "create"], pushed.said
        assert place.database.written() == written, "what was refused has written something"
        pushed = place.tenants("deploy", "--json")
        assert pushed.code == 2, pushed.said
        assert [d["outcome"] for d in pushed.json["deploys"]] == ["failed", "migrated"]
        if what == "role":
            assert place.database.sql("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'fruits'") == [(True,)]
            assert "fruits" not in place.database.schemas()
        else:
            assert "fruits" not in place.database.roles()
        if what == "schema":
            tables = "SELECT tablename, tableowner FROM pg_tables WHERE schemaname = 'fruits'"
            assert place.database.sql(tables) == [("items", "postgres")]
        assert [t["tenant"] for t in place.tenants("list", "--json").json["tenants"]] == ["vegetables"]
    finally:
        place.database.sql("DROP DATABASE IF EXISTS fruits")


def test_stranger_who_came_in_through_public_keeps_what_it_had_and_the_next_one_has_nothing(place: Place) -> None:
    database = place.database
    for name in ("postgres", "template1"):
        database.sql(f"GRANT CONNECT, TEMPORARY ON DATABASE {name} TO PUBLIC")
    database.sql("CREATE ROLE grafana LOGIN PASSWORD 'theirs'")
    database.sql("CREATE TABLE public.visits AS SELECT 1 AS one; GRANT SELECT ON public.visits TO grafana")
    done = place.tenants("create", "fruits", "--json")
    assert done.code == 0, done.said
    assert "grafana" in done.err
    for name in ("db.main", "postgres", "template1"):
        assert database.sql("SELECT current_user::text", url=url(place, name, "grafana")) == [("grafana",)]
    own = url(place, "db.main", "grafana")
    assert database.sql("SELECT one FROM public.visits", url=own) == [(1,)]
    assert database.sql("CREATE TEMPORARY TABLE scratch AS SELECT 1; SELECT * FROM scratch", url=own) == [(1,)]

    database.sql("CREATE ROLE newcomer LOGIN PASSWORD 'theirs'")
    assert place.tenants("create", "vegetables").code == 0
    for name in ("db.main", "postgres", "template1"):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(url(place, name, "newcomer"))
    grants = """SELECT datname FROM pg_database d, aclexplode(coalesce(datacl, acldefault('d', datdba))) a
                WHERE a.grantee = 0 AND datname IN ('db.main', 'postgres', 'template1')"""
    assert database.sql(grants) == []


def test_further_login_works_beside_the_first_and_only_for_a_tenant_that_is_there(place: Place) -> None:
    first = place.tenants("create", "fruits", "--json").json
    done = place.tenants("login", "fruits", "--json")
    assert done.code == 0, done.said
    second = done.json
    assert list(second) == list(first)
    assert second["login"] != first["login"] and second["role"] == first["role"] == "fruits"
    place.database.sql("CREATE TABLE items (name text)", url=first["url"])
    place.database.sql("INSERT INTO items VALUES ('apple'); ALTER TABLE items ADD colour text", url=second["url"])
    assert place.database.sql("SELECT name FROM items", url=first["url"]) == [("apple",)]
    passwords = "SELECT rolpassword FROM pg_authid WHERE rolname LIKE 'fruits~%'"
    assert all(found[0].startswith("SCRAM-SHA-256$") for found in place.database.sql(passwords))
    log = place.database.server.log()
    for answer in (first, second):
        assert answer["url"].partition("@")[0].rpartition(":")[2] not in log

    refused = place.tenants("login", "vegetables")
    assert refused.code == 2 and "tenants create vegetables" in refused.err, refused.said


def test_list_and_show_tell_where_each_tenant_is(place: Place) -> None:
    empty = place.tenants("list", "--json")
    assert (empty.code, empty.json) == (0, {"tenants": []})
    place.fruits()
    place.deployed()
    assert place.tenants("create", "api", "--project", "backend").code == 0
    place.colour()
    place.deployed()
    tenants = place.tenants("list", "--json").json["tenants"]
    assert [(t["tenant"], t["project"], t["revision"]) for t in tenants] == [
        ("api", "backend", None),
        ("fruits", "fruits", "0002"),
    ]
    login = place.tenants("login", "fruits", "--json").json["login"]
    shown = place.tenants("show", "fruits", "--json").json
    assert shown["logins"] == [login]
    assert (shown["schema"], shown["role"], shown["revision"]) == ("fruits", "fruits", "0002")
    assert [(d["from_heads"], d["to_heads"], d["outcome"]) for d in shown["deploys"]] == [
        (["0001"], ["0002"], "migrated"),
        ([], ["0001"], "migrated"),
    ]
    for command in (("list",), ("show", "fruits")):
        for_people = place.tenants(*command)
        assert for_people.code == 0 and "0002" in for_people.out, for_people.said
    missing = place.tenants("show", "vegetables")
    assert missing.code == 2 and "tenants: api, fruits" in missing.err, missing.said


def test_drop_without_a_terminal_needs_yes(place: Place) -> None:
    place.fruits()
    place.deployed()
    before = place.database.dump("fruits")
    done = place.tenants("drop", "fruits")
    assert done.code == 2, done.said
    assert "tenants drop fruits --yes" in done.err.splitlines()[-1]
    assert place.database.dump("fruits") == before
    assert place.stored() == []


def test_drop_without_a_place_for_the_last_snapshot_drops_nothing(place: Place) -> None:
    place.fruits()
    place.deployed()
    before = place.database.dump("fruits")
    none: dict[str, str | None] = {"TENANTS_STORE": None}
    done = place.tenants("drop", "fruits", "--yes", **none)
    assert done.code in (2, 5), done.said
    assert "fruits was not dropped" in done.err
    assert place.database.dump("fruits") == before
    place.nothing_left()
    told = place.tenants("drop", "fruits", "--yes", "--no-snapshot", **none)
    assert told.code == 0, told.said
    assert "Undo" not in told.said
    assert place.database.schemas() == ["public", "tenants"]


@pytest.mark.every_server
@pytest.mark.parametrize("name", ["fruits", "api.example-1.com"])
def test_drop_takes_a_last_snapshot_and_its_undo_works_as_it_is_printed(place: Place, name: str) -> None:
    place.fruits(name)
    place.deployed()
    old = place.url_of(name)
    place.database.sql("INSERT INTO items VALUES ('precious')", url=old)
    before = place.database.dump(name)
    with psycopg.connect(old, autocommit=True) as app:
        done = place.tenants("drop", name, "--yes")
        assert done.code == 0, done.said
        with pytest.raises(psycopg.OperationalError):
            app.execute("SELECT 1")
    assert place.database.schemas() == ["public", "tenants"]
    assert place.database.roles() == ["tenants~members"]
    assert place.tenants("list", "--json").json == {"tenants": []}
    [snapshot] = place.snapshots()
    place.nothing_left()

    undo = done.out.partition("Undo: ")[2].strip()
    assert snapshot in undo
    environment = {**place.environment, "PATH": f"{Path(TENANTS).parent}:{place.environment['PATH']}"}
    typed = subprocess.run(["sh", "-c", undo], cwd=place.folder, env=environment, capture_output=True, text=True)
    assert typed.returncode == 0, typed.stderr
    assert place.database.dump(name) == before
    [new] = [line.partition("=")[2] for line in typed.stdout.splitlines() if line.startswith("DATABASE_URL=")]
    assert place.database.sql("SELECT name FROM items WHERE name = 'precious'", url=new) == [("precious",)]
    up_to_date = place.tenants("deploy", "--json")
    assert [d["outcome"] for d in up_to_date.json["deploys"]] == ["up-to-date"], up_to_date.said
    place.nothing_left()


def test_tenant_with_its_own_url_can_neither_make_nor_drop_anybody(place: Place) -> None:
    own = place.tenants("create", "fruits", "--json").json["url"]
    written = place.database.written()
    for command in (("create", "api"), ("login", "fruits"), ("drop", "fruits", "--yes"), ("nightly",)):
        done = place.tenants(*command, DATABASE_URL=own)
        assert done.code == 2, done.said
        assert "needs the admin's URL" in done.err
        assert f"tenants {command[0]}" in done.err.splitlines()[-1], done.said
    assert place.database.written() == written


def url(place: Place, database: str, user: str) -> str:
    return place.database.server.url(database, user, "theirs")


def test_what_an_app_writes_until_it_is_dropped_is_in_the_last_snapshot(place: Place) -> None:
    place.fruits()
    place.deployed()
    url, written = place.url_of("fruits"), 0
    with ending(place.start("drop", "fruits", "--yes", "--json")) as dropping:
        try:
            with psycopg.connect(url, autocommit=True) as app:
                for number in range(1_000_000):
                    app.execute("INSERT INTO items (name) VALUES (%s)", [f"fruit {number}"])
                    written = number + 1
        except psycopg.Error:
            pass  # shut out
        _, err = dropping.communicate(timeout=120)
    assert dropping.returncode == 0, err
    place.tenants("create", "fruits")
    assert place.tenants("restore", "fruits").code == 0
    assert place.database.sql("SELECT count(*) >= %s FROM fruits.items", [4 + written]) == [(True,)]


def test_a_drop_that_cannot_keep_what_is_there_lets_the_app_in_again(place: Place) -> None:
    place.fruits()
    place.deployed()
    url = place.url_of("fruits")
    done = place.tenants("drop", "fruits", "--yes", TENANTS_STORE=None)
    assert done.code == 2 and "was not dropped" in done.err, done.said
    assert place.database.sql("SELECT count(*) FROM items", url=url) == [(4,)]


def test_a_drop_that_fails_on_the_way_lets_the_app_in_again_and_says_so(place: Place) -> None:
    place.fruits()
    place.deployed()
    url = place.url_of("fruits")
    with psycopg.connect(place.database.url) as holding:
        holding.execute("LOCK TABLE fruits.items IN ACCESS SHARE MODE")
        done = place.tenants("drop", "fruits", "--yes", "--no-snapshot")
    assert done.code == 1 and "fruits was not dropped" in done.err, done.said
    assert place.database.sql("SELECT count(*) FROM items", url=url) == [(4,)]


def test_a_reader_that_holds_a_table_does_not_keep_it(place: Place) -> None:
    place.fruits()
    place.deployed()
    reader = place.tenants("reader", "dash", "--of", "fruits", "--json").json["logins"][0]["url"]
    with closing(psycopg.connect(reader)) as holding:
        holding.execute("SELECT * FROM fruits.items")
        done = place.tenants("drop", "fruits", "--yes")
        assert done.code == 0, done.said
