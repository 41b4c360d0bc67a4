"""Storage that fails, lies, forgets or keeps: it is noticed before the live schema is touched, told with what, where
and what to do, leaves nothing, and the next run needs no hand."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from typing import Any

import pytest
from support import Bucket, Done, Place

ARCHIVE, MANIFEST = ".dump.zst", ".json"


class Shop:
    """A tenant whose second revision is pending, with one snapshot in a bucket of which it has moved on."""

    def __init__(self, place: Place, bucket: Bucket) -> None:
        self.place, self.bucket, self.switches = place, bucket, bucket.switches
        place.environment.update(bucket.environment)
        place.fruits()
        place.deployed()
        self.snapshot = self.taken()
        self.bought("plum")
        place.colour()

    def bought(self, name: str) -> None:
        """The app goes on: no snapshot that is there is one of what is there now."""
        self.place.database.sql("INSERT INTO fruits.items (name) VALUES (%s)", [name])

    def taken(self) -> str:
        done = self.place.tenants("snapshot", "fruits", "--json")
        assert done.code == 0, done.said
        return str(done.json["id"])

    def run(self, command: str) -> Done:
        """snapshot, deploy, restore, snapshots or nightly, of this tenant."""
        more = {"snapshot": ["fruits"], "restore": ["fruits", self.snapshot], "nightly": ["--again"]}
        return self.place.tenants(command, *more.get(command, []))

    def works(self, command: str) -> Done:
        done = self.run(command)
        assert done.code == 0, f"{command}: {done.said}"
        return done

    def stops(self, command: str, *says: str) -> None:
        """It ends with the code for storage, says all of `says` and what comes next, and the schema is as it was."""
        before, schemas = self.place.database.dump("fruits"), self.place.database.schemas()
        done = self.run(command)
        assert done.code == 5, f"{command}: {done.said}"
        for telling in says:
            assert telling in done.err, f"{command}: {done.said}"
        assert re.search(r"^ *Next: +\S", done.err, re.MULTILINE), done.said
        assert "Traceback" not in done.said and "this is a bug" not in done.said, done.said
        assert self.place.database.dump("fruits") == before, command
        assert self.place.database.schemas() == schemas, command

    def everything(self) -> list[str]:
        return self.bucket.keys()

    def stored(self, ending: str) -> set[str]:
        return {key.removesuffix(ending) for key in self.everything() if key.endswith(ending)}

    def nothing_left(self) -> None:
        """Neither in the database nor in the bucket: no part of an upload, and no archive without its manifest."""
        self.place.nothing_left()
        assert self.bucket.unfinished() == 0
        assert self.stored(ARCHIVE) <= self.stored(MANIFEST)

    def heals(self, command: str) -> None:
        """Once storage is what it should be, the command needs nobody's hand."""
        self.switches.behave()
        self.works(command)
        self.nothing_left()

    def key(self, ending: str, id_: str = "") -> str:
        [key] = [key for key in self.everything() if key.endswith(f"/fruits/{id_ or self.snapshot}{ending}")]
        return key

    def read(self, key: str) -> bytes:
        return bytes(self.bucket.client().get_object(Bucket=self.bucket.name, Key=key)["Body"].read())

    def write(self, key: str, data: bytes) -> None:
        self.bucket.client().put_object(Bucket=self.bucket.name, Key=key, Body=data)


@pytest.fixture
def shop(place: Place, bucket: Bucket) -> Shop:
    return Shop(place, bucket)


COMMANDS = ["snapshot", "deploy", "restore", "snapshots", "nightly"]
WRITE, READ, DELETE = "PutObject|CreateMultipartUpload|UploadPart", "GetObject", "DeleteObject|AbortMultipartUpload"
FORBIDDEN = {"status": 403, "code": "AccessDenied"}
BROKEN = {"status": 500, "code": "InternalError"}


