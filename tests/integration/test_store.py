"""Object storage: what every store promises: a folder, a strict R2, and a real S3 server where one can be had."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from support import Bucket, until

from tenants.core.errors import AlreadyThere, StorageError
from tenants.core.settings import Settings
from tenants.edges.store import Store, require_store

PART = 16 << 20
PREFIX = "backups"
BROKEN: dict[str, Any] = {"status": 500, "code": "InternalError"}


@dataclass(frozen=True)
class Kept:
    """A store, and the way to look behind it."""

    store: Store
    raw: Callable[[], list[str]]
    """The names of all that is there, unfinished things included."""
    begin: Callable[[str], None]
    """Leave an unfinished object, as a run does that is killed."""
    bucket: Bucket | None = None
    hurry: Callable[[], None] = lambda: None
    """Have a key written twice in a second, which R2 does not let anybody do."""


def open_settings(**environment: str) -> Store:
    return require_store(Settings.read({"DATABASE_URL": "postgres://u@host/d", **environment}))


def in_folder(folder: Path) -> Kept:
    root = folder / PREFIX

    def raw() -> list[str]:
        return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())

    def begin(key: str) -> None:
        path = root / f"{key}.partial"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"cut")

    return Kept(open_settings(TENANTS_STORE=f"file://{root}"), raw, begin)


def in_bucket(bucket: Bucket) -> Kept:
    client = bucket.client()

    def raw() -> list[str]:
        uploads = client.list_multipart_uploads(Bucket=bucket.name).get("Uploads", [])
        return sorted(key.removeprefix(f"{PREFIX}/") for key in [*bucket.keys(), *(u["Key"] for u in uploads)])

    def begin(key: str) -> None:
        place = {"Bucket": bucket.name, "Key": f"{PREFIX}/{key}"}
        upload = client.create_multipart_upload(**place)["UploadId"]
        client.upload_part(**place, UploadId=upload, PartNumber=1, Body=b"cut")

    return Kept(open_settings(**bucket.environment), raw, begin, bucket)


@pytest.fixture(params=["folder", "r2", "versitygw"])
def kept(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    if request.param == "folder":
        yield in_folder(tmp_path)
    else:
        bucket: Bucket = request.getfixturevalue({"r2": "bucket", "versitygw": "real_bucket"}[request.param])
        for name, value in bucket.environment.items():
            monkeypatch.setenv(name, value)
        found = in_bucket(bucket)
        yield replace(found, hurry=lambda: bucket.switches.pause(0)) if request.param == "r2" else found


def content(size: int) -> bytes:
    """Bytes that are not all alike, so that parts in a wrong order are noticed."""
    return b"".join(number.to_bytes(8, "big") for number in range(size // 8 + 1))[:size]


def put(store: Store, key: str, data: bytes, piece: int = 1 << 20) -> None:
    with store.writer(key) as writer:
        for start in range(0, len(data), piece):
            writer.write(data[start : start + piece])


def get(store: Store, key: str) -> bytes:
    return b"".join(store.read(key))


def keys(store: Store, prefix: str = "") -> list[str]:
    return [found.key for found in store.objects(prefix)]


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1])
def test_a_stream_of_any_size_comes_back_as_it_was(kept: Kept, size: int) -> None:
    data = content(size)
    put(kept.store, "server/fruits/one", data)
    assert get(kept.store, "server/fruits/one") == data
    assert [(o.key, o.size) for o in kept.store.objects("")] == [("server/fruits/one", size)]
    assert kept.raw() == ["server/fruits/one"]


def test_a_long_stream_in_odd_pieces_comes_back_and_all_its_parts_are_equal_but_the_last(kept: Kept) -> None:
    data = content(40 << 20)
    with kept.store.writer("server/fruits/one") as writer:
        for start in range(0, len(data), 1_234_567):
            writer.write(data[start : start + 1_234_567])
        until(lambda: parts(kept, "server/fruits/one") in (None, [PART, PART]), "two parts have been sent")
    assert get(kept.store, "server/fruits/one") == data
    if kept.bucket:
        found = kept.bucket.client().head_object(Bucket=kept.bucket.name, Key=f"{PREFIX}/server/fruits/one")
        assert found["ETag"].strip('"').endswith("-3")


def parts(kept: Kept, key: str) -> list[int] | None:
    """The sizes of the parts that were sent so far; None for a store that has none."""
    if kept.bucket is None:
        return None
    client, bucket = kept.bucket.client(), kept.bucket.name
    upload = client.list_multipart_uploads(Bucket=bucket)["Uploads"][0]["UploadId"]
    found: list[dict[str, Any]] = client.list_parts(Bucket=bucket, Key=f"{PREFIX}/{key}", UploadId=upload)["Parts"]
    return [part["Size"] for part in found]


@pytest.mark.parametrize("size", [0, 100, PART + 100])
def test_an_exception_in_the_block_leaves_nothing(kept: Kept, size: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        with kept.store.writer("server/fruits/one") as writer:
            writer.write(content(size))
            raise KeyboardInterrupt
    assert kept.raw() == []


@pytest.mark.parametrize("size", [100, PART + 100])
def test_an_exception_while_an_object_is_written_anew_leaves_the_old_one(kept: Kept, size: int) -> None:
    put(kept.store, "server/fruits/one", b"old")
    with pytest.raises(ZeroDivisionError):
        with kept.store.writer("server/fruits/one") as writer:
            writer.write(content(size))
            raise ZeroDivisionError
    assert kept.raw() == ["server/fruits/one"]
    assert get(kept.store, "server/fruits/one") == b"old"


def test_an_object_is_not_there_before_it_is_whole(kept: Kept) -> None:
    with kept.store.writer("server/fruits/one") as writer:
        writer.write(content(PART + 1))
        assert keys(kept.store) == []
        with pytest.raises(StorageError):
            get(kept.store, "server/fruits/one")
    assert keys(kept.store) == ["server/fruits/one"]


def test_a_new_object_is_put_once(kept: Kept) -> None:
    kept.hurry()
    kept.store.put_new("server/fruits/one.json", b"first")
    with pytest.raises(AlreadyThere, match=r"one\.json exists already"):
        kept.store.put_new("server/fruits/one.json", b"second")
    assert get(kept.store, "server/fruits/one.json") == b"first"
    assert kept.raw() == ["server/fruits/one.json"]


def test_objects_are_those_below_the_prefix_sorted_by_key(kept: Kept) -> None:
    names = ["a/fruits/2", "a/fruits/1", "a/fruits-old/1", "a/fruits.b/1", "b/fruits/1", "a/nuts/1", "a/fruits/1.json"]
    for name in names:
        kept.store.put_new(name, name.encode())
    kept.begin("a/fruits/3")
    assert keys(kept.store) == sorted(names)
    assert keys(kept.store, "a/fruits/") == ["a/fruits/1", "a/fruits/1.json", "a/fruits/2"]
    assert keys(kept.store, "a/fru") == sorted(name for name in names if name.startswith("a/fru"))
    assert keys(kept.store, "c/") == []
    assert all(o.size == len(o.key) and o.modified.tzinfo for o in kept.store.objects(""))


def test_more_objects_than_fit_into_one_answer_are_all_listed(kept: Kept) -> None:
    names = [f"server/fruits/{number:04}" for number in range(1003)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: kept.store.put_new(name, b"x"), names))
    assert keys(kept.store, "server/") == names


def test_folders_are_the_first_parts_of_all_keys(kept: Kept) -> None:
    assert kept.store.folders() == []
    for name in ("b/fruits/1", "a/fruits/1", "a/nuts/1", "ab/fruits/1"):
        kept.store.put_new(name, b"x")
    assert kept.store.folders() == ["a", "ab", "b"]


def test_nothing_outside_of_the_prefix_is_seen(kept: Kept) -> None:
    if kept.bucket:
        kept.bucket.client().put_object(Bucket=kept.bucket.name, Key="backups-of-another/server/fruits/1", Body=b"x")
        kept.bucket.client().put_object(Bucket=kept.bucket.name, Key="another/server/fruits/1", Body=b"x")
    kept.store.put_new("server/fruits/1", b"x")
    assert keys(kept.store) == ["server/fruits/1"]
    assert kept.store.folders() == ["server"]


def test_deleting_is_done_once_and_may_be_asked_for_twice(kept: Kept) -> None:
    for name in ("server/fruits/1", "server/fruits/2"):
        kept.store.put_new(name, b"x")
    kept.store.delete("server/fruits/1")
    kept.store.delete("server/fruits/1")
    kept.store.delete("never/was/there")
    assert kept.raw() == ["server/fruits/2"]


def test_unfinished_objects_below_the_prefix_are_dropped_and_no_others(kept: Kept) -> None:
    kept.store.put_new("server/fruits/done", b"x")
    for name in ("server/fruits/1", "server/fruits/2", "server/fruits-old/1", "server/nuts/1"):
        kept.begin(name)
    assert kept.store.abort_unfinished("server/fruits/") == 2
    assert kept.store.abort_unfinished("server/fruits/") == 0
    left = [name.removesuffix(".partial") for name in kept.raw()]
    assert left == ["server/fruits-old/1", "server/fruits/done", "server/nuts/1"]


def test_reading_what_is_not_there_is_said_with_its_place(kept: Kept) -> None:
    with pytest.raises(StorageError, match="server/fruits/one is not there") as caught:
        get(kept.store, "server/fruits/one")
    assert kept.store.place("server/fruits/one") in caught.value.message
    assert caught.value.next


def test_an_empty_store_has_nothing_and_is_not_made_by_looking(kept: Kept) -> None:
    assert keys(kept.store) == [] and kept.store.folders() == []
    assert kept.store.abort_unfinished("server/") == 0
    assert kept.raw() == []


def test_only_its_owner_may_read_what_is_in_a_folder(tmp_path: Path) -> None:
    kept = in_folder(tmp_path)
    put(kept.store, "server/fruits/one", b"x")
    kept.store.put_new("server/fruits/one.json", b"x")
    made = [tmp_path / PREFIX, *(tmp_path / PREFIX).rglob("*")]
    assert len(made) == 5
    assert all(path.stat().st_mode & 0o077 == 0 for path in made)


def test_a_folder_that_cannot_be_used_is_said_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / PREFIX).write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="cannot be used: Not a directory") as caught:
        in_folder(tmp_path).store.put_new("server/fruits/one", b"x")
    assert "TENANTS_STORE" in str(caught.value.next)


@pytest.fixture
def r2(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Kept:
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    return in_bucket(bucket)


def test_a_write_that_was_done_is_done_though_its_answer_got_lost(r2: Kept, bucket: Bucket) -> None:
    """It is sent again, and then refused: its upload is gone, the key is there, or was written just now."""
    bucket.switches.pause(0)
    bucket.switches.misbehave(operation="(Comp|Put).*", times=1, done=True, **BROKEN)
    put(r2.store, "server/fruits/large", content(PART + 1))
    assert get(r2.store, "server/fruits/large") == content(PART + 1)
    bucket.switches.misbehave(operation="PutObject", times=1, done=True, **BROKEN)
    r2.store.put_new("server/fruits/new", b"first")
    bucket.switches.misbehave(operation="PutObject", times=1, done=True, **BROKEN)
    bucket.switches.misbehave(operation="PutObject", times=1, status=409, code="OperationAborted")
    put(r2.store, "server/fruits/small", b"second")
    assert [get(r2.store, f"server/fruits/{name}") for name in ("new", "small")] == [b"first", b"second"]


def test_a_write_that_was_not_done_is_not_taken_for_one_because_something_is_there(r2: Kept, bucket: Bucket) -> None:
    put(r2.store, "server/fruits/one", b"theirs, not ours")
    bucket.switches.pause(0)
    bucket.switches.misbehave(operation="PutObject", times=1, **BROKEN)
    with pytest.raises(AlreadyThere):
        r2.store.put_new("server/fruits/one", b"ours")
    bucket.switches.misbehave(operation="PutObject", times=1, **BROKEN)
    bucket.switches.misbehave(operation="PutObject", times=1, status=409, code="OperationAborted")
    with pytest.raises(StorageError, match=r"answered 409 to PutObject of s3://.*/server/fruits/one: OperationAborted"):
        put(r2.store, "server/fruits/one", b"ours")
    assert get(r2.store, "server/fruits/one") == b"theirs, not ours"


def test_a_read_that_breaks_off_says_where(r2: Kept, bucket: Bucket) -> None:
    put(r2.store, "server/fruits/one", content(4 << 20))
    bucket.switches.misbehave(operation="GetObject", body="cut")
    pieces: list[bytes] = []
    with pytest.raises(StorageError, match=f"server/fruits/one broke off after [0-9]+ of {4 << 20} bytes") as caught:
        pieces.extend(r2.store.read("server/fruits/one"))
    assert 0 < len(b"".join(pieces)) < 4 << 20
    assert "network" in str(caught.value.next)


def test_what_the_bucket_keeps_is_told_when_it_is_deleted_and_stops_no_clean_up(r2: Kept, bucket: Bucket) -> None:
    put(r2.store, "server/fruits/one", b"x")
    bucket.switches.lock("backups/server/")
    with pytest.raises(StorageError, match=r"a lock rule of the bucket keeps s3://.*/server/fruits/one"):
        r2.store.delete("server/fruits/one")
    for key in ("server/fruits/1", "server/fruits/2", "server/fruits/3"):
        r2.begin(key)
    bucket.switches.misbehave(operation="Abort.*", key="1$", status=403, code="AccessDenied")
    bucket.switches.misbehave(operation="Abort.*", key="2$", status=404, code="NoSuchUpload")
    assert r2.store.abort_unfinished("server/fruits/") == 1
    assert bucket.unfinished() == 2
    bucket.switches.misbehave(operation="Abort.*", status=400, code="InvalidArgument")
    r2.begin("server/fruits/4")
    with pytest.raises(StorageError, match="answered 400 to AbortMultipartUpload"):
        r2.store.abort_unfinished("server/fruits/4")
