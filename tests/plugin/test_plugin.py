"""The plugin for Dokku: what its subcommands and triggers do, from the installation on."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from plugin.dokku import COMMIT, PLUGIN, Dokku, plugn, source
from support import NAME, TENANTS, Bucket, Database

from tenants import __version__
from tenants.cli import MODULES, spoken

ITEMS = "-- migrate:up\nCREATE TABLE items (name text PRIMARY KEY);\n-- migrate:down\nDROP TABLE items;\n"
COLOUR = "-- migrate:up\nALTER TABLE items ADD colour text;\n-- migrate:down\nALTER TABLE items DROP colour;\n"
BAD = "-- migrate:up\nALTER TABLE items ADD size int NOT NULL;\n"
SECRETS = ("throwaway", "storage-secret-of-the-tests")


@pytest.fixture
def host(tmp_path: Path, database: Database, bucket: Bucket) -> Dokku:
    return Dokku(tmp_path, database, bucket)


@pytest.fixture
def fruits(host: Dokku, tmp_path: Path) -> Dokku:
    """A host whose app `fruits` has its tenant, and one push with a row in it."""
    return pushed(host.ready(), tmp_path)


def pushed(host: Dokku, tmp_path: Path) -> Dokku:
    done = host.push("fruits", source(tmp_path / "source", migrations__0001_items=ITEMS))
    assert done.code == 0, done.said
    host.database.sql("INSERT INTO items VALUES ('apple')", url=host.url("fruits"))
    return host


def in_order(text: str, *words: str) -> bool:
    return re.search(".*".join(map(re.escape, words)), text, re.DOTALL) is not None


@pytest.mark.parametrize("triggers", ["stand-in", "plugn"])
def test_three_commands_are_enough(tmp_path: Path, database: Database, bucket: Bucket, triggers: str) -> None:
    host = Dokku(tmp_path, database, bucket)
    if triggers == "plugn":
        if not (real := plugn()):
            pytest.skip("plugn is not on the PATH, and `go install github.com/dokku/plugn@latest` did not bring it")
        host.use_plugn(real)
    host.backup_auth()
    host.postgres_link("fruits")
    host.write_state({**host.state(), "containers": {"fruits.web.1": "sha256:of-before"}})
    assert host.trigger("install").code == 0
    done = host.dokku("tenants:setup", "db")
    assert done.code == 0, done.said
    file = host.lib / "data/tenants/services/db/env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE((host.lib / "data/tenants").stat().st_mode) == 0o700
    assert host.property("postgres", "db", "post-create-network") == "tenants-db"
    assert host.state()["networks"] == {"tenants-db": {"dokku.postgres.db": "dokku-postgres-db"}}
    assert (host.lib / "crontab").read_text().startswith("0 3 * * *;dokku tenants:nightly db;")

    done = host.dokku("tenants:link", "db", "fruits")
    assert done.code == 0, done.said
    config = host.config("fruits")
    assert set(config) == {"DATABASE_URL", "GREETING"}
    assert config["DATABASE_URL"].startswith("postgres://fruits~")
    assert host.property("network", "fruits", "attach-post-create") == "tenants-db"
    assert (host.apps / "fruits" / "DOCKER_OPTIONS").read_text() == "--init\n"
    assert host.links() == ["fruits"], "dokku-postgres starts the service before the app, and does not destroy it"
    assert host.restarts() == ["fruits"]

    done = host.push("fruits", source(tmp_path / "source", migrations__0001_items=ITEMS))
    assert done.code == 0, done.said
    assert in_order(done.out, "Migrating fruits", "fruits   prove     0001 in schema fruits", f"is live with {COMMIT}")
    database.sql("INSERT INTO items VALUES ('apple')", url=host.url("fruits"))
    assert database.sql("SELECT name FROM fruits.items") == [("apple",)]
    seen = host.said_to_docker() + done.said + str(config)
    assert not [secret for secret in SECRETS if secret in seen]


def test_a_push_that_fails_leaves_data_and_image_as_they_were_and_says_what_to_do(host: Dokku, tmp_path: Path) -> None:
    fruits = pushed(host.ready(TENANTS_REHEARSAL="on", TENANTS_INCOMPATIBLE="warn"), tmp_path)
    state = fruits.state()
    serving = state["containers"]["fruits.web.1"]
    state["images"]["sha256:unhealthy"] = {"app": "fruits", "stage": "release"}  # was released, and never served
    fruits.write_state(state)
    done = fruits.push("fruits", source(tmp_path / "source", migrations__0001_items=ITEMS, migrations__0002_bad=BAD))
    assert done.code == 6
    assert in_order(
        done.out, "Data:     untouched, at 0001", "Release:", "the old one", "Next:", "0002_bad.sql", "Image:"
    )
    assert fruits.state()["tags"]["dokku/fruits:latest"] == serving
    assert fruits.database.sql("SELECT * FROM fruits.items") == [("apple",)]
    told = fruits.dokku("tenants:logs", "fruits")
    assert in_order(told.out, "deploy", "0001", "migrated, live", "failed"), told.said
    folder = source(tmp_path / "source", migrations__0001_items=ITEMS, migrations__0002_colour=COLOUR)
    done = fruits.push("fruits", folder)
    assert done.code == 0, done.said
    assert "Undo: dokku tenants:undo fruits" in done.out, "commands are told as they are typed here"
    done = fruits.dokku("tenants:undo", "fruits", "--yes")
    assert "back at 0001" in done.out, done.said


def test_no_other_apps_image_takes_the_place_of_one_that_is_stopped(fruits: Dokku, tmp_path: Path) -> None:
    state = fruits.state()
    serving = state["containers"].pop("fruits.web.1")
    state["images"]["sha256:pears"] = {"app": "fruits", "stage": "release"}  # labels that its Dockerfile begins with
    fruits.write_state(state)
    folder = source(tmp_path / "source", migrations__0001_items=ITEMS, migrations__0002_bad=BAD)
    assert fruits.push("fruits", folder).code != 0
    assert fruits.state()["tags"]["dokku/fruits:latest"] == serving
    state = fruits.state()
    del state["images"][serving]
    fruits.write_state(state)
    assert "Image:    none" in fruits.push("fruits", folder).out


def test_what_dbmate_has_run_is_carried_over_by_the_files_of_the_last_push(host: Dokku, tmp_path: Path) -> None:
    host.backup_auth()
    host.trigger("install")
    folder = source(tmp_path / "app", migrations__0001_items=ITEMS)
    assert host.dokku("tenants:setup", "db").code == 0
    host.postgres_link("fruits")
    host.database.sql("""
        CREATE TABLE public.items (name text);
        CREATE TABLE public.schema_migrations (version varchar PRIMARY KEY);
        INSERT INTO public.schema_migrations VALUES ('0001')
    """)
    assert host.push("fruits", folder).code == 0
    done = host.dokku("tenants:adopt", "db", "fruits")
    assert done.code == 0, done.said
    assert host.database.sql("SELECT version_num FROM fruits.alembic_version") == [("0001",)]


def test_an_app_that_lives_in_public_is_stopped_and_adopted_with_its_data(host: Dokku) -> None:
    host.backup_auth()
    host.trigger("install")
    assert host.dokku("tenants:setup", "db").code == 0
    host.postgres_link("fruits")
    host.database.sql("CREATE TABLE public.items (name text); INSERT INTO public.items VALUES ('apple')")
    before = host.config("fruits")
    done = host.dokku("tenants:link", "db", "fruits")
    assert done.code == 1
    assert in_order(done.err, "looks like lost data", "items", "dokku tenants:adopt db fruits", "--empty"), done.said
    assert host.config("fruits") == before
    assert "fruits" not in host.database.schemas()

    shown = host.dokku("tenants:adopt", "db", "fruits", "--dry-run")
    assert 'SET SCHEMA "fruits"' in shown.out.replace("SCHEMA fruits", 'SCHEMA "fruits"'), shown.said
    assert host.config("fruits") == before
    done = host.dokku("tenants:adopt", "db", "fruits")
    assert done.code == 0, done.said
    assert host.database.sql("SELECT name FROM items", url=host.url("fruits")) == [("apple",)]
    assert host.database.sql("SELECT relkind FROM pg_class WHERE oid = 'public.items'::regclass") == [("v",)]
    done = host.trigger("post-deploy", "fruits", "5000", "172.17.0.2", "latest")
    assert in_order(done.err, "1 view in the place", "stay", "at once: dokku tenants:adopt db fruits --finish"), (
        done.said
    )
    assert host.database.sql("SELECT relkind FROM pg_class WHERE oid = 'public.items'::regclass") == [("v",)], (
        "the old containers run on for a minute"
    )
    assert host.dokku("tenants:adopt", "db", "fruits", "--finish").code == 0
    assert host.database.sql("SELECT to_regclass('public.items')") == [(None,)], done.said
    done = host.dokku("tenants:adopt", "db", "fruits", "--undo")
    assert in_order(done.out, "dokku tenants:unlink fruits; dokku postgres:link db fruits"), done.said
    assert host.database.sql("SELECT relkind FROM pg_class WHERE oid = 'public.items'::regclass") == [("r",)]
    assert host.dokku("tenants:unlink", "fruits").code == 0
    assert set(host.config("fruits")) == {"GREETING"}
    assert host.links() == []
    assert host.trigger("service-action", "pre-link", "postgres", "db", "fruits").code == 0


def test_a_clone_never_has_the_url_of_the_original(fruits: Dokku) -> None:
    def clone(name: str) -> str:
        """What Dokku has copied by the time the trigger comes."""
        fruits.create(name, **fruits.config("fruits"), OTHER_URL=fruits.config("fruits")["DATABASE_URL"])
        done = fruits.trigger("post-app-clone-setup", "fruits", name)
        assert fruits.config("fruits")["DATABASE_URL"] not in fruits.config(name).values()
        return done.said

    said = clone("fruits-next")
    assert "fruits-next has a tenant of its own, empty" in said, said
    assert fruits.database.sql("SELECT to_regclass('items')", url=fruits.url("fruits-next")) == [(None,)]
    assert fruits.dokku("tenants:set", "fruits", "clone", "copy").code == 0
    said = clone("fruits-copy")
    assert fruits.database.sql("SELECT * FROM items", url=fruits.url("fruits-copy")) == [("apple",)], said
    done = fruits.trigger("post-deploy", "fruits-copy", "5000", "172.17.0.2", "latest")
    assert done.out == "fruits-copy   is live\n", done.said
    status = fruits.dokku("tenants:status").out
    assert re.search(r"^fruits-copy .*restored .* ago +yes ", status, re.MULTILINE), status
    assert fruits.trigger("post-deploy", "fruits-copy", "5000", "172.17.0.2", "latest").said == "", "told once"
    fruits.dokku("tenants:unlink", "fruits-next")
    (fruits.apps / "fruits-next" / "ENV.json").unlink()
    (fruits.apps / "fruits-next" / "DOCKER_OPTIONS").unlink()
    (fruits.apps / "fruits-next").rmdir()
    said = clone("fruits-next")
    assert "there is a tenant of that name, of an earlier app" in said, "what was kept is not a stranger's"
    assert "DATABASE_URL" not in fruits.config("fruits-next")


def test_a_clone_that_was_broken_off_is_not_built_with_the_url_of_the_original(fruits: Dokku, tmp_path: Path) -> None:
    config = fruits.config("fruits")
    fruits.create("pears", **config, OTHER_URL=config["DATABASE_URL"], GREETING="hello")
    folder = source(tmp_path / "source", migrations__0001_items=ITEMS)
    done = fruits.push("pears", folder)
    assert done.code == 1
    assert in_order(done.err, "its DATABASE_URL is that of fruits", "Next:", "dokku tenants:link db pears"), done.said
    assert fruits.dokku("tenants:link", "db", "pears").code == 0
    assert set(fruits.config("pears")) == {"DATABASE_URL", "GREETING"}
    assert fruits.config("pears")["DATABASE_URL"].startswith("postgres://pears~")
    assert fruits.push("pears", folder).code == 0
    assert fruits.database.sql("SELECT * FROM items", url=fruits.url("pears")) == []
    assert fruits.push("fruits", folder).code == 0, "the original goes on"
    password = re.search(r":([^:@]+)@", config["DATABASE_URL"])
    assert password
    fruits.create("plums", **config)
    traced = fruits.trigger("pre-build", "dockerfile", "plums", DOKKU_TRACE="1")
    assert (traced.code, password[1] in traced.said) == (1, False)


def test_a_renamed_app_keeps_its_tenant_and_a_deleted_one_leaves_it(fruits: Dokku, tmp_path: Path) -> None:
    url = fruits.url("fruits")
    fruits.create("berries", **fruits.config("fruits"))
    before = len(fruits.bucket.keys())
    for words in (
        ("post-app-rename-setup", "fruits", "berries"),
        ("pre-delete", "fruits", "latest"),
        ("post-delete", "fruits", "latest"),
    ):
        done = fruits.trigger(*words)
        assert (done.code, done.said) == (0, ""), "the old name owns nothing any more"
    assert len(fruits.bucket.keys()) == before
    folder = source(tmp_path / "source", migrations__0001_items=ITEMS, migrations__0002_colour=COLOUR)
    assert fruits.push("berries", folder).code == 0
    assert fruits.database.sql("SELECT colour FROM items", url=url) == [(None,)]
    fruits.create("fruits-2")
    done = fruits.dokku("tenants:link", "db", "fruits-2", "--tenant", "fruits")
    assert "the tenant fruits is that of the app berries" in done.err

    before = len(fruits.bucket.keys())
    done = fruits.trigger("pre-delete", "berries", "latest")
    assert in_order(done.out, "is kept", "tenants:link db <app> --tenant fruits", "tenants:drop db fruits"), done.said
    assert len(fruits.bucket.keys()) > before, "a last snapshot"
    done = fruits.trigger("service-action", "pre-link", "postgres", "db", "berries")
    assert (done.code, "hand it the superuser's password" in done.err) == (1, True), "no link leads around a tenant"
    fruits.trigger("post-delete", "berries", "latest")
    assert fruits.dokku("tenants:list", "db").out.count("\n") == 2
    assert fruits.database.sql("SELECT name FROM fruits.items") == [("apple",)]

    assert fruits.dokku("tenants:link", "db", "fruits-2", "--tenant", "fruits").code == 0
    assert fruits.database.sql("SELECT name FROM items", url=fruits.url("fruits-2")) == [("apple",)], "what was kept"
    assert fruits.dokku("tenants:unlink", "fruits-2").code == 0

    state = fruits.state()
    fruits.write_state({**state, "networks": {}})
    done = fruits.trigger("service-action", "pre-delete", "postgres", "db")
    assert (done.code, in_order(done.err, "cannot be told", "dokku tenants:forget db")) == (1, True), done.said
    fruits.write_state(state)
    for words in (("pre-delete", "redis", "db"), ("pre-delete", "postgres", "other")):
        assert fruits.trigger("service-action", *words).said == "", "what is not ours is let through"
    done = fruits.trigger("service-action", "pre-delete", "postgres", "db")
    assert done.code == 1
    assert in_order(done.err, "it has the tenants fruits", "dokku tenants:drop db <tenant> --yes")
    done = fruits.dokku("tenants:drop", "db", "fruits", "--yes")
    assert (done.code, "Undo: dokku tenants:link db fruits && dokku tenants:restore fruits" in done.out) == (0, True)
    assert fruits.trigger("service-action", "pre-delete", "postgres", "db").code == 0
    assert fruits.trigger("service-action", "post-delete", "postgres", "db").code == 0
    assert not (fruits.lib / "data/tenants/services/db").exists()
    assert (fruits.lib / "crontab").read_text() == ""


def test_a_folder_of_something_else_is_named_and_passed_over(fruits: Dokku, tmp_path: Path) -> None:
    other = source(tmp_path / "source", migrations__20260101__migration="CREATE TABLE theirs ();")
    done = fruits.push("fruits", other)
    assert done.code == 0, done.said
    assert in_order(done.said, "migrations/ holds no revisions", "tenants:set fruits migrate")
    outside = source(tmp_path / "outside", **{"0001_items": ITEMS})
    empty = tmp_path / "linked"
    empty.mkdir()
    (empty / "migrations").symlink_to(outside)
    done = fruits.push("fruits", empty)
    assert "nothing was pushed that migrates" in done.out, "a link may lead anywhere on this machine"
    elsewhere = source(tmp_path / "source", db__migrations__0001_items=ITEMS, db__migrations__0002_colour=COLOUR)
    assert "migrated to 0002" in fruits.push("fruits", elsewhere).out, "dbmate's own folder"
    assert in_order(
        fruits.dokku("tenants:report", "fruits").out, "Tenants tenant:", "fruits", "pushed folder:", "db/migrations"
    )


def test_what_is_pushed_makes_this_machine_read_nothing_of_its_own(fruits: Dokku, tmp_path: Path) -> None:
    folder = source(tmp_path / "source", migrations__versions__0001_items=ITEMS)
    outside = source(tmp_path / "outside", **{"0001_items": ITEMS})
    (folder / "migrations" / "0002_endless.sql").symlink_to("/dev/zero")
    (folder / "migrations" / "0003_elsewhere.sql").symlink_to(outside / "0001_items.sql")
    os.mkfifo(folder / "migrations" / "versions" / "0000_waits.sql")
    began = time.monotonic()
    done = fruits.trigger("post-extract", "fruits", str(folder), COMMIT)
    assert done.code == 0, done.said
    assert time.monotonic() - began < 20
    (folder / "migrations" / "versions" / "0001_items.sql").unlink()
    done = fruits.trigger("post-extract", "fruits", str(folder), COMMIT)
    assert not (fruits.lib / "data/tenants/apps/fruits/migrations").exists(), "what a link leads to is not the app's"


def test_a_revision_that_imports_the_app_is_told_what_to_do(fruits: Dokku, tmp_path: Path) -> None:
    folder = source(tmp_path / "source", migrations__0001_items=ITEMS)
    (folder / "migrations" / "0002_models.py").write_text(
        "from shop.models import Base\n\nrevision = '0002'\ndown_revision = '0001'\n\n\ndef upgrade():\n    pass\n"
    )
    done = fruits.push("fruits", folder)
    assert done.code == 6
    assert in_order(done.out, "No module named 'shop'", "Take the import out", "tenants:set fruits migrate"), done.out


def test_the_apps_own_tool_runs_in_its_image_on_a_copy_and_then_live(fruits: Dokku, tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text(
        f"#!{sys.executable}\n"
        "import os, psycopg\n"
        "assert os.environ['OTHER_URL'] == os.environ['DATABASE_URL'] and os.environ['GREETING'] == 'hello world'\n"
        "assert os.environ['ASYNC_URL'] == os.environ['DATABASE_URL'].replace('postgres:', 'postgresql+x:') + '?a=b'\n"
        "assert ('~scratch~' in os.environ['DATABASE_URL']) != ('PGPASSWORD' in os.environ)\n"
        "with psycopg.connect(os.environ['DATABASE_URL']) as connection:\n"
        "    print('rows:', connection.execute('SELECT count(*) FROM items').fetchone()[0])\n"
        "    connection.execute(open(os.path.dirname(__file__) + '/step.sql').read())\n"
    )
    tool.chmod(0o755)
    (tmp_path / "step.sql").write_text("ALTER TABLE items ADD colour text")
    config = fruits.config("fruits")
    url = config["DATABASE_URL"]
    others = {
        "OTHER_URL": url,
        "ASYNC_URL": url.replace("postgres:", "postgresql+x:") + "?a=b",
        "PGPASSWORD": url.partition("@")[0].rpartition(":")[2],
        "GREETING": "hello world",
    }
    (fruits.apps / "fruits" / "ENV.json").write_text(json.dumps(config | others))
    with (fruits.lib / "data/tenants/services/db/env").open("a") as env:
        env.write("TENANTS_REHEARSAL=on\n")
    assert fruits.dokku("tenants:set", "fruits", "migrate", str(tool)).code == 0
    folder = source(tmp_path / "source", migrations__theirs="CREATE TABLE theirs ();")
    done = fruits.push("fruits", folder)
    assert done.code == 0, done.said
    assert in_order(done.out, f"{tool} (copy)", "rows: 1", f"{tool} (live)", "rows: 1", "fruits   migrated"), done.out
    assert fruits.database.sql("SELECT colour FROM fruits.items") == [(None,)]
    (tmp_path / "step.sql").write_text("ALTER TABLE items ADD size int NOT NULL")
    before = fruits.state()["tags"]
    done = fruits.push("fruits", folder)
    assert done.code == 6, done.said
    assert in_order(done.out, "(copy)", "NotNullViolation", "Data:     untouched", "Image:")
    assert "(live)" not in done.out
    assert fruits.state()["tags"] == before
    password = re.search(r":([^:@]+)@", config["DATABASE_URL"])
    assert password
    assert password[1] not in done.said + fruits.said_to_docker()
    assert [file.name for file in tmp_path.glob("tmp.*")] == [], "nothing is left behind"


def test_what_the_apps_own_tool_prints_shows_no_password_and_moves_no_cursor(fruits: Dokku, tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\necho at $DATABASE_URL\nprintf 'a\\033[2Jb\\n'\n")
    tool.chmod(0o755)
    assert fruits.dokku("tenants:set", "fruits", "migrate", str(tool)).code == 0
    done = fruits.push("fruits", source(tmp_path / "source", migrations__theirs="CREATE TABLE theirs ();"))
    assert done.code == 0, done.said
    assert re.findall(r"at postgres://fruits~deploy~\w+:([^@]*)@", done.said) == ["…"]
    assert "\x1b" not in done.said
    assert r"a\x1b[2Jb" in done.said


def test_a_tool_that_does_not_end_is_ended_when_nobody_waits_for_it(fruits: Dokku, tmp_path: Path) -> None:
    tool, impatient, lives = tmp_path / "tool", tmp_path / "impatient", tmp_path / "lives"
    tool.write_text(f"#!/bin/sh\nhead -c 300000 /dev/zero | tr '\\0' x\nsleep 40\ntouch {lives}\n")
    impatient.write_text(f'#!/bin/sh\nexec {TENANTS} "$@" --timeout 2\n')
    for file in (tool, impatient):
        file.chmod(0o755)
    assert fruits.dokku("tenants:set", "fruits", "migrate", str(tool)).code == 0
    fruits.environment["STANDIN_TENANTS"] = str(impatient)
    began = time.monotonic()
    done = fruits.push("fruits", source(tmp_path / "source", migrations__theirs="CREATE TABLE theirs ();"))
    assert done.code == 6, done.said
    assert "took longer than 2 s" in done.said
    assert time.monotonic() - began < 30
    assert not lives.exists()


def test_an_app_that_has_no_tenant_is_left_alone(host: Dokku, tmp_path: Path) -> None:
    host.create("plain")
    assert host.trigger("install").code == 0
    folder = source(tmp_path / "source", migrations__0001_items=ITEMS)
    done = host.push("plain", folder)
    assert (done.code, done.said) == (0, "")
    for words in (("pre-delete", "plain"), ("post-app-clone-setup", "plain", "x"), ("cron-entries", "docker-local")):
        assert host.trigger(*words).said == ""
    assert "container run" not in host.said_to_docker()


def test_setup_takes_answers_from_standard_input_and_a_wrong_one_leaves_nothing(host: Dokku) -> None:
    host.trigger("install")
    told = host.bucket.environment
    secret = told["AWS_SECRET_ACCESS_KEY"]
    lines = [told["AWS_ACCESS_KEY_ID"], secret, "", "", host.bucket.endpoint, host.bucket.name]
    env = host.lib / "data/tenants/services/db/env"
    assert host.dokku("tenants:setup", "other").code == 1
    done = host.dokku("tenants:setup", "db")
    assert (done.code, "key, secret, region, signature, endpoint, bucket" in done.err) == (1, True), done.said
    done = host.dokku("tenants:setup", "db", stdin="\n".join([*lines[:5], "no-such-bucket", ""]))
    assert done.code == 1
    assert "no-such-bucket" in done.err, done.said
    assert not env.exists()
    done = host.dokku("tenants:setup", "db", stdin="\n".join([*lines, ""]), DOKKU_TRACE="1")
    assert done.code == 0, done.said
    assert not [word for word in SECRETS if word in done.said], "trace mode shows no secret"
    written = env.read_text()
    assert f"TENANTS_STORE=s3://{host.bucket.name}/tenants\n" in written
    host.dokku("tenants:set", "db", "notify-urls", "-", stdin="json://localhost/secret\n")
    host.dokku("tenants:set", "db", "keep", "daily=7")
    assert host.dokku("tenants:setup", "db").code == 0
    assert env.read_text() == f"{written}TENANTS_NOTIFY_URLS=json://localhost/secret\nTENANTS_KEEP=daily=7\n", (
        "a second time keeps all"
    )
    host.dokku("tenants:set", "db", "keep")
    assert "TENANTS_KEEP" not in env.read_text()
    assert stat.S_IMODE(env.stat().st_mode) == 0o600


def test_setup_and_doctor_know_the_version_of_dokku(host: Dokku) -> None:
    host.ready()

    def told(**environment: str) -> str:
        return next(
            line for line in host.dokku("tenants:doctor", "db", **environment).out.splitlines() if "dokku  " in line
        )

    assert told().startswith("unknown")
    (host.lib / "VERSION").write_text("v0.36.1-4-gabcdef0\n")
    assert "ok        dokku        Dokku 0.36.1 stops" in told()
    (host.lib / "STABLE_VERSION").write_text("1764036000:0.38.27\n")
    assert "Dokku 0.38.27" in told()
    assert "Dokku 0.30.0 may go on" in told(DOKKU_VERSION="0.30.0")


def test_setup_says_which_check_failed_and_what_mends_that(host: Dokku) -> None:
    host.backup_auth()
    host.trigger("install")
    (host.service / "DATABASE_NAME").write_text("nowhere\n")
    done = host.dokku("tenants:setup", "db")
    assert done.code == 1
    assert in_order(done.err, "database", "has no database 'nowhere'", "does not hold: database", "postgres:info db"), (
        done.err
    )
    assert "--storage" not in done.said
    (host.service / "DATABASE_NAME").write_text(f"{NAME}\n")
    (host.cron / "dokku-postgres-db").write_text("0 3 * * * dokku /usr/bin/dokku postgres:backup db no-such-bucket \n")
    done = host.dokku("tenants:setup", "db")
    assert in_order(done.err, "store", "does not hold: store", "Next:", "dokku tenants:setup db --storage"), done.err
    assert done.code == 1


def test_what_can_be_done_with_an_app_can_be_typed(fruits: Dokku, tmp_path: Path) -> None:
    def does(command: str, *words: str, stdin: str = "") -> str:
        done = fruits.dokku(f"tenants:{command}", *words, stdin=stdin)
        assert done.code == 0, done.said
        return done.out

    assert "owned by role fruits" in does("info", "fruits")
    assert "fruits" in does("status")
    assert "up to date" in does("plan", "fruits") or "nothing" in does("plan", "db", "fruits")
    does("rehearse", "fruits")
    does("deploy", "fruits")
    snapshot = re.search(r"\d{8}T\d{6}Z-\w+", does("snapshot", "fruits"))
    assert snapshot
    assert snapshot[0] in does("snapshots", "fruits")
    fruits.database.sql("DELETE FROM items", url=fruits.url("fruits"))
    assert "Undo: dokku tenants:restore fruits" in does("restore", "fruits", snapshot[0], "--yes")
    assert fruits.database.sql("SELECT * FROM items", url=fruits.url("fruits")) == [("apple",)]
    fetch = [str(PLUGIN / "subcommands" / "fetch"), "tenants:fetch", "fruits", snapshot[0]]
    dump = subprocess.run(fetch, env=fruits.environment, capture_output=True, check=True).stdout
    assert dump.startswith(b"PGDMP")
    fruits.database.sql("DELETE FROM items", url=fruits.url("fruits"))
    restore = [str(PLUGIN / "subcommands" / "restore"), "tenants:restore", "fruits", "--file", "-", "--from", "fruits"]
    done = subprocess.run(restore, env=fruits.environment, input=dump, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(fruits.place.glob("tmp.*")) == [], "nothing is left behind"
    assert fruits.database.sql("SELECT * FROM items", url=fruits.url("fruits")) == [("apple",)]
    done = subprocess.run(
        [*restore[:3], "--file", "/etc/passwd"], env=fruits.environment, capture_output=True, check=False
    )
    assert (done.returncode, b"comes from standard input" in done.stderr) == (1, True), "no file of the host is read"
    assert "apple" in does("connect", "fruits", "-c", "SELECT * FROM items")
    assert "DATABASE_URL=postgres://fruits~" in does("login", "fruits")
    old = fruits.url("fruits")
    does("rotate", "fruits", "--no-restart")
    assert fruits.url("fruits") != old
    does("rotate", "fruits", "--retire")
    assert "DATABASE_URL=" in does("reader", "db", "boss", "--of", "fruits")
    does("set", "fruits", "connections", "7")
    assert (
        fruits.database.sql("SELECT rolconnlimit FROM pg_roles WHERE rolname LIKE 'fruits~%%' AND rolcanlogin")[0][0]
        == 7
    )
    assert "0 4 * * 0" in does("schedule", "db", "0 4 * * 0")
    assert (fruits.lib / "crontab").read_text().startswith("0 4 * * 0;dokku tenants:nightly db;")
    assert "1 snapshot" in does("nightly", "db", "--again")
    assert "off" in does("schedule", "db", "off")
    assert (fruits.lib / "crontab").read_text() == ""
    does("suspend", "fruits")
    does("resume", "fruits")
    told = fruits.dokku("tenants:audit", "db")
    assert told.code in (0, 3), told.said
    told = fruits.dokku("tenants:set", "fruits", "clone", "sometimes")
    assert (told.code, "clone cannot be sometimes" in told.err) == (1, True)


def test_what_can_be_done_with_a_service_can_be_typed(fruits: Dokku) -> None:
    for command, *words in (
        ["apply", "db"],
        ["extension", "fruits", "citext"],
        ["snapshot", "fruits"],
        ["drill", "fruits"],
        ["prune", "fruits", "--dry-run"],
    ):
        done = fruits.dokku(f"tenants:{command}", *words)
        assert done.code == 0, done.said
    done = fruits.dokku("tenants:recover", "db", "--dry-run")
    assert (done.code, "no snapshots of another server than this one" in done.err) == (2, True), done.said

    server = fruits.database.server
    fruits.database.sql("CREATE DATABASE elsewhere")
    there = f"postgres://postgres:throwaway@127.0.0.1:{server.port}/elsewhere"
    done = fruits.dokku("tenants:move", "fruits", "--yes", stdin=f"{there}\n")
    assert done.code == 2 and "a role named 'fruits' exists already" in done.err, "it was reached: " + done.said
    assert there not in fruits.said_to_docker() + done.said, "the other server's URL comes by a file"
    assert list(fruits.place.glob("tmp.*")) == [], "and is gone with it"

    done = fruits.dokku("tenants:forget", "db")
    assert done.code == 1 and in_order(done.err, "fruits has a tenant there", "dokku tenants:unlink fruits"), done.said
    assert fruits.dokku("tenants:unlink", "fruits").code == 0
    assert fruits.dokku("tenants:forget", "db").code == 0
    assert "fruits" in fruits.database.schemas(), "what is in it stays"
    done = fruits.dokku("tenants:list", "db")
    assert done.code == 1 and "dokku tenants:setup" in done.err, done.said


def test_help_has_a_line_for_each_subcommand_and_unknown_ones_are_passed_on(host: Dokku) -> None:
    every = sorted(path.name for path in (PLUGIN / "subcommands").iterdir() if path.name != "default")
    shown = host.dokku("tenants:help").out
    assert re.findall(r"^    tenants:(\w+) ", shown, re.MULTILINE) == every
    for name in every:
        assert len(re.findall(r"^#: ", (PLUGIN / "subcommands" / name).read_text(), re.MULTILINE)) >= 2, name
    commands = {spoken.OTHERWISE.get(name, name) for names in MODULES.values() for name in names}
    assert {name.split()[0] for name in commands - spoken.OURS_ALONE} <= set(every), "what is told can be typed"
    undo = host.dokku("tenants:undo", "--help").out
    assert in_order(
        undo,
        "usage: dokku tenants:undo <app>",
        "goes back to before",
        "Usage: dokku tenants:undo [OPTIONS] TENANT",
        "--dry-run",
    ), undo
    assert host.dokku("help").out.startswith("    tenants, ")
    assert host.dokku("tenants").code == 0
    assert host.dokku("tenants:nonsense").code == 10
    assert host.dokku("apps:list").code == 10
    for path in (PLUGIN, PLUGIN / "subcommands"):
        for file in path.iterdir():
            if file.is_file() and file.read_bytes()[:2] == b"#!":
                assert os.access(file, os.X_OK), f"{file.name}: Dokku passes over what cannot be executed"


def test_the_version_of_the_plugin_is_that_of_the_command(host: Dokku) -> None:
    assert f'version = "{__version__}"' in (PLUGIN / "plugin.toml").read_text()
    assert host.trigger("update").code == 0
    assert f"--build-arg=VERSION={__version__} --tag=dokku-tenants:{__version__}" in host.said_to_docker()
    assert host.trigger("install").code == 0
    assert host.said_to_docker().count("image build") == 1, "built once"
    assert host.trigger("install", TENANTS_IMAGE="ghcr.io/x/dokku-tenants:9").code == 0
    assert "image pull ghcr.io/x/dokku-tenants:9" in host.said_to_docker()


def test_a_link_is_what_was_meant(host: Dokku, tmp_path: Path) -> None:
    host.ready()
    host.database.sql("CREATE TABLE public.items (name text)")
    host.postgres_link("pears")
    other = host.lib / "config/network/pears/attach-post-create"
    other.parent.mkdir(parents=True)
    other.write_text("mine")
    words = ("tenants:link", "db", "pears", "--empty", "--querystring", "schema=pears")
    done = host.dokku(*words)
    assert (done.code, "dokku network:set pears attach-post-deploy mine" in done.err) == (1, True)
    assert "pears" not in host.database.schemas(), "it was told before anything was done"
    other.unlink()
    done = host.dokku(*words, DOKKU_TRACE="1")
    assert done.code == 0, done.said
    assert host.config("pears")["DATABASE_URL"].endswith("?schema=pears")
    assert host.database.sql("SELECT to_regclass('public.items') IS NOT NULL") == [(True,)]
    assert done.err.startswith("+"), "it is traced"
    password = re.search(r":([^:@]+)@", host.url("pears"))
    assert password
    assert password[1] not in done.said + host.said_to_docker()
    done = host.push("pears", source(tmp_path / "source", migrations__0001_bad=BAD))
    assert (done.code, "nothing was released before" in done.out) == (6, True), done.said
    assert host.state()["tags"].get("dokku/pears:latest") is None


def test_names_are_taken_as_they_are(host: Dokku, tmp_path: Path) -> None:
    host.ready()
    for app in ("1-my.shop", "1.my.shop"):
        host.create(app)
        done = host.dokku("tenants:link", "db", app)
        assert done.code == 0, done.said
        assert host.push(app, source(tmp_path / "source", migrations__0001_items=ITEMS)).code == 0
        host.database.sql("INSERT INTO items VALUES (%s)", [app], url=host.url(app))
        assert host.database.sql(f'SELECT name FROM "{app}".items') == [(app,)]
    done = host.dokku("tenants:info", "../fruits")
    assert (done.code, "is not a name" in done.err) == (1, True)
