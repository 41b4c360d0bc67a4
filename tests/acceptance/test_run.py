"""Other migration tools in the pipeline: on a copy first, then live, as the tenant, with a way back."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from support import TENANTS, Done, Place, ending, until
from throwaway_postgres import wheel_binaries

SQL = """
import os, sys, psycopg
with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
    for statement in sys.argv[1:]:
        found = connection.execute(statement)
        if found.description:
            print(*found.fetchone())
"""


@pytest.fixture
def orchard(place: Place) -> Place:
    """A tenant with four rows that no revision has made; a command that runs SQL; rehearsals, as by default."""
    del place.environment["TENANTS_REHEARSAL"]
    place.store_outside()
    assert place.tenants("create", "fruits").code == 0
    names = "('apple'), ('another-apple'), ('banana'), ('carrot')"
    place.database.sql(
        f"CREATE TABLE items (name text PRIMARY KEY); INSERT INTO items VALUES {names}", url=place.url_of("fruits")
    )
    (place.folder / "sql.py").write_text(SQL)
    return place


def sql(
    place: Place, *statements: str, options: Sequence[str] = (), own: Mapping[str, str | None] | None = None
) -> Done:
    """Run it for fruits: with the admin's URL, or with the environment of `own`."""
    name = () if own else ("fruits",)
    return place.tenants("run", *name, *options, "--", sys.executable, "sql.py", *statements, **(own or {}))


def script(place: Place, text: str, name: str = "migrate.sh") -> str:
    file = place.folder / name
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return f"./{name}"


def stages(done: Done) -> list[str]:
    return list(dict.fromkeys(line.split()[1] for line in done.err.splitlines() if line.startswith("fruits ")))


def columns(place: Place) -> list[str]:
    query = "SELECT attname FROM pg_attribute WHERE attrelid = 'fruits.items'::regclass AND attnum > 0"
    return [row[0] for row in place.database.sql(query + " AND NOT attisdropped")]


@pytest.mark.every_server
def test_a_command_runs_on_a_copy_then_live_and_is_undone_by_its_snapshot(orchard: Place) -> None:
    done = sql(orchard, "ALTER TABLE items ADD colour text", "SELECT current_database()")
    assert done.code == 0, done.said
    assert stages(done) == ["plan", "snapshot", "rehearse", "migrate", "prove"]
    rehearsed = next(line for line in done.err.splitlines() if "rehearse  |" in line)
    assert "~scratch~" in rehearsed and "migrate   | db.main" in done.err, done.said
    assert "definitions in schema fruits have changed" in done.err and "Undo: tenants undo fruits" in done.out
    assert columns(orchard) == ["name", "colour"]
    orchard.nothing_left()
    way = orchard.tenants("undo", "fruits", "--dry-run")
    assert way.code == 0 and "the last run, of" in way.err and "is put back" in way.err, way.said
    back = orchard.tenants("undo", "fruits", "--yes")
    assert back.code == 0 and "its tool would run it anew" in back.out, back.said
    assert columns(orchard) == ["name"] and orchard.database.sql("SELECT count(*) FROM fruits.items") == [(4,)]
    orchard.nothing_left()


@pytest.mark.every_server
def test_what_fails_on_the_copy_never_reaches_the_live_schema(orchard: Place) -> None:
    before = orchard.database.dump("fruits")
    done = sql(orchard, "ALTER TABLE items ADD colour text", "ALTER TABLE items ALTER colour SET NOT NULL")
    assert done.code == 6 and 'column "colour" of relation "items" contains null values' in done.err, done.said
    assert "FAILED: on a copy of today's data" in done.err and "ended with exit code 1" in done.err
    assert "Data:     untouched\n" in done.err and "Release:  the old one goes on serving" in done.err
    assert "migrate" not in stages(done)
    assert orchard.database.dump("fruits") == before
    assert orchard.tenants("undo", "fruits", "--yes").code == 2, "there is nothing to undo"
    orchard.nothing_left()