def test_one_bad_answer_is_asked_for_again_and_nobody_notices(shop: Shop) -> None:
    """Also where it was done, and only the answer got lost: a key that must be new is there then, by our own hand."""
    bad: dict[str, dict[str, Any]] = {
        "snapshot": {"operation": "PutObject", "key": MANIFEST, "done": True, **BROKEN},
        "nightly": {"operation": "PutObject", "key": ARCHIVE, "status": 503, "code": "ServiceUnavailable"},
        "restore": {"operation": "GetObject", "key": ARCHIVE, **BROKEN},
        "snapshots": {"operation": "ListObjectsV2", **BROKEN},
        "deploy": {"operation": "ListMultipartUploads", **BROKEN},
    }
    for command, fault in bad.items():
        shop.bought(command)
        shop.switches.behave()
        shop.switches.misbehave(times=1, **fault)
        count = len(shop.switches.requests())
        shop.works(command)
        assert shop.switches.requests()[count:].count(fault["operation"]) >= 2
        shop.nothing_left()


@pytest.mark.parametrize("command", COMMANDS)
def test_storage_that_is_down_or_forbids_stops_what_needs_it_and_nothing_else(shop: Shop, command: str) -> None:
    shop.switches.misbehave(**BROKEN)
    shop.stops(command, f"{shop.bucket.endpoint} answered 500 to ", f"s3://{shop.bucket.name}/", "status page")
    needs = {
        "GetObject": (READ, COMMANDS),
        "PutObject": (WRITE, ["snapshot", "deploy", "restore", "nightly"]),
        "DeleteObject": (DELETE, []),
    }
    for name, (operation, stopped) in needs.items():
        shop.switches.behave()
        shop.switches.misbehave(operation=operation, **FORBIDDEN)
        if command in stopped:
            told = f"the credentials may not do that in bucket '{shop.bucket.name}' ({name})"
            shop.stops(command, told, "give their token read and write")
            shop.nothing_left()
        else:
            shop.works(command)
    shop.heals(command)


def test_an_archive_that_does_not_come_back_as_it_was_sent_is_no_snapshot(shop: Shop) -> None:
    """And what is not kept by a snapshot is not migrated."""
    says = dict.fromkeys(("flip", "short", "drop", "swap"), "is not what was sent")
    for body, telling in {**says, "cut": "broke off after "}.items():
        shop.switches.behave()
        shop.switches.misbehave(operation="GetObject", key=ARCHIVE, body=body, part=256)
        shop.stops("deploy", telling, f"s3://{shop.bucket.name}/backups/")
        shop.nothing_left()
    shop.switches.behave()
    shop.switches.misbehave(operation="PutObject", key=ARCHIVE, forget=True)
    shop.stops("deploy", "is not there")
    shop.nothing_left()
    assert shop.stored(MANIFEST) == {shop.key(MANIFEST).removesuffix(MANIFEST)}
    shop.heals("deploy")


def test_a_manifest_that_cannot_be_written_makes_no_snapshot_and_the_next_run_clears_its_archive(shop: Shop) -> None:
    shop.switches.misbehave(operation="PutObject", key=MANIFEST, **FORBIDDEN)
    shop.stops("deploy", "the credentials may not do that")
    assert len(shop.stored(MANIFEST)) == 1
    assert shop.bucket.unfinished() == 0
    shop.heals("deploy")


def test_an_archive_that_is_bad_when_it_is_restored_changes_nothing(shop: Shop) -> None:
    """Whether it is bad from the beginning, or only when it is read the second time, to be replayed."""
    cases = [(0, "flip"), (0, "drop"), (0, "swap"), (0, "cut"), (1, "flip"), (1, "cut")]
    for skip, body in cases:
        shop.switches.behave()
        shop.switches.misbehave(operation="GetObject", key=shop.snapshot + ARCHIVE, body=body, part=256, skip=skip)
        shop.stops("restore", "broke off after" if body == "cut" else "is damaged", shop.snapshot)
        shop.nothing_left()
    shop.heals("restore")


