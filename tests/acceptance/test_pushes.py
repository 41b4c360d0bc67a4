"""Pushes, as Dokku makes them: `tenants deploy` on real servers, in both modes."""

from __future__ import annotations

import hashlib
import json
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import psycopg
import pytest
from support import TENANTS, Bucket, Database, Done, Place, ending, until

SLOW = 'op.add_column("items", sa.Column("colour", sa.Text))\nop.execute("SELECT pg_sleep(600)")'
"""A second revision that does not end within the time of a test."""

BROKEN = """
op.add_column("items", sa.Column("colour", sa.Text))
op.execute("CREATE TABLE rest AS SELECT * FROM items; DELETE FROM items; CREATE TYPE mood AS ENUM ('good')")
op.execute("ALTER TABLE rest ALTER colour SET NOT NULL")
"""
"""A second revision that does a lot before it fails."""


@pytest.mark.every_server
def test_first_push_on_an_empty_server_makes_schema_owner_and_tables(place: Place) -> None:
    place.fruits()
    done = place.tenants("deploy", "--json")
    assert done.code == 0, done.said
    assert done.json["deploys"][0] | {"seconds": 0} == {
        "tenant": "fruits",
        "from": None,
        "to": "0001",
        "applied": ["0001"],
        "snapshot": None,
        "outcome": "migrated",
        "seconds": 0,
        "incompatible": None,
        "error": None,
    }
    assert place.database.roles() == ["fruits", "tenants~members"]
    owners = place.database.sql("SELECT tablename, tableowner FROM pg_tables WHERE schemaname = 'fruits' ORDER BY 1")
    assert owners == [("alembic_version", "fruits"), ("items", "fruits")]
    assert place.snapshots() == []
    place.nothing_left()


def test_first_push_names_the_command_that_gives_the_app_its_login(place: Place) -> None:
    place.fruits()
    done = place.tenants("deploy")
    assert done.code == 0, done.said
    assert "tenants login fruits" in done.out.splitlines()[-1]
    url = place.url_of("fruits")
    assert place.database.sql("SELECT count(*) FROM items", url=url) == [(4,)]


def test_push_of_no_project_before_there_is_any_tenant_succeeds_and_says_what_is_next(place: Place) -> None:
    done = place.tenants("deploy")
    assert done.code == 0, done.said
    assert "migrations/" in done.said and "tenants create" in done.said
    assert place.database.schemas() == ["public"] and place.database.roles() == []
    as_json = place.tenants("deploy", "--json")
    assert (as_json.code, as_json.json) == (0, {"deploys": []})