@pytest.mark.every_server
def test_what_fails_live_is_told_with_what_it_has_left_and_the_way_back(orchard: Place) -> None:
    """A tool that commits as it goes: what it did before it failed stays, and only the snapshot leads back."""
    before = orchard.database.dump("fruits")
    live = "SELECT 1 / (current_database() LIKE '%~%')::int"
    done = sql(orchard, "ALTER TABLE items ADD colour text", live, options=("--json",))
    assert done.code == 6, done.said
    assert done.json["outcome"] == "failed" and done.json["rehearsed"] and done.json["exit_code"] == 1
    assert done.json["definitions_changed"] is True and "definitions in schema fruits have changed" in done.json["data"]
    assert done.json["next"] == "tenants undo fruits" and "division by zero" in done.json["output"]
    assert columns(orchard) == ["name", "colour"]
    back = orchard.tenants("undo", "fruits", "--yes")
    assert back.code == 0, back.said
    assert orchard.database.dump("fruits") == before
    orchard.nothing_left()
    untouched = sql(orchard, live)
    assert untouched.code == 6 and "nothing has changed: no definition, and no row" in untouched.err, untouched.said


def test_its_sessions_act_as_the_tenant_whatever_opens_them(orchard: Place) -> None:
    """Settings of the role, since tools make of a URL's options what they like."""
    names = ("search_path", "lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
    query = f"SELECT current_user, {', '.join(f'current_setting({name!r})' for name in names)}"
    done = sql(orchard, query, options=("--lock-timeout", "3"))
    assert done.code == 0, done.said
    (copy,) = [line for line in done.err.splitlines() if "rehearse  | fruits~scratch~" in line]
    for line in (copy, *[line for line in done.err.splitlines() if "migrate   | fruits " in line]):
        assert line.endswith("fruits, extensions 3s 0 0"), done.said
    assert "migrate   | fruits fruits, extensions 3s 0 0" in done.err, done.said


def test_it_sees_its_folder_and_one_url_and_no_secret(orchard: Place) -> None:
    text = """
        env | cut -d= -f1 | sort | tr '\\n' ' '; echo
        echo "url $DATABASE_URL"
        cat migrate.sh > /dev/null && echo readable
        touch here 2>/dev/null || echo not writable
        touch "$HOME/x" "$TMPDIR/x" && echo home is
        cat "../$(basename "$PWD")-store"/*/*/* 2>/dev/null | head -c 9
        psql -qAtc 'SELECT current_user' 2>&1 | head -1
        exit 0
    """
    path = f"{wheel_binaries()}{os.pathsep}{orchard.environment['PATH']}"
    command = script(orchard, text)
    done = orchard.tenants("run", "fruits", "--schema-in-url", "--", command, GIT_REV="a" * 40, PATH=path)
    assert done.code == 0, done.said
    said = [line.partition("| ")[2] for line in done.err.splitlines() if line.startswith("fruits   migrate   | ")]
    seen = (
        "DATABASE_URL GIT_REV HOME LC_ALL PATH PGDATABASE PGHOST PGPASSWORD PGPORT PGUSER PWD PYTHONDONTWRITEBYTECODE"
    )
    assert said[0].split() == [*seen.split(), "TMPDIR"] or set(said[0].split()) - {"_", "OLDPWD", "SHLVL"} == {
        *seen.split(),
        "TMPDIR",
    }
    assert said[1].startswith("url postgres") and ":…@" in said[1] and said[1].endswith("/db.main?schema=fruits")
    assert said[2:] == ["readable", "not writable", "home is", "fruits"] and "PGDMP" not in done.err
    assert orchard.database.url.rpartition("@")[0].rpartition(":")[2] not in done.said


def test_what_changes_nothing_is_said_to_and_costs_a_manifest(orchard: Place) -> None:
    """A foreign tool is asked in each push; the undo of the last one that did something stays what it was."""
    assert sql(orchard, "INSERT INTO items VALUES ('damson')").code == 0
    done = sql(orchard, "SELECT 1", options=("--json",))
    assert done.code == 0 and done.json["outcome"] == "unchanged", done.said
    assert done.json["definitions_changed"] is False and done.json["rows_written"] == [], done.said
    assert "nothing has changed: no definition, and no row" in done.err
    again = sql(orchard, "SELECT 1")
    assert "snapshot" in stages(again) and "unchanged since" in again.err, again.said
    assert "nothing has changed, in" in again.out and "Undo" not in again.out
    assert len([name for name in orchard.stored() if name.endswith(".zst")]) == 2
    way = orchard.tenants("undo", "fruits", "--dry-run")
    assert way.code == 0 and "lost: fruits.items has 5 rows now, and 4 in the snapshot" in way.err, way.said
    rows = sql(orchard, "SELECT nextval('s')", "INSERT INTO items VALUES ('elder')", options=("--no-rehearsal",))
    assert rows.code == 6 and "no definition has changed" not in rows.err, rows.said
    orchard.database.sql("CREATE SEQUENCE s", url=orchard.url_of("fruits"))
    rows = sql(orchard, "SELECT nextval('s')", "INSERT INTO items VALUES ('elder')")
    assert rows.code == 0 and "no definition has changed; rows were written: items, s" in rows.err, rows.said


REFUSED: list[tuple[list[str], list[str]]] = [
    (["fruit", "--", "true"], ["there is no tenant 'fruit'", "did you mean fruits?"]),
    (["pears", "--", "true"], ["schema named 'pears' exists already and is not a tenant", "tenants adopt pears"]),
    (["fruits", "--", "no-such-tool", "up"], ["there is no command 'no-such-tool' in any folder of PATH\n"]),
    (["fruits", "--", "./no-such-file"], ["there is no command './no-such-file' here"]),
    (["fruits", "--", "./plain.sh"], ["./plain.sh is not executable", "chmod +x"]),
    (["fruits", "--", "/dev/shm/outside.sh"], ["/dev/shm/outside.sh", "may not be read"]),
    (["fruits"], ["there is nothing to run", "tenants run fruits -- python manage.py migrate"]),
    (["fruits", "true"], ["true: what is to be run stands behind --"]),
    (["--", "true"], ["whose? DATABASE_URL is the admin's (tenants: fruits)"]),
    (["fruits", "--elsewhere", "--", "true"], ["with --elsewhere no command is started"]),
]


def test_what_cannot_work_is_told_before_anything_is_done(orchard: Place) -> None:
    orchard.database.sql("CREATE SCHEMA pears")
    (orchard.folder / "plain.sh").write_text("true")
    outside = Path("/dev/shm/outside.sh")
    outside.write_text("#!/bin/sh\ntrue\n")
    outside.chmod(0o755)
    try:
        for arguments, words in REFUSED:
            done = orchard.tenants("run", *arguments)
            assert done.code == 2 and all(word in done.err for word in words), (arguments, done.said)
    finally:
        outside.unlink()
    assert orchard.stored() == []
    orchard.nothing_left()


def test_nothing_of_a_suspended_tenant_runs(orchard: Place) -> None:
    assert orchard.tenants("suspend", "fruits").code == 0
    done = sql(orchard, "SELECT 1")
    assert done.code == 2 and "fruits is suspended" in done.err and "tenants resume fruits" in done.err, done.said


def test_a_schema_that_was_lost_is_not_begun_anew_without_a_word(orchard: Place) -> None:
    first = orchard.tenants("create", "pears")
    assert first.code == 0
    make = ("run", "pears", "--", sys.executable, "sql.py", "CREATE TABLE t ()")
    done = orchard.tenants(*make)
    assert done.code == 0 and "passed on a copy" in done.err and "snapshot" not in done.err, done.said
    orchard.database.sql("DROP TABLE pears.t")
    lost = orchard.tenants(*make)
    assert lost.code == 6 and "schema pears is empty, but a command has changed it on" in lost.err, lost.said
    anew = orchard.tenants("run", "pears", "--from-scratch", *make[2:])
    assert anew.code == 0, anew.said
    orchard.database.sql("DROP SCHEMA fruits CASCADE")
    gone = sql(orchard, "SELECT 1", options=("--from-scratch",))
    assert gone.code == 6 and "schema fruits is gone" in gone.err and "tenants restore fruits" in gone.err, gone.said


def test_a_command_that_drops_the_schema_is_stopped_on_the_copy_or_brought_back(orchard: Place) -> None:
    done = sql(orchard, "DROP SCHEMA fruits CASCADE", options=("--no-rehearsal",))
    assert done.code == 6 and "has dropped the schema itself" in done.err and "schema fruits is gone" in done.err
    (line,) = [line for line in done.err.splitlines() if line.startswith("Next:")]
    back = orchard.tenants(*line.split("tenants ")[1].split())
    assert back.code == 0, back.said
    assert orchard.database.sql("SELECT count(*) FROM fruits.items") == [(4,)]


def test_without_a_store_nothing_is_run_unless_it_is_asked_for(orchard: Place) -> None:
    del orchard.environment["TENANTS_STORE"]
    done = sql(orchard, "ALTER TABLE items ADD colour text")
    assert done.code == 5 and "untouched: not migrated without a snapshot" in done.err, done.said
    assert columns(orchard) == ["name"]
    done = sql(orchard, "ALTER TABLE items ADD colour text", options=("--no-snapshot",))
    assert done.code == 0 and "passed on a copy" in done.err and "Undo" not in done.out, done.said
    way = orchard.tenants("undo", "fruits", "--yes")
    assert way.code == 2 and "no snapshot from before the last run of fruits" in way.err, way.said


def test_how_it_ends_is_told_and_nothing_of_it_goes_on(orchard: Place) -> None:
    mark = "sleep 3600.25"
    killed = orchard.tenants("run", "fruits", "--", script(orchard, "kill -KILL $$"))
    assert killed.code == 6 and "was killed by signal 9 (SIGKILL)" in killed.err, killed.said
    slow = orchard.tenants("run", "fruits", "--timeout", "1", "--", script(orchard, f"trap '' TERM INT\n{mark}"))
    assert slow.code == 6 and "was stopped, because it took longer than 1 s" in slow.err, slow.said
    left = orchard.tenants(
        "run", "fruits", "--", script(orchard, f"{mark} &\nsetsid {mark} > /dev/null 2>&1 &\nexit 0")
    )
    assert left.code == 0, left.said
    assert mark not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    flood = orchard.tenants("run", "fruits", "--", script(orchard, "seq 1 50000; echo the end; exit 7"))
    assert flood.code == 6 and "ended with exit code 7" in flood.err and "| the end" in flood.err
    assert "further lines; the last ones:" in flood.err and len(flood.err.splitlines()) < 1100
    query = "SELECT command, length(output), outcome, changed FROM tenants.deploys WHERE error LIKE '%code 7' "
    ((command, length, outcome, changed),) = orchard.database.sql(query)
    assert (command, outcome, changed) == ("./migrate.sh", "failed", False) and 100 < length <= 4000
    orchard.nothing_left()


@pytest.mark.parametrize("blow", [signal.SIGTERM, signal.SIGKILL])
def test_one_that_is_stopped_halfway_is_on_record_with_its_way_back(orchard: Place, blow: signal.Signals) -> None:
    body = "ALTER TABLE items ADD colour text", "SELECT pg_sleep(600)"
    arguments = ("run", "fruits", "--no-rehearsal", "--", sys.executable, "sql.py", *body)
    with ending(orchard.start(*arguments)) as process:
        until(lambda: "colour" in columns(orchard), "the column is there")
        process.send_signal(blow)
        said = process.communicate(timeout=60)
    if blow is signal.SIGTERM:
        assert process.returncode == 143, said
        orchard.nothing_left()
    back = orchard.tenants("undo", "fruits", "--yes")
    assert back.code == 0 and columns(orchard) == ["name"], back.said
    orchard.nothing_left()


def test_who_holds_a_lock_that_it_waits_for_is_named(orchard: Place) -> None:
    with psycopg.connect(orchard.url_of("fruits"), application_name="the app") as app:
        app.execute("SELECT * FROM items")
        done = sql(orchard, "ALTER TABLE items ADD colour text", options=("--lock-timeout", "0.2"))
    assert done.code == 6 and "in the way: pid" in done.err and "the app" in done.err, done.said
    assert "--lock-timeout" in done.err and "nothing has changed" in done.err


def test_what_lies_outside_of_the_schema_is_told(orchard: Place) -> None:
    done = sql(orchard, "SELECT lo_create(0)", options=("--no-rehearsal",))
    assert done.code == 6 and "made something outside of schema fruits: large object" in done.err, done.said


HOSTILE = """
import os, sys, time, psycopg
from pathlib import Path

found = []
for path in Path("/proc").glob("[0-9]*/environ"):
    try:
        text = path.read_bytes()
    except OSError:
        continue
    if b"postgres" in text and int(path.parts[2]) != os.getpid():
        found.append(path.parts[2])
print("environ of others:", found)
for secret in sys.argv[1:]:
    try:
        print("read", open(secret).read(10))
    except OSError:
        print("no file")
attempts = [
    "CREATE TABLE pears.mine ()",
    "SELECT * FROM pears.secrets",
    "CREATE SCHEMA elsewhere",
    "CREATE TABLE public.mine ()",
    "SET ROLE pears",
    "SET SESSION AUTHORIZATION postgres",
    "SET ROLE NONE; CREATE TABLE fruits.as_another ()",
    "SELECT pg_read_file('/etc/passwd')",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "INSERT INTO tenants.tenants (name, project) VALUES ('x', 'x')",
    "ALTER ROLE fruits SUPERUSER",
]
for attempt in attempts:
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        try:
            connection.execute(attempt)
            print("DONE:", attempt)
        except psycopg.Error as error:
            print("denied:", attempt)
for user in ("postgres", "pears", "fruits"):
    try:
        psycopg.connect(os.environ["DATABASE_URL"], user=user, connect_timeout=5)
        print("DONE: connected as", user)
    except psycopg.Error:
        print("denied:", user)
"""


@pytest.mark.own_process
def test_a_hostile_command_reaches_nothing_beyond_its_tenant(orchard: Place) -> None:
    assert orchard.tenants("create", "pears").code == 0
    orchard.database.sql("CREATE TABLE secrets AS SELECT 1", url=orchard.url_of("pears"))
    (orchard.folder / "hostile.py").write_text(HOSTILE)
    kept = orchard.folder.parent / f"{orchard.folder.name}-secret"
    kept.write_text("a secret of somebody else")
    done = orchard.tenants("run", "fruits", "--", sys.executable, "hostile.py", str(kept))
    kept.unlink()
    assert done.code == 0, done.said
    assert done.err.count("environ of others: []") == 2 and done.err.count("no file") == 2, done.said
    through = [line for line in done.err.splitlines() if "DONE" in line]
    assert [line.split()[1] for line in through] == ["rehearse"], done.said  # whose copy it is, owns it
    assert "SET ROLE NONE" in through[0] and done.err.count("denied:") == 2 * 14 - 1, done.said
    orchard.nothing_left()


OWN = """
echo "database $(basename "$DATABASE_URL" | cut -d'?' -f1)"
echo "other $(basename "$OTHER_URL")"
echo "names $(env | cut -d= -f1 | grep -E '^(AWS_|TENANTS_|APP_|JUST_)' | sort | tr '\\n' ' ')"
echo "path $PGOPTIONS"
"""


def test_with_its_own_url_a_tenant_runs_it_in_the_apps_environment(orchard: Place) -> None:
    """And what the app has under other names leads to the copy as well, while it runs there."""
    url = orchard.url_of("fruits")
    environment = {"DATABASE_URL": url, "OTHER_URL": f"{url}?application_name=x", "JUST_PASSWORD": url.split(":")[2]}
    environment |= {"APP_KEY": "k", "AWS_SECRET_ACCESS_KEY": "s"}
    command = ("--", script(orchard, OWN))
    done = orchard.tenants("run", *command, **environment)
    assert done.code == 0 and "rehearse  skipped: there is no place for it" in done.err, done.said
    made = orchard.tenants("create", "fruits", "--rehearsal", "--json")
    environment["TENANTS_REHEARSAL_URL"] = str(made.json["rehearsal_url"])
    done = orchard.tenants("run", "fruits", *command, **environment)
    assert done.code == 0, done.said
    said = {stage: _said(done, stage) for stage in ("rehearse", "migrate")}
    assert said["rehearse"][0] == "database fruits~rehearsal" and said["rehearse"][1].startswith("other fruits~rehear")
    assert said["rehearse"][2] == "names APP_KEY ", said
    assert said["migrate"][:2] == ["database db.main", "other db.main?application_name=x"], said
    assert said["migrate"][2] == "names APP_KEY JUST_PASSWORD " and "lock_timeout=2000ms" in said["migrate"][3]
    pears = orchard.tenants("run", "pears", *command, **environment)
    assert pears.code == 2 and "DATABASE_URL is that of tenant fruits, and not of pears" in pears.err, pears.said


def test_with_its_own_url_what_fails_in_its_room_never_reaches_the_live_schema(orchard: Place) -> None:
    made = orchard.tenants("create", "fruits", "--rehearsal", "--json")
    own = {"DATABASE_URL": orchard.url_of("fruits"), "TENANTS_REHEARSAL_URL": str(made.json["rehearsal_url"])}
    done = sql(orchard, "ALTER TABLE items ADD c int", "SELECT current_schema(), 1/0", own=own)
    assert done.code == 6 and "on a copy of today's data" in done.err, done.said
    assert columns(orchard) == ["name"]
    done = sql(orchard, "ALTER TABLE items ADD c int", "SELECT current_schema(), current_user", own=own)
    assert done.code == 0 and "fruits fruits~rehearsal" in done.err and "| fruits fruits\n" in done.err, done.said
    assert columns(orchard) == ["name", "c"]
    failed = sql(orchard, "ALTER TABLE items ADD d int", "SELECT 1/0", options=("--no-rehearsal",), own=own)
    assert "Next:     where DATABASE_URL is the admin's: tenants undo fruits" in failed.err, failed.said
    back = orchard.tenants("undo", "fruits", "--yes")
    assert back.code == 0 and columns(orchard) == ["name", "c"], back.said


def test_a_command_that_does_not_go_by_the_url_is_found_out_on_the_copy(orchard: Place) -> None:
    (orchard.folder / "hard.py").write_text(SQL.replace('os.environ["DATABASE_URL"]', repr(orchard.url_of("fruits"))))
    done = orchard.tenants("run", "fruits", "--", sys.executable, "hard.py", "ALTER TABLE items ADD colour text")
    assert done.code == 6 and "while it ran on the copy, definitions of the live schema have changed" in done.err
    assert "Next:     tenants undo fruits" in done.err, done.said
    back = orchard.tenants("undo", "fruits", "--yes")
    assert back.code == 0 and columns(orchard) == ["name"], back.said


def _said(done: Done, stage: str) -> list[str]:
    begins = f"fruits   {stage:<9} | "
    return [line.removeprefix(begins) for line in done.err.splitlines() if line.startswith(begins)]


class Host:
    """Who has the app's image: runs the command where `tenants run --elsewhere` says."""

    def __init__(self, place: Place, *options: str) -> None:
        self.process = subprocess.Popen(
            [TENANTS, "run", "fruits", "--elsewhere", *options],
            env=place.environment,
            cwd=place.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def asked(self) -> dict[str, Any]:
        assert self.process.stdout
        return dict(json.loads(self.process.stdout.readline()))

    def answer(self, text: object) -> None:
        assert self.process.stdin
        self.process.stdin.write(text if isinstance(text, str) else json.dumps(text) + "\n")
        self.process.stdin.flush()

    def ended(self) -> Done:
        out, err = self.process.communicate(timeout=60)
        return Done(self.process.returncode, out, err)


def test_somebody_elsewhere_runs_it_on_the_copy_and_live(orchard: Place) -> None:
    with ending((host := Host(orchard, "--json")).process):
        for where in ("copy", "live"):
            asked = host.asked()
            assert asked["run"] == where and list(asked["environment"]) == ["DATABASE_URL"]
            url = asked["environment"]["DATABASE_URL"]
            orchard.database.sql("ALTER TABLE items ADD colour text", url=url)
            host.answer({"exit_code": 0, "output": base64.b64encode(f"went to {url}\n".encode()).decode()})
        done = host.ended()
    assert done.code == 0, done.said
    last = json.loads(done.out.splitlines()[-1])
    assert (last["outcome"], last["command"], last["definitions_changed"]) == ("migrated", None, True)
    assert last["output"].startswith("went to postgres") and ":…@" in last["output"] and url not in done.err
    assert columns(orchard) == ["name", "colour"]
    orchard.nothing_left()
    assert orchard.tenants("undo", "fruits", "--yes").code == 0


NO_ANSWERS: list[tuple[object, str]] = [
    ({"exit_code": 3}, "ended with exit code 3"),
    ("", "went away without an answer"),
    ("nonsense\n", "the answer of whoever ran it is no answer"),
    ({"exit_code": "0"}, "the answer of whoever ran it is no answer"),
    ({"exit_code": 0, "output": "%"}, "the answer of whoever ran it is no answer"),
    (None, "took longer than 1 s"),
]


def test_elsewhere_anything_but_an_answer_is_a_failure(orchard: Place) -> None:
    for answer, words in NO_ANSWERS:
        limit = "1" if answer is None else "60"
        with ending((host := Host(orchard, "--json", "--rehearsal-timeout", limit)).process):
            assert host.asked()["run"] == "copy"
            if answer is None:
                host.process.wait(timeout=60)
            else:
                host.answer(answer)
                assert host.process.stdin
                host.process.stdin.close()
                host.process.stdin = None
            done = host.ended()
        said = json.loads(done.out.splitlines()[-1])
        assert done.code == 6 and words in said["error"] and said["data"] == "untouched", (answer, done.said)
    orchard.nothing_left()


def test_elsewhere_every_error_is_the_last_line_too(orchard: Place) -> None:
    orchard.tenants("suspend", "fruits")
    with ending((host := Host(orchard, "--json")).process):
        done = host.ended()
    assert done.code == 2 and "suspended" in json.loads(done.out.splitlines()[-1])["error"]["message"], done.said