def test_a_manifest_that_lies_or_has_lost_its_archive_is_told_and_taken_for_nothing(shop: Shop) -> None:
    shop.switches.pause(0)
    place, manifest, archive = shop.place, shop.key(MANIFEST), shop.key(ARCHIVE)
    place.fruits("berries")
    place.deployed("berries")
    theirs = place.tenants("snapshot", "berries", "--json").json["id"]
    [foreign] = [key for key in shop.everything() if key.endswith(f"/berries/{theirs}{ARCHIVE}")]
    sound = {key: shop.read(key) for key in (manifest, archive)}

    def edit(**changes: object) -> None:
        shop.write(manifest, json.dumps(json.loads(sound[manifest]) | changes).encode())

    def exchange() -> None:
        """A neighbour's archive, with a manifest that fits."""
        shop.write(archive, shop.read(foreign))
        fits = json.loads(shop.read(foreign.removesuffix(ARCHIVE) + MANIFEST))
        edit(**{name: fits[name] for name in ("size", "sha256", "raw_size")})

    lies: dict[str, tuple[Callable[[], object], str]] = {
        "another digest": (lambda: edit(sha256="0" * 64), "is not the one that was stored"),
        "another size": (lambda: edit(size=7), "is not the one that was stored"),
        "other heads": (lambda: edit(heads=["0815"]), "is not the one that was stored"),
        "another tenant": (lambda: edit(tenant="berries"), "is that of another snapshot"),
        "no manifest at all": (lambda: shop.write(manifest, b"{"), "is damaged"),
        "a neighbour's archive": (lambda: shop.write(archive, shop.read(foreign)), "is damaged"),
        "a neighbour's archive and digests": (exchange, "is not the one that was stored"),
        "no archive": (
            lambda: shop.bucket.client().delete_object(Bucket=shop.bucket.name, Key=archive),
            f"{shop.snapshot}{ARCHIVE} is not there",
        ),
    }
    for lie, says in lies.values():
        lie()
        shop.stops("restore", says)
        place.nothing_left()
        for key, data in sound.items():
            shop.write(key, data)

    shop.bought("pear")
    shop.snapshot = shop.taken()
    shop.bucket.client().delete_object(Bucket=shop.bucket.name, Key=shop.key(ARCHIVE))
    shop.stops("snapshots", "cannot be restored: its archive")
    shop.stops("restore", f"{shop.snapshot}{ARCHIVE} is not there")
    shop.snapshot = shop.taken()  # of the same content, whose archive is gone
    shop.works("restore")
    shop.works("nightly")


def test_a_bucket_that_keeps_what_it_has_stops_nothing(shop: Shop) -> None:
    """A lock rule refuses deletes and a second write, as it should: what has to go stays until the rule lets go."""
    shop.switches.lock("backups/")
    orphan = shop.key(ARCHIVE).replace(shop.snapshot, "20200101T000000Z-abcdef")
    shop.write(orphan, b"left by a run that was killed")
    for command in ("snapshot", "deploy", "restore", "nightly", "snapshots"):
        shop.works(command)
        assert orphan in shop.everything()
    shop.switches.misbehave(operation="GetObject", key=ARCHIVE, body="flip")
    shop.bought("quince")
    manifests = shop.stored(MANIFEST)
    shop.stops("snapshot", "is not what was sent")
    assert shop.stored(MANIFEST) == manifests and len(shop.stored(ARCHIVE) - manifests) == 2
    shop.heals("snapshot")
    assert orphan not in shop.everything()


def test_slow_storage_is_waited_for(shop: Shop) -> None:
    shop.switches.misbehave(seconds=0.05)
    for command in ("snapshot", "restore", "snapshots"):
        shop.works(command)
    shop.nothing_left()


def test_an_upload_that_loses_a_part_or_is_stopped_leaves_no_part(shop: Shop) -> None:
    shop.place.database.sql("ALTER TABLE fruits.items ADD photo bytea")
    shop.place.database.sql("UPDATE fruits.items SET photo = %s WHERE name = 'plum'", [os.urandom(17 << 20)])
    shop.switches.misbehave(operation="UploadPart", times=1, forget=True)
    shop.stops("snapshot", "answered 400 to CompleteMultipartUpload", "InvalidPart", f"s3://{shop.bucket.name}/")
    shop.nothing_left()
    shop.switches.behave()
    shop.switches.misbehave(operation="UploadPart", skip=1, **FORBIDDEN)
    shop.stops("snapshot", "(UploadPart)")
    shop.nothing_left()
    shop.switches.misbehave(operation="AbortMultipartUpload", **FORBIDDEN)
    shop.stops("snapshot", "(UploadPart)")
    assert shop.bucket.unfinished() == 1
    shop.switches.behave()
    shop.switches.misbehave(operation="UploadPart", times=1, **BROKEN)
    shop.switches.misbehave(operation="CompleteMultipartUpload", times=1, done=True, **BROKEN)
    shop.works("deploy")
    shop.nothing_left()