@pytest.mark.every_server
def test_one_pending_revision_is_snapshotted_migrated_proven_and_recorded(place: Place) -> None:
    place.fruits()
    place.deployed()
    place.colour()
    done = place.tenants("deploy", "--json", GIT_REV="c0ffee0123456789c0ffee0123456789c0ffee01")
    assert done.code == 0, done.said
    [deploy] = done.json["deploys"]
    assert isinstance(deploy["seconds"], float)
    assert deploy | {"seconds": 0, "snapshot": ""} == {
        "tenant": "fruits",
        "from": "0001",
        "to": "0002",
        "applied": ["0002"],
        "snapshot": "",
        "outcome": "migrated",
        "seconds": 0,
        "incompatible": None,
        "error": None,
    }
    stages = [line.split()[1] for line in done.err.splitlines() if line.startswith("fruits ")]
    assert stages == ["plan", "snapshot", "migrate", "prove"]

    assert place.snapshots() == [deploy["snapshot"]]
    archive, manifest, _ = sorted(place.store.rglob("*.*"), key=lambda path: (".ledger" in path.name, path.name))
    said = json.loads(manifest.read_text())
    assert said["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert said["size"] == archive.stat().st_size
    assert (said["tenant"], said["heads"], said["reason"]) == ("fruits", ["0001"], "deploy")
    assert said["verified_at"] >= said["created_at"]

    recorded = place.database.sql(
        """SELECT tenant, kind, from_heads, to_heads, applied, git_rev, snapshot, outcome, error
           FROM tenants.deploys ORDER BY recorded_at"""
    )
    commit = "c0ffee0123456789c0ffee0123456789c0ffee01"
    assert recorded == [
        ("fruits", "deploy", [], ["0001"], ["0001"], None, None, "migrated", None),
        ("fruits", "deploy", ["0001"], ["0002"], ["0002"], commit, deploy["snapshot"], "migrated", None),
    ]
    place.nothing_left()


def test_way_back_that_a_push_prints_works_as_it_is_printed(place: Place) -> None:
    place.fruits()
    place.deployed()
    before = place.database.dump("fruits")
    place.colour()
    done = place.tenants("deploy")
    assert done.code == 0, done.said
    typed(place, done.out.partition("Undo: ")[2].strip() + " --yes")
    assert place.database.dump("fruits") == before
    place.nothing_left()


@pytest.mark.parametrize("mode", ["admin", "tenant"])
def test_push_with_nothing_pending_takes_no_snapshot_and_writes_nothing_at_all(place: Place, mode: str) -> None:
    place.fruits()
    place.deployed()
    environment = {"DATABASE_URL": place.url_of("fruits")} if mode == "tenant" else {}
    place.colour()
    place.deployed()
    stored = {name: (place.store / name).stat().st_mtime_ns for name in place.stored()}
    written = place.database.written()
    done = place.tenants("deploy", "--json", **environment)
    assert place.database.written() == written
    assert done.code == 0, done.said
    [deploy] = done.json["deploys"]
    assert (deploy["outcome"], deploy["from"], deploy["to"]) == ("up-to-date", "0002", "0002")
    assert (deploy["applied"], deploy["snapshot"], deploy["error"]) == ([], None, None)
    assert {name: (place.store / name).stat().st_mtime_ns for name in place.stored()} == stored
    place.nothing_left()


@pytest.mark.parametrize("layout", ["", "versions", "fruits"], ids=["undivided", "versions", "divided"])
def test_tenant_deploys_itself_with_its_own_url(place: Place, layout: str) -> None:
    created = place.tenants("create", "fruits", "--json")
    own = {"DATABASE_URL": created.json["url"], "POSTGRES_PASSWORD": None}
    place.fruits(layout)
    if layout == "fruits":
        place.revision("others", "0001", 'raise RuntimeError("this is none of our business")')
    first = place.tenants("deploy", "--json", **own)
    assert first.code == 0, first.said
    assert [(d["tenant"], d["to"], d["snapshot"]) for d in first.json["deploys"]] == [("fruits", "0001", None)]
    place.colour(layout)
    second = place.tenants("deploy", "--json", **own)
    assert second.code == 0, second.said
    [deploy] = second.json["deploys"]
    assert (deploy["outcome"], deploy["from"], deploy["to"]) == ("migrated", "0001", "0002")
    assert place.snapshots() == [deploy["snapshot"]]
    owners = place.database.sql("SELECT tablename, tableowner FROM pg_tables WHERE schemaname = 'fruits' ORDER BY 1")
    assert owners == [("alembic_version", "fruits"), ("items", "fruits")]

    before = place.database.dump("fruits")
    place.revision(layout, "0003", BROKEN.replace("colour", "size"), "0002")
    third = place.tenants("deploy", **own)
    assert third.code == 6, third.said
    assert place.database.dump("fruits") == before
    kept = place.database.sql("SELECT outcome, from_heads FROM tenants.deploys ORDER BY recorded_at DESC LIMIT 1")
    assert kept == [("failed", ["0002"])]
    place.nothing_left()


def test_second_of_three_projects_fails_so_the_third_is_not_tried(place: Place) -> None:
    for project in ("apples", "berries", "cherries"):
        place.fruits(project)
    place.deployed("berries", "cherries")
    before = [place.database.dump(name) for name in ("berries", "cherries")]
    place.revision("berries", "0002", BROKEN, "0001", "rest")
    place.colour("cherries")

    done = place.tenants("deploy")
    assert done.code == 6, done.said
    assert "apples   migrated to 0001" in done.out
    assert "cherries   not tried, because berries failed; it is at 0001" in done.out
    told_in_the_end(done, "0002_rest.py", "untouched, at 0001", "mend 0002_rest.py")
    assert [place.database.dump(name) for name in ("berries", "cherries")] == before

    again = place.tenants("deploy", "--json")
    assert again.code == 6, again.said
    outcomes = {d["tenant"]: d["outcome"] for d in again.json["deploys"]}
    assert outcomes == {"apples": "up-to-date", "berries": "failed", "cherries": "skipped"}
    texts = {d["tenant"]: d["error"] for d in again.json["deploys"]}
    assert texts["apples"] is None
    assert "contains null values" in texts["berries"]
    assert texts["cherries"] == "not tried, because berries failed"
    assert [place.database.dump(name) for name in ("berries", "cherries")] == before
    place.nothing_left()


@pytest.mark.every_server
def test_push_that_fails_leaves_the_schema_byte_for_byte_as_it_was(place: Place) -> None:
    place.fruits()
    place.deployed()
    before = place.database.dump("fruits")
    place.colour()
    place.revision("fruits", "0003", BROKEN.replace("colour", "size"), "0002", "sizes")
    done = place.tenants("deploy")
    assert done.code == 6, done.said
    assert place.database.dump("fruits") == before
    assert 'column "size" of relation "rest" contains null values' in done.err
    told_in_the_end(done, "0003_sizes.py:", "untouched, at 0001", "mend 0003_sizes.py:")
    assert len(place.snapshots()) == 1
    place.nothing_left()

    place.revision("fruits", "0003", "pass", "0002", "sizes")
    place.deployed()
    assert place.database.sql("SELECT version_num FROM fruits.alembic_version") == [("0003",)]
    place.nothing_left()


def test_first_push_that_fails_leaves_an_empty_schema_and_the_mended_one_goes_through(place: Place) -> None:
    place.revision("fruits", "0001", 'op.execute("CREATE TABLE items (name text)")\nop.execute("nonsense")')
    done = place.tenants("deploy")
    assert done.code == 6, done.said
    told_in_the_end(done, "0001_step.py:", "untouched, at nothing yet", "mend 0001_step.py:")
    assert place.database.sql("SELECT relname FROM pg_class WHERE relnamespace = 'fruits'::regnamespace") == []
    place.nothing_left()
    place.revision("fruits", "0001", 'op.execute("CREATE TABLE items (name text)")')
    place.deployed()
    assert place.snapshots() == []
    place.nothing_left()


@pytest.mark.every_server
def test_revision_with_an_autocommit_block_builds_its_index_concurrently(place: Place) -> None:
    place.fruits()
    place.deployed()
    body = """
        op.add_column("items", sa.Column("colour", sa.Text))
        with op.get_context().autocommit_block():
            op.execute("CREATE INDEX CONCURRENTLY by_colour ON items (colour)")
        op.execute("UPDATE items SET colour = 'red'")
    """
    place.revision("fruits", "0002", body, "0001")
    done = place.tenants("deploy", "--json")
    assert done.code == 0, done.said
    assert done.json["deploys"][0]["applied"] == ["0002"]
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'fruits.by_colour'::regclass"
    assert place.database.sql(valid) == [(True,)]
    assert place.database.sql("SELECT DISTINCT colour FROM fruits.items") == [("red",)]
    place.nothing_left()


def test_what_ran_in_an_autocommit_block_of_a_failed_revision_is_told_one_by_one(place: Place) -> None:
    place.fruits()
    place.deployed()
    body = """
        with op.get_context().autocommit_block():
            op.execute("CREATE INDEX CONCURRENTLY by_length ON items (length(name))")
            op.execute("CREATE TABLE notes (text text)")
        op.execute("CREATE TABLE never_there (name text)")
        op.execute("INSERT INTO items VALUES ('apple')")
    """
    place.revision("fruits", "0002", body, "0001", "notes")
    done = place.tenants("deploy")
    assert done.code == 6, done.said
    relations = "SELECT relname FROM pg_class WHERE relnamespace = 'fruits'::regnamespace AND relkind IN ('r', 'i')"
    found = {row[0] for row in place.database.sql(relations)}
    assert found == {"alembic_version", "alembic_version_pkc", "items", "items_pkey", "by_length", "notes"}
    stays = [line.partition("stays: ")[2] for line in done.err.splitlines() if "stays: " in line]
    assert stays == [
        "CREATE INDEX CONCURRENTLY by_length ON items (length(name))",
        "CREATE TABLE notes (text text)",
    ]
    told_in_the_end(done, "0002_notes.py:", "at 0001", "mend 0002_notes.py:")
    [snapshot] = place.snapshots()
    assert f"tenants restore fruits {snapshot}" in done.err
    place.nothing_left()


def test_project_with_two_tenants_migrates_both_and_makes_none_of_its_own_name(place: Place) -> None:
    for name in ("shop-a", "shop-b"):
        assert place.tenants("create", name, "--project", "shop").code == 0
    place.fruits("shop")
    done = place.tenants("deploy", "--json")
    assert done.code == 0, done.said
    assert [(d["tenant"], d["to"]) for d in done.json["deploys"]] == [("shop-a", "0001"), ("shop-b", "0001")]
    assert "shop" not in place.database.schemas()
    place.database.sql('DELETE FROM "shop-a".items')
    assert place.database.sql('SELECT count(*) FROM "shop-b".items') == [(4,)]
    place.colour("shop")
    place.deployed("shop-b")
    revisions = 'SELECT (SELECT version_num FROM "shop-a".alembic_version), version_num FROM "shop-b".alembic_version'
    assert place.database.sql(revisions) == [("0001", "0002")]
    place.nothing_left()


@pytest.mark.every_server
def test_rows_that_the_app_writes_while_pushes_fail_and_succeed_are_never_lost(place: Place) -> None:
    place.fruits()
    place.deployed()
    with writing(place.url_of("fruits")) as acknowledged:
        backfill = """
            op.add_column("items", sa.Column("colour", sa.Text, server_default="green"))
            op.execute("SELECT pg_sleep(0.3)")
            op.execute("UPDATE items SET colour = 'red' WHERE name LIKE 'a%%'")
        """
        place.revision("fruits", "0002", backfill + '    op.execute("nonsense")', "0001")
        assert place.tenants("deploy").code == 6
        place.revision("fruits", "0002", backfill, "0001")
        count = len(acknowledged)
        place.deployed()
        assert len(acknowledged) > count, "the app wrote nothing meanwhile"
    there = {row[0] for row in place.database.sql("SELECT name FROM fruits.items")}
    assert set(acknowledged) - there == set()
    assert place.database.sql("SELECT version_num FROM fruits.alembic_version") == [("0002",)]


def test_revision_that_waits_for_a_lock_of_the_app_is_tried_again_until_it_gets_it(place: Place) -> None:
    place.fruits()
    place.deployed()
    place.colour()
    lines = []
    with psycopg.connect(place.url_of("fruits")) as app:
        app.execute("SELECT * FROM items")
        with ending(place.start("deploy")) as deploy:
            assert deploy.stderr
            for line in deploy.stderr:
                lines.append(line)
                if "trying again" in line:
                    app.commit()
        assert deploy.returncode == 0, lines
        assert app.execute("SELECT count(colour) FROM items").fetchone() == (0,)
    assert [line for line in lines if "trying again" in line and "ALTER TABLE items" in line]
    place.nothing_left()


@pytest.mark.parametrize("mode", ["admin", "tenant"])
def test_schema_with_rows_is_never_migrated_without_a_snapshot_unless_told_so(place: Place, mode: str) -> None:
    place.fruits()
    none: dict[str, str | None] = {"TENANTS_STORE": None}
    first = place.tenants("deploy", **none)
    assert first.code == 0, first.said  # there is nothing to lose yet
    if mode == "tenant":
        place.environment["DATABASE_URL"] = place.url_of("fruits")
    before = place.database.dump("fruits")
    place.colour()
    file = place.folder / "file"
    file.write_text("no folder")
    stores: list[str | None] = [None, f"file://{file}/store"]
    for store in stores:
        done = place.tenants("deploy", TENANTS_STORE=store)
        assert done.code == 5, done.said
        assert place.database.dump("fruits") == before
        told_in_the_end(done, "TENANTS_STORE" if store is None else str(file), "untouched, at 0001", "TENANTS_STORE")
        place.nothing_left()
    done = place.tenants("deploy", "--no-snapshot", "--json", **none)
    assert done.code == 0, done.said
    assert (done.json["deploys"][0]["to"], done.json["deploys"][0]["snapshot"]) == ("0002", None)
    place.nothing_left()


def test_bucket_that_is_not_there_stops_a_push_before_the_schema_is_touched(place: Place, bucket: Bucket) -> None:
    place.fruits()
    place.deployed()
    before = place.database.dump("fruits")
    place.colour()
    elsewhere = {**bucket.environment, "TENANTS_STORE": f"s3://{bucket.name}-elsewhere/backups"}
    done = place.tenants("deploy", **elsewhere)
    assert done.code == 5, done.said
    assert place.database.dump("fruits") == before
    told_in_the_end(done, f"{bucket.name}-elsewhere", "untouched, at 0001", "TENANTS_STORE")
    place.nothing_left()


def test_tables_that_were_there_before_the_first_migration_are_snapshotted(place: Place) -> None:
    created = place.tenants("create", "fruits", "--json")
    place.database.sql("CREATE TABLE notes AS SELECT 'precious' AS text", url=created.json["url"])
    place.fruits()
    done = place.tenants("deploy", "--json")
    assert done.code == 0, done.said
    assert place.snapshots() == [done.json["deploys"][0]["snapshot"]]
    place.nothing_left()


@pytest.mark.parametrize("loss", ["emptied", "gone", "server"])
def test_tenant_whose_tables_have_vanished_is_not_migrated_from_the_beginning(place: Place, loss: str) -> None:
    place.fruits()
    place.deployed()
    assert place.tenants("snapshot", "fruits").code == 0
    before = place.database.dump("fruits")
    lose(place.database, loss)
    done = place.tenants("deploy")
    assert done.code == 6, done.said
    back = "tenants recover" if loss == "server" else "tenants restore fruits"
    told_in_the_end(done, "fruits", "nothing was changed", back)
    assert "--from-scratch" in done.err
    where = "relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname = 'fruits')"
    assert place.database.sql(f"SELECT relname FROM pg_class WHERE {where}") == []
    place.nothing_left()

    for _ in range(3):  # what stands behind `Next:` leads back, be it in several steps
        step = next(line for line in reversed(done.err.splitlines()) if line.startswith("Next:"))
        done = Done(*run(place, step.removeprefix("Next:").partition("   (or")[0]))
        if done.code == 0 and ("restore" in step or "recover" in step):
            break
    assert place.database.dump("fruits") == before, done.said
    place.nothing_left()


@pytest.mark.parametrize("loss", ["emptied", "gone", "server"])
def test_tenant_whose_tables_have_vanished_begins_anew_when_told_so(place: Place, loss: str) -> None:
    place.fruits()
    place.deployed()
    assert place.tenants("snapshot", "fruits").code == 0
    kept = place.stored()
    lose(place.database, loss)
    done = place.tenants("deploy", "fruits", "--from-scratch", "--json")
    assert done.code == 0, done.said
    assert (done.json["deploys"][0]["from"], done.json["deploys"][0]["to"]) == (None, "0001")
    assert place.database.sql("SELECT count(*) FROM fruits.items") == [(4,)]
    assert place.stored() == kept
    place.nothing_left()


def test_eight_pushes_at_once_migrate_once(place: Place) -> None:
    place.fruits()
    place.deployed()
    place.revision("fruits", "0002", "op.execute(\"INSERT INTO items VALUES ('once')\")", "0001")
    pushes = [place.start("deploy", "--json") for _ in range(8)]
    done = []
    for push in pushes:
        out, err = push.communicate(timeout=120)
        done.append(Done(push.returncode, out, err))
    assert {d.code for d in done} == {0}, [d.said for d in done]
    outcomes = sorted(d.json["deploys"][0]["outcome"] for d in done)
    assert outcomes == ["migrated", *["up-to-date"] * 7]
    assert place.database.sql("SELECT count(*) FROM tenants.deploys WHERE to_heads = '{0002}'") == [(1,)]
    assert len(place.snapshots()) == 1
    place.nothing_left()


def test_eight_first_pushes_at_once_make_one_tenant(place: Place) -> None:
    place.fruits()
    pushes = [place.start("deploy", "--json") for _ in range(8)]
    done = []
    for push in pushes:
        out, err = push.communicate(timeout=120)
        done.append(Done(push.returncode, out, err))
    assert {d.code for d in done} == {0}, [d.said for d in done]
    assert sorted(d.json["deploys"][0]["outcome"] for d in done) == ["migrated", *["up-to-date"] * 7]
    assert place.database.roles() == ["fruits", "tenants~members"]
    place.nothing_left()


@pytest.mark.parametrize("mode", ["admin", "tenant"])
def test_push_meets_another_one_and_names_it_and_sigterm_ends_that_without_a_trace(place: Place, mode: str) -> None:
    place.fruits()
    place.deployed()
    if mode == "tenant":
        place.environment["DATABASE_URL"] = place.url_of("fruits")
    before = place.database.dump("fruits")
    temporary = place.folder / "tmp"
    temporary.mkdir()
    place.revision("fruits", "0002", SLOW, "0001")
    with ending(place.start("deploy", TMPDIR=str(temporary))) as slow:
        until(lambda: asleep(place.database), "the revision runs")
        blocked = place.tenants("deploy", "--wait", "0", "--json")
        slow.send_signal(signal.SIGTERM)
        _, err = slow.communicate(timeout=60)
    assert blocked.code == 4, blocked.said
    holder = blocked.json["deploys"][0]
    assert holder["outcome"] == "failed"
    assert f"/{slow.pid}" in holder["error"] and "deploy, since" in holder["error"]
    assert slow.returncode == 143, err
    assert list(temporary.iterdir()) == []
    until(lambda: not asleep(place.database), "its session ends")
    assert place.database.dump("fruits") == before
    place.nothing_left()

    place.colour()
    (place.migrations / "fruits" / "0002_step.py").unlink()
    place.deployed()
    place.nothing_left()


def test_lock_that_a_stranger_holds_is_told_with_the_way_to_end_it(place: Place) -> None:
    place.fruits()
    place.deployed()
    place.revision("fruits", "0002", SLOW, "0001")
    with ending(place.start("deploy")) as slow:
        until(lambda: asleep(place.database), "the revision runs")
        locks = """SELECT (l.classid::bigint << 32) | l.objid::bigint FROM pg_locks l
                   JOIN pg_stat_activity a USING (pid)
                   WHERE l.locktype = 'advisory' AND a.application_name LIKE 'tenants deploy, since%'"""
        [(key,)] = place.database.sql(locks)
        slow.terminate()
        slow.communicate(timeout=60)
    with psycopg.connect(place.url_of("fruits"), autocommit=True) as stranger:
        stranger.execute("SELECT pg_advisory_lock(%s)", [key])
        done = place.tenants("deploy", "--wait", "0.1")
        assert done.code == 4, done.said
        assert f"pg_terminate_backend({stranger.info.backend_pid})" in done.err
    told_in_the_end(done, "fruits", "untouched, at 0001", "push again")


@pytest.mark.every_server
@pytest.mark.parametrize("mode", ["admin", "tenant"])
def test_push_that_was_killed_is_cleaned_up_by_the_next_one(place: Place, mode: str) -> None:
    place.fruits()
    place.deployed()
    if mode == "tenant":
        place.environment["DATABASE_URL"] = place.url_of("fruits")
    temporary = place.folder / "tmp"
    temporary.mkdir()
    place.environment["TMPDIR"] = str(temporary)
    slow = place.revision("fruits", "0002", SLOW, "0001")
    with ending(place.start("deploy")) as killed:
        until(lambda: asleep(place.database), "the revision runs")
        killed.kill()
        killed.communicate(timeout=60)
    slow.unlink()
    place.colour()
    done = place.tenants("deploy", "--json")
    assert done.code == 0, done.said
    assert done.json["deploys"][0]["outcome"] == "migrated"
    until(lambda: not asleep(place.database), "the session of the killed run ends")
    place.nothing_left()
    assert list(temporary.iterdir()) == []


def told_in_the_end(done: Done, what: str, state: str, following: str) -> None:
    """The last lines say what happened, what state the data is in, and what to do next, in this order."""
    lines = done.err.rstrip().splitlines()
    data = max(i for i, line in enumerate(lines) if line.startswith("Data:"))
    assert what in "\n".join(lines[:data]), done.err
    assert state in "\n".join(lines[data:-1]), done.err
    assert lines[-1].startswith("Next:") and following in lines[-1], done.err


def run(place: Place, line: str) -> tuple[int, str, str]:
    """What a shell does with the line."""
    environment = {**place.environment, "PATH": f"{Path(TENANTS).parent}:{place.environment['PATH']}"}
    done = subprocess.run(["sh", "-c", line], cwd=place.folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def typed(place: Place, line: str) -> None:
    """A line that was printed, typed as it stands, works."""
    assert shlex.split(line)[0] == "tenants", line
    code, out, err = run(place, line)
    assert code == 0, err + out


def asleep(database: Database) -> bool:
    """Whether a revision is in its pg_sleep."""
    query = "SELECT pid FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND wait_event = 'PgSleep'"
    return bool(database.sql(query))


def lose(database: Database, loss: str) -> None:
    """Somebody's mistake: the tables, the schema, or all that the database knew."""
    database.sql("DROP SCHEMA fruits CASCADE")
    if loss == "emptied":
        database.sql("CREATE SCHEMA fruits AUTHORIZATION fruits")
    elif loss == "server":
        database.sql("DROP SCHEMA tenants CASCADE")
        for role in ("fruits", "tenants~members"):
            database.sql(f'DROP OWNED BY "{role}"; DROP ROLE "{role}"')


@contextmanager
def writing(url: str) -> Iterator[list[str]]:
    """An app that inserts one row after the other; the names of those whose commit was acknowledged."""
    acknowledged: list[str] = []
    stop = Event()
    problems: list[Exception] = []

    def write() -> None:
        try:
            with psycopg.connect(url, autocommit=True) as app:
                while not stop.is_set():
                    name = f"row {len(acknowledged)}"
                    app.execute("INSERT INTO items (name) VALUES (%s)", [name])
                    acknowledged.append(name)
        except psycopg.Error as error:
            problems.append(error)

    thread = Thread(target=write)
    thread.start()
    try:
        until(lambda: acknowledged or problems, "the app writes")
        yield acknowledged
    finally:
        stop.set()
        thread.join()
    assert problems == []


def test_a_folder_whose_tenant_was_dropped_says_so_and_each_has_its_way_on(place: Place) -> None:
    for name in ("fruits", "pears"):
        place.fruits(name)
    place.deployed()
    for name in ("fruits", "pears"):
        assert place.tenants("drop", name, "--yes").code == 0
    done = place.tenants("deploy")
    assert done.code == 6, done.said
    for name in ("fruits", "pears"):
        assert f"{name} was dropped on 2" in done.err
        assert f"take migrations/{name} out, or: tenants restore {name}   (or" in done.err
        assert f"tenants deploy {name} --from-scratch" in done.err


def test_a_snapshot_of_a_schema_that_held_nothing_is_no_reason_not_to_begin(place: Place) -> None:
    place.tenants("create", "fruits")
    place.snapshot()
    place.fruits()
    place.deployed()
