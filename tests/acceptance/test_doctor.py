"""The doctor looks at everything that the other commands need, and says what to do where it is missing."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import pytest
from support import Bucket, Database, Done, Place, until
from throwaway_postgres import PASSWORD


def found(done: Done, name: str, state: str | None = None) -> list[str]:
    """What the checks of that name say, all or those of one state; and none of them tells a secret."""
    for secret in (PASSWORD, "storage-secret-of-the-tests", "s3cret"):
        assert secret not in done.said
    assert "Traceback" not in done.said
    checks = done.json["checks"]
    return [c["message"] for c in checks if c["name"] == name and state in (None, c["state"])]


def test_where_all_is_well_it_says_so_and_leaves_nothing(place: Place, bucket: Bucket) -> None:
    place.environment.update(bucket.environment, TENANTS_HEARTBEAT_URL="https://example.com/beat")
    place.fruits()
    place.deployed()
    before = bucket.keys()
    done = place.tenants("doctor", "--json", DOKKU_VERSION="0.36.1")
    assert done.code == 0, done.said
    assert done.json["sound"] is True and {check["state"] for check in done.json["checks"]} == {"ok"}, done.said
    assert [check["next"] for check in done.json["checks"]] == [None] * len(done.json["checks"])
    assert found(done, "store") == [
        "s3://" + bucket.name + "/backups can be written and read",
        "it refuses to write over what is there",
        "what is not kept can be removed",
    ]
    assert bucket.keys() == before
    assert found(done, "tenants") == ["1 tenant can be deployed"]
    done = place.tenants("doctor", "fruits")
    assert "ok        tenants      fruits: up to date at 0001" in done.out.splitlines() and done.err == ""


@pytest.mark.parametrize("wrong", [False, True], ids=["nothing is there", "all of it is wrong"])
def test_it_works_with_anything_missing(place: Place, wrong: bool) -> None:
    place.migrations.rmdir()
    names = ["DATABASE_URL", "TENANTS_STORE", "TENANTS_REHEARSAL", "TENANTS_INCOMPATIBLE"]
    values = {
        "DATABASE_URL": "postgres://u:s3cret@127.0.0.1:1/d",
        "TENANTS_STORE": "s3://db-backups",
        "AWS_ENDPOINT_URL_S3": "s3.example.com",
        "TENANTS_AGE_RECIPIENTS": "AGE-SECRET-KEY-1s3cret",
        "TENANTS_NOTIFY_URLS": "nonsense://s3cret",
        "TENANTS_INCOMPATIBLE": "perhaps",
        "TENANTS_SCHEDULE": "sometimes",
        "DOKKU_VERSION": "0.30.0",
        "POSTGRES_PASSWORD": "s3cret",
    }
    done = place.tenants("doctor", "--json", **(values if wrong else dict.fromkeys(names)))
    assert done.code == 3, done.said
    states = {check["name"]: check["state"] for check in done.json["checks"]}
    bad = {"encryption", "notify", "linter", "nightly", "dokku"} if wrong else set()
    assert {name for name, state in states.items() if state == "wrong"} == {"database", "store", "migrations", *bad}
    assert all(check["next"] for check in done.json["checks"] if check["state"] in ("warning", "wrong"))
    found(done, "store")
    if wrong:
        assert "has no https:// in front" in found(done, "store")[0]
        assert states["environment"] == "warning"
    assert re.search(r"^Next: +\S", done.err, re.MULTILINE)


@pytest.mark.own_process
def test_a_check_that_faints_says_so_and_the_others_are_made(place: Place) -> None:
    bug = "import tenants.edges.machine as machine\nmachine.confinement = lambda: {}['s3cret']\n"
    (place.folder / "sitecustomize.py").write_text(bug)
    done = place.tenants("doctor", "--json", PYTHONPATH=str(place.folder))
    assert done.code == 0, done.said
    assert found(done, "sandbox", "unknown") == ["this could not be looked at: KeyError"]
    assert found(done, "store", "ok") and found(done, "tenants", "ok")


def test_the_superusers_password_in_a_tenants_app_is_wrong(place: Place) -> None:
    place.fruits("")
    place.tenants("create", "fruits")
    link = {"DOKKU_POSTGRES_AQUA_URL": "postgres://postgres:s3cret@db/db", "DB_ENV_POSTGRES_PASSWORD": "s3cret"}
    done = place.tenants("doctor", "--json", DATABASE_URL=place.url_of("fruits"), **link)
    assert done.code == 3
    told = found(done, "environment", "wrong")
    assert [message.split()[0] for message in told] == ["DB_ENV_POSTGRES_PASSWORD", "DOKKU_POSTGRES_AQUA_URL"]
    assert "a login of tenant fruits" in found(done, "login")[0]
    done = place.tenants("doctor", "--json", **link)
    assert "is not divided into projects, and DATABASE_URL is the admin's" in found(done, "tenants", "wrong")[0]


def test_a_server_that_trusts_whoever_comes_is_wrong(place: Place, database: Database) -> None:
    database.sql("CREATE ROLE trusted SUPERUSER LOGIN PASSWORD 's3cret'")
    assert found(place.tenants("doctor", "--json"), "passwords", "wrong") == []
    rules = database.server.data / "pg_hba.conf"
    former = rules.read_text()

    def reload(text: str) -> None:
        rules.write_text(text)
        (loaded,) = database.sql("SELECT pg_conf_load_time() FROM pg_reload_conf()")
        until(lambda: database.sql("SELECT pg_conf_load_time()") != [loaded], "the rules are read again")

    try:
        reload(f"host all trusted 127.0.0.1/32 trust\n{former}")
        url = database.server.url("db.main", "trusted", "s3cret")
        told = found(place.tenants("doctor", "--json", DATABASE_URL=url), "passwords", "wrong")
        assert told and "lets trusted in from here without a password" in told[0]
        reload(f"host all all 10.0.0.0/8 trust\n{former}")
        told = found(place.tenants("doctor", "--json"), "passwords", "wrong")
        assert told and "line 1 of pg_hba.conf lets all in without a password from 10.0.0.0" in told[0]
    finally:
        reload(former)


@contextmanager
def pooler(port: int) -> Iterator[int]:
    """Something between us and the server that tells its clients another process than the session's, as poolers do."""

    def carry(source: socket.socket, sink: socket.socket, *, change: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                at = data.find(b"K\0\0\0\x0c") if change else -1
                sink.sendall(data[: at + 5] + b"\0\0\0\1" + data[at + 9 :] if at >= 0 else data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve(listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listening.accept()
                server = socket.create_connection(("127.0.0.1", port))
                threading.Thread(target=carry, args=(client, server), kwargs={"change": False}, daemon=True).start()
                threading.Thread(target=carry, args=(server, client), kwargs={"change": True}, daemon=True).start()

    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # sockets of the pooler's threads
def test_a_pooler_in_between_is_found(place: Place, database: Database) -> None:
    with pooler(database.server.port) as port:
        url = database.url.replace(f":{database.server.port}/", f":{port}/")
        assert "a pooler stands between" in found(place.tenants("doctor", "--json", DATABASE_URL=url), "database")[1]


@pytest.mark.parametrize(
    ("fault", "state", "says"),
    [
        ({"operation": "PutObject", "status": 403, "code": "AccessDenied"}, "wrong", "may not do that"),
        ({"operation": "GetObject", "body": "flip"}, "wrong", "is not what was written"),
        ({"operation": "PutObject", "heedless": True}, "wrong", "writes over what is there"),
        ({"operation": "ListObjectsV2", "status": 403, "code": "RequestTimeTooSkewed"}, "wrong", "clock and ours"),
        ({"operation": "DeleteObject", "status": 403, "code": "AccessDenied"}, "warning", "what is written stays"),
        (None, "warning", "a lock rule of the bucket keeps"),
    ],
    ids=["read only", "it spoils", "it writes over", "clock", "may not delete", "locked"],
)
def test_what_a_store_does_not_do_is_told(
    place: Place, bucket: Bucket, fault: dict[str, object] | None, state: str, says: str
) -> None:
    if fault:
        bucket.switches.misbehave(**fault)
    else:
        bucket.switches.lock()
    done = place.tenants("doctor", "--json", **bucket.environment)
    assert any(says in message for message in found(done, "store", state)), done.out
    assert done.code == (3 if state == "wrong" else 0)


def test_a_tenant_that_cannot_be_deployed_and_nights_that_do_not_come_are_told(place: Place) -> None:
    place.fruits()
    place.deployed()
    place.database.sql("DELETE FROM fruits.alembic_version; INSERT INTO fruits.alembic_version VALUES ('9999')")
    place.database.sql("UPDATE tenants.tenants SET created_at = created_at - interval '3 days'")
    done = place.tenants("doctor", "--json")
    assert done.code == 3
    assert "9999" in found(done, "tenants", "wrong")[0]
    assert "no night has gone well yet" in found(done, "nightly", "wrong")[0]
