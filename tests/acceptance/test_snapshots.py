"""Snapshots as a person uses them: taken, listed, put back under a running app, refused when they are not whole."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import psycopg
import pytest
import zstandard
from psycopg import sql
from support import Bucket, Place, ending, until
from throwaway_postgres import wheel_binaries

NAME = "api.example-1.com"

EVERYTHING = """
CREATE TYPE mood AS ENUM ('good', 'so so', 'großartig');
CREATE DOMAIN percent AS integer CHECK (VALUE >= 0 AND VALUE <= 100);
CREATE TABLE "Größe ✓" (id bigserial PRIMARY KEY, "select" text NOT NULL DEFAULT 'it''s', mood mood, ripe percent);
INSERT INTO "Größe ✓" ("select", mood, ripe) SELECT 'row ' || n, 'großartig', n % 100 FROM generate_series(1, 500) n;
CREATE TABLE items (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, parent bigint REFERENCES "Größe ✓", raw bytea, data jsonb,
    twice integer GENERATED ALWAYS AS (id * 2) STORED, at timestamptz DEFAULT '2026-11-23 06:47:14Z'
);
INSERT INTO items (parent, raw, data) VALUES (7, '\\x00ff5c0a', '{"a": "\\u00e9"}'), (8, NULL, '[]');
CREATE VIEW "good ones" AS SELECT id, "select" FROM "Größe ✓" WHERE mood = 'großartig';
CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS all_of_them FROM items;
CREATE FUNCTION total("of" text) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM "good ones"';
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.at := '2000-01-01 00:00Z'; RETURN NEW; END$$;
CREATE TRIGGER noted BEFORE UPDATE ON items FOR EACH ROW EXECUTE FUNCTION note();
CREATE SEQUENCE "Numbers" START 1000 INCREMENT 5;
SELECT nextval('"Numbers"'), nextval('"Numbers"');
CREATE INDEX by_mood ON "Größe ✓" (mood, lower("select"));
COMMENT ON TABLE items IS 'A comment; with -- marks, \\. and a ✓';
"""


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest, place: Place) -> str:
    """The tests that ask for it run with a folder as the store, and with a bucket."""
    if request.param == "s3":
        bucket: Bucket = request.getfixturevalue("bucket")
        place.environment.update(bucket.environment)
    return str(request.param)


def test_restore_brings_back_all_that_was_in_the_schema(place: Place, storage: str) -> None:
    url = place.tenants("create", NAME, "--json").json["url"]
    place.database.sql(EVERYTHING, url=url)
    first = place.tenants("snapshot", NAME, "--json")
    assert first.code == 0, first.said
    snapshot = first.json
    assert {"id", "tenant", "created_at", "revision", "bytes", "sha256", "verified_at"} <= set(snapshot)
    assert (snapshot["tenant"], snapshot["revision"]) == (NAME, None)
    assert snapshot["bytes"] > 0 and len(snapshot["sha256"]) == 64
    assert snapshot["created_at"] <= snapshot["verified_at"]
    assert place.tenants("snapshots", "--json").json["snapshots"] == [{**snapshot, "proven": False}]
    full = place.database.dump(NAME)

    place.database.sql(
        """DROP MATERIALIZED VIEW counted; DROP VIEW "good ones" CASCADE; DELETE FROM items;
           ALTER TYPE mood ADD VALUE 'bad'; CREATE TABLE extra (one int); SELECT nextval('"Numbers"')""",
        url=url,
    )
    damaged = place.database.dump(NAME)
    newest = place.tenants("restore", NAME, "--json")
    assert newest.code == 0, newest.said
    assert newest.json["snapshot"] == snapshot["id"]
    assert place.database.dump(NAME) == full
    query = """SELECT nextval('"Numbers"'), total('x'), (SELECT max(id) FROM items), (SELECT * FROM counted)"""
    assert place.database.sql(query, url=url) == [(1010, 500, 2, 2)]
    place.database.sql("INSERT INTO items (parent) VALUES (9)", url=url)
    assert place.database.sql("SELECT max(id), max(twice) FROM items", url=url) == [(3, 6)]

    other = place.tenants("restore", NAME, newest.json["undo"], "--json")
    assert other.code == 0, other.said
    assert place.database.dump(NAME) == damaged
    again = place.tenants("restore", NAME, snapshot["id"])
    assert again.code == 0, again.said
    assert place.database.dump(NAME) == full

    listed = place.tenants("snapshots", NAME, "--json").json["snapshots"]
    assert [s["id"] for s in listed] == sorted(s["id"] for s in listed)
    assert [s["reason"] for s in listed] == ["manual", "restore", "restore", "restore"]
    place.nothing_left()


def test_snapshots_are_those_of_the_tenant_that_is_named_or_whose_url_it_is(place: Place, storage: str) -> None:
    urls = {}
    for name in ("fruits", "fruits-2"):
        urls[name] = place.tenants("create", name, "--json").json["url"]
        place.database.sql("CREATE TABLE items (name text)", url=urls[name])
    nothing = place.tenants("snapshots", "--json")
    assert (nothing.code, nothing.json) == (0, {"snapshots": [], "gone": [], "unknown": []})
    missing = place.tenants("restore", "fruits")
    assert missing.code == 5, missing.said
    own = place.tenants("snapshot", "fruits", "--json", DATABASE_URL=urls["fruits"])
    assert own.code == 0, own.said
    admin = place.tenants("snapshot", "fruits-2", "--json")
    assert admin.code == 0, admin.said

    def listed(*arguments: str, **environment: str) -> list[str]:
        done = place.tenants("snapshots", "--json", *arguments, **environment)
        assert done.code == 0, done.said
        return sorted(s["tenant"] for s in done.json["snapshots"])

    assert listed() == ["fruits", "fruits-2"]
    assert listed("fruits") == ["fruits"]
    assert listed(DATABASE_URL=urls["fruits"]) == ["fruits"]
    foreign = place.tenants("snapshot", "fruits-2", DATABASE_URL=urls["fruits"])
    assert foreign.code == 2, foreign.said
    crossed = place.tenants("restore", "fruits", admin.json["id"])
    assert crossed.code == 5, crossed.said
    place.nothing_left()


def test_restore_with_a_tenants_own_url_is_refused_and_names_the_command(place: Place) -> None:
    url = place.tenants("create", "fruits", "--json").json["url"]
    place.database.sql("CREATE TABLE items (name text)", url=url)
    taken = place.tenants("snapshot", "fruits", "--json").json
    written = place.database.written()
    done = place.tenants("restore", "fruits", taken["id"], DATABASE_URL=url)
    assert done.code == 2, done.said
    assert done.err.rstrip().endswith(f"tenants restore fruits {taken['id']}")
    assert place.database.written() == written


@pytest.mark.every_server
def test_restore_under_a_running_app_shows_old_rows_then_restored_ones_and_loses_no_write(place: Place) -> None:
    place.fruits()
    place.deployed()
    url = place.url_of("fruits")
    assert place.tenants("snapshot", "fruits").code == 0
    place.database.sql("INSERT INTO items SELECT 'later ' || n FROM generate_series(1, 1000) n", url=url)
    with living_on(url) as (seen, acknowledged):
        until(lambda: seen and acknowledged, "the app reads and writes")
        done = place.tenants("restore", "fruits", "--json")
        assert done.code == 0, done.said
        count = len(seen)
        until(lambda: len(seen) > count + 1, "the app goes on reading")
    assert set(seen) == {1004, 4}
    assert seen == sorted(seen, reverse=True)
    query = sql.SQL("SELECT name FROM fruits.items UNION ALL SELECT name FROM {}.items")
    with psycopg.connect(place.database.url) as connection:
        kept = connection.execute(query.format(sql.Identifier(done.json["aside"]))).fetchall()
    assert set(acknowledged) - {row[0] for row in kept} == set()
    place.nothing_left()


def test_restore_of_a_snapshot_that_is_not_whole_or_not_its_own_is_refused(place: Place) -> None:
    for name in ("berries", "fruits"):
        place.fruits(name)
    place.deployed()
    taken = {n: place.tenants("snapshot", n, "--json").json["id"] for n in ("berries", "fruits")}
    url = place.url_of("fruits")
    place.database.sql("DELETE FROM items WHERE name = 'apple'; CREATE TABLE later ()", url=url)
    before = place.database.dump("fruits")
    saved = place.folder / "saved"
    shutil.copytree(place.store, saved)

    [archive] = place.store.glob(f"*/fruits/{taken['fruits']}.dump.zst")
    manifest = archive.with_name(f"{taken['fruits']}.json")
    [foreign] = place.store.glob(f"*/berries/{taken['berries']}.dump.zst")

    def edit(**changes: object) -> None:
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | changes))

    def flip() -> None:
        data = bytearray(archive.read_bytes())
        data[len(data) // 2] ^= 1
        archive.write_bytes(data)

    def repack() -> None:
        """Whole in itself, but not what the manifest promised."""
        raw = zstandard.ZstdDecompressor().decompressobj().decompress(archive.read_bytes())
        archive.write_bytes(zstandard.ZstdCompressor(level=19).compress(raw))

    def exchange() -> None:
        """By somebody who can write to the bucket: a neighbour's archive, with a manifest that fits."""
        shutil.copy(foreign, archive)
        theirs = json.loads(foreign.with_name(f"{taken['berries']}.json").read_text())
        edit(**{name: theirs[name] for name in ("size", "sha256", "raw_size")})

    def garbage() -> None:
        """No archive at all, with a manifest that fits."""
        raw = b"DROP TABLE items;\n" * 50
        packed = zstandard.ZstdCompressor().compress(raw)
        archive.write_bytes(packed)
        edit(size=len(packed), raw_size=len(raw), sha256=hashlib.sha256(packed).hexdigest())

    damages: dict[str, Callable[[], object]] = {
        "a flipped byte": flip,
        "the last bytes missing": lambda: os.truncate(archive, archive.stat().st_size - 10),
        "half of it missing": lambda: os.truncate(archive, archive.stat().st_size // 2),
        "empty": lambda: os.truncate(archive, 0),
        "bytes behind it": lambda: archive.write_bytes(archive.read_bytes() + b"more"),
        "no archive": archive.unlink,
        "other bytes of the same content": repack,
        "a neighbour's archive alone": lambda: shutil.copy(foreign, archive),
        "a neighbour's archive and digests": exchange,
        "a neighbour's manifest": lambda: shutil.copy(foreign.with_name(f"{taken['berries']}.json"), manifest),
        "no archive but text": garbage,
        "another digest": lambda: edit(sha256="0" * 64),
        "another size": lambda: edit(size=1),
        "another revision": lambda: edit(heads=["0815"]),
        "no text in the manifest": lambda: manifest.write_text("{"),
        "another format": lambda: edit(format=99),
    }
    for what, damage in damages.items():
        damage()
        done = place.tenants("restore", "fruits", taken["fruits"])
        assert done.code == 5, f"{what}: {done.said}"
        assert "Next:" in done.err, f"{what}: {done.said}"
        assert "bug" not in done.err, f"{what}: {done.said}"
        assert place.database.dump("fruits") == before, what
        shutil.rmtree(place.store)
        shutil.copytree(saved, place.store)
        place.nothing_left()
        assert [s for s in place.database.schemas() if "~" in s] == [], what

    done = place.tenants("restore", "fruits", taken["fruits"])
    assert done.code == 0, done.said
    assert place.database.sql("SELECT count(*) FROM items", url=url) == [(4,)]


def test_snapshot_can_be_restored_without_this_program(place: Place) -> None:
    url = place.tenants("create", NAME, "--json").json["url"]
    place.database.sql(EVERYTHING, url=url)
    assert place.tenants("snapshot", NAME).code == 0
    expected = place.database.dump(NAME)
    [archive] = place.store.rglob("*.dump.zst")
    plain = place.folder / "plain.dump"
    if shutil.which("zstd"):
        subprocess.run(["zstd", "-q", "-d", archive, "-o", plain], check=True)
    else:
        with archive.open("rb") as source, plain.open("wb") as target:
            zstandard.ZstdDecompressor().copy_stream(source, target)
    place.database.sql(f'DROP SCHEMA "{NAME}" CASCADE; DROP SCHEMA tenants CASCADE')
    program = str(wheel_binaries() / "pg_restore")
    subprocess.run([program, "--exit-on-error", f"--dbname={place.database.url}", str(plain)], check=True)
    assert place.database.dump(NAME) == expected


def test_large_snapshot_goes_into_the_bucket_in_equal_parts_and_a_killed_one_leaves_nothing(
    place: Place, bucket: Bucket
) -> None:
    place.environment.update(bucket.environment)
    url = place.tenants("create", "fruits", "--json").json["url"]
    with psycopg.connect(url) as app, app.cursor() as cursor:
        cursor.execute("CREATE TABLE photos (id int PRIMARY KEY, data bytea)")
        with cursor.copy("COPY photos FROM STDIN") as copy:
            for number in range(40):
                copy.write_row((number, os.urandom(1 << 20)))
    digest = "SELECT md5(string_agg(md5(data), '' ORDER BY id)) FROM photos"
    expected = place.database.sql(digest, url=url)
    place.fruits()

    for how, code in ((signal.SIGTERM, 143), (signal.SIGKILL, -9)):
        with ending(place.start("deploy")) as deploy:
            until(lambda: bucket.unfinished() or deploy.poll() is not None, "an upload begins")
            deploy.send_signal(how)
            _, err = deploy.communicate(timeout=60)
        assert deploy.returncode == code, err
        assert bucket.keys() == []
        assert place.database.sql("SELECT to_regclass('fruits.items')::text") == [(None,)]
        if how is signal.SIGTERM:
            assert bucket.unfinished() == 0

    done = place.tenants("deploy", "--json")
    assert done.code == 0, done.said
    snapshot = done.json["deploys"][0]["snapshot"]
    assert bucket.unfinished() == 0
    archive, manifest = sorted(set(bucket.keys()) - set(ledgers_of(bucket)))
    assert archive.endswith(f"/fruits/{snapshot}.dump.zst") and manifest.endswith(f"/fruits/{snapshot}.json")
    stored = bucket.client().get_object(Bucket=bucket.name, Key=archive)
    assert stored["ContentLength"] > 32 << 20
    assert stored["ETag"] == etag_of_parts(stored["Body"].read(), 16 << 20)

    place.database.sql("DELETE FROM photos", url=url)
    restored = place.tenants("restore", "fruits", snapshot)
    assert restored.code == 0, restored.said
    assert place.database.sql(digest, url=url) == expected
    assert bucket.unfinished() == 0
    place.nothing_left()


def ledgers_of(bucket: Bucket) -> list[str]:
    return [key for key in sorted(bucket.keys()) if key.endswith(".ledger")]


BEGUN = """
    INSERT INTO tenants.pending (tenant, id, manifest, content, store)
        SELECT tenant, id, manifest, content, store FROM tenants.snapshots;
    DELETE FROM tenants.snapshots
"""
"""The catalog as it was before the snapshot was there: its archive is in storage."""


def test_a_snapshot_whose_manifest_was_stored_by_a_run_that_was_killed_then_is_one(place: Place) -> None:
    place.fruits()
    place.deployed()
    first = place.snapshot()
    known = place.database.sql("SELECT id, manifest, content, bytes FROM tenants.snapshots")
    place.database.sql(BEGUN)
    assert place.tenants("snapshots", "--json").json["snapshots"] == []
    second = place.snapshot()
    assert [s["id"] for s in place.tenants("snapshots", "--json").json["snapshots"]] == [first, second]
    assert place.database.sql("SELECT id, manifest, content, bytes FROM tenants.snapshots ORDER BY number")[:1] == known
    assert place.database.sql("SELECT * FROM tenants.pending") == []


def test_what_a_killed_run_left_in_storage_is_gone_after_the_next_one(place: Place, storage: str) -> None:
    """It was killed when the archive was there and its manifest was not: that is no snapshot, and nobody's."""
    url = place.tenants("create", "fruits", "--json").json["url"]
    place.database.sql("CREATE TABLE items (name text)", url=url)
    first = place.tenants("snapshot", "fruits", "--json")
    assert first.code == 0, first.said
    place.database.sql(BEGUN)
    if storage == "folder":
        [manifest] = place.store.rglob("*.json")
        manifest.unlink()
        manifest.with_name("20200101T000000Z-abcdef.dump.zst.partial").write_bytes(b"half")
    else:
        bucket = Bucket(place.environment["AWS_ENDPOINT_URL_S3"], place.environment["TENANTS_STORE"].split("/")[2])
        key = sorted(bucket.keys())[1]
        bucket.client().delete_object(Bucket=bucket.name, Key=key)
        bucket.client().create_multipart_upload(Bucket=bucket.name, Key=key.replace(".json", ".dump.zst"))
    second = place.tenants("snapshot", "fruits", "--json")
    assert second.code == 0, second.said
    listed = place.tenants("snapshots", "--json").json["snapshots"]
    assert [s["id"] for s in listed] == [second.json["id"]]
    if storage == "folder":
        place.nothing_left()
        assert place.snapshots() == [second.json["id"]]
    else:
        assert bucket.unfinished() == 0
        keys = sorted(set(bucket.keys()) - set(ledgers_of(bucket)))
        assert [Path(key).name.partition(".")[0] for key in keys] == [second.json["id"]] * 2
        assert len(bucket.keys()) == 3, "a new ledger takes the place of the old one"


def etag_of_parts(data: bytes, size: int) -> str:
    """What S3 says of an object that was sent in parts of that size."""
    parts = [hashlib.md5(data[start : start + size]).digest() for start in range(0, len(data), size)]
    return f'"{hashlib.md5(b"".join(parts)).hexdigest()}-{len(parts)}"'


@contextmanager
def living_on(url: str) -> Iterator[tuple[list[int], list[str]]]:
    """An app that goes on reading and writing: the counts of rows not its own that it saw, through a prepared
    statement, and the rows whose commit was acknowledged."""
    seen: list[int] = []
    acknowledged: list[str] = []
    problems: list[Exception] = []
    stop = Event()

    def live() -> None:
        try:
            with psycopg.connect(url, autocommit=True, prepare_threshold=0) as app:
                while not stop.is_set():
                    row = app.execute("SELECT count(*) FROM items WHERE name NOT LIKE 'mine %'").fetchone()
                    assert row
                    seen.append(row[0])
                    name = f"mine {len(acknowledged)}"
                    app.execute("INSERT INTO items (name) VALUES (%s)", [name])
                    acknowledged.append(name)
        except psycopg.Error as error:
            problems.append(error)

    thread = Thread(target=live)
    thread.start()
    try:
        yield seen, acknowledged
    finally:
        stop.set()
        thread.join()
    assert problems == []


def test_the_same_restore_typed_again_means_the_same_snapshot(place: Place) -> None:
    """The first one has kept what was there as the newest snapshot of all: that is not what is meant."""
    place.fruits()
    place.deployed()
    first = place.snapshot()
    place.database.sql("DELETE FROM items", url=place.url_of("fruits"))
    for _ in range(2):
        done = place.tenants("restore", "fruits", "--json")
        assert done.code == 0 and done.json["snapshot"] == first, done.said
        assert place.database.sql("SELECT count(*) FROM fruits.items") == [(4,)]


def test_what_an_archive_committed_before_it_was_found_to_be_forged_is_told_with_the_way_back(place: Place) -> None:
    place.fruits()
    place.deployed()
    room = "m" * 100
    place.database.sql(
        "CREATE TABLE notes AS SELECT n, repeat(md5(n::text), 100) AS body FROM generate_series(1, 6000) n;"
        f"COMMENT ON TABLE notes IS '{room}'",
        url=place.url_of("fruits"),
    )
    taken = place.tenants("snapshot", "fruits", "--json").json["id"]
    (archive,) = place.store.glob(f"*/fruits/{taken}.dump.zst")
    whole = zstandard.ZstdDecompressor().decompressobj().decompress(archive.read_bytes())
    forged = whole.replace(room.encode(), "'; COMMIT; BEGIN; --".ljust(len(room)).encode())
    archive.write_bytes(zstandard.ZstdCompressor().compress(forged))
    before = place.database.dump("fruits")

    done = place.tenants("restore", "fruits", taken)

    assert done.code == 5 and "is damaged" in done.err and "fruits is not as it was" in done.err, done.said
    assert place.database.dump("fruits") != before
    back = done.err.rpartition("put back what was there: tenants ")[2].split()
    assert place.tenants(*back).code == 0
    assert place.database.dump("fruits") == before
