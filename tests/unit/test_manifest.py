"""Manifests: written, read back, and never trusted."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenants.core.contents import Contents
from tenants.core.errors import SnapshotError
from tenants.core.manifest import (
    Manifest,
    archive_key,
    id_of_key,
    is_id,
    is_server,
    manifest_key,
    new_id,
    rfc3339,
    tenant_prefix,
)

SERVER, TENANT, ID = "abcdefghij23", "fruits", "20261123T064714Z-k3f9ab"
GOOD = Manifest(
    id=ID,
    server=SERVER,
    tenant=TENANT,
    project="fruits",
    created_at=datetime(2026, 11, 23, 6, 47, 14, tzinfo=UTC),
    verified_at=datetime(2026, 11, 23, 6, 47, 15, tzinfo=UTC),
    reason="deploy",
    heads=("0001",),
    git_rev="8843d7f",
    database="db.main",
    server_version="18.6",
    client_version="18.6",
    tool_version="0.1.0",
    size=1234,
    sha256="a" * 64,
    raw_size=4321,
    grantees=("reporting",),
    archive="20261122T064714Z-k3f9ab",
    content_sha256="c" * 64,
    tables={"fruits.items": Contents(4, 40, "d" * 64)},
    limits={"connections": 20, "size": "10GB"},
    app_role=True,
    extensions=("citext",),
    schema="public",
)
LATER = {"grantees", "archive", "content_sha256", "tables", "limits", "app_role", "extensions", "schema", "recipients"}
LATER |= {"settled"}
"""What manifests of the first days do not have."""
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2199, 1, 1), timezones=st.just(UTC)).map(
    lambda m: m.replace(microsecond=0)
)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=60)
DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
COMMITS = st.text("0123456789abcdef", min_size=7, max_size=64)
COUNTS = st.integers(0, 2**53)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def read(data: bytes) -> Manifest:
    return Manifest.from_json(data, server=SERVER, tenant=TENANT, id=ID)


def document(**changes: Any) -> bytes:
    return json.dumps({**json.loads(GOOD.to_json()), **changes}).encode()


@given(MOMENTS, MOMENTS, st.lists(TEXTS, max_size=3), st.none() | COMMITS, TEXTS, COUNTS, COUNTS, DIGESTS)
def test_what_is_written_is_read_back(
    created: datetime,
    verified: datetime,
    heads: list[str],
    git_rev: str | None,
    text: str,
    size: int,
    raw_size: int,
    sha256: str,
) -> None:
    one = replace(
        GOOD,
        created_at=created,
        verified_at=verified,
        heads=tuple(heads),
        git_rev=git_rev,
        database=text,
        size=size,
        raw_size=raw_size,
        sha256=sha256,
        grantees=tuple(heads),
    )
    assert read(one.to_json()) == one
    assert one.to_json().isascii()


def test_a_manifest_tells_its_revision_in_one_word() -> None:
    assert GOOD.revision == "0001"
    assert replace(GOOD, heads=("0001", "0002")).revision == "0001+0002"
    assert replace(GOOD, heads=()).revision is None


def test_fields_of_a_later_version_are_passed_over_and_later_ones_may_be_missing() -> None:
    assert read(document(colour="red")) == GOOD
    older = json.loads(GOOD.to_json())
    for name in LATER:
        del older[name]
    plain = read(json.dumps(older).encode())
    assert (plain.grantees, plain.archive, plain.tables, plain.app_role) == ((), None, {}, False)
    assert plain.key == f"{SERVER}/{TENANT}/{ID}.dump.zst"


def test_the_archive_lies_where_the_manifest_was_found_whatever_it_names() -> None:
    assert GOOD.key == f"{SERVER}/{TENANT}/20261122T064714Z-k3f9ab.dump.zst"
    assert GOOD.rows == 4


def test_another_format_is_told_to_update() -> None:
    with pytest.raises(SnapshotError, match="format that this version does not know") as caught:
        read(document(format=2))
    assert "update" in str(caught.value.next)


@pytest.mark.parametrize(
    "changes",
    [{"server": "zzzzzzzzzzzz"}, {"tenant": "nuts"}, {"tenant": "../nuts"}, {"id": "20261123T064714Z-zzzzzz"}],
)
def test_a_manifest_that_lies_about_its_place_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(SnapshotError, match="that of another snapshot"):
        read(document(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"size": -1},
        {"size": True},
        {"size": 1.5},
        {"size": "1"},
        {"size": 10**400},
        {"raw_size": 10**400},
        {"sha256": "a" * 63},
        {"sha256": "A" * 64},
        {"sha256": None},
        {"content_sha256": "\u0661" * 64},
        {"heads": [1]},
        {"heads": None},
        {"heads": "0001"},
        {"heads": {"0001": 1}},
        {"heads": ["x" * 300]},
        {"heads": ["\ud800"]},
        {"grantees": [None]},
        {"grantees": "reporting"},
        {"archive": "../pears/20261122T064714Z-k3f9ab"},
        {"archive": 1},
        {"content_sha256": "x"},
        {"tables": []},
        {"tables": {"a.b": 4}},
        {"tables": {"a.b": {"rows": -1, "bytes": 0, "sha256": "d" * 64}}},
        {"tables": {"a.b": {"rows": 1, "bytes": 0, "sha256": "d"}}},
        {"tables": {"a.b": {"rows": 1, "bytes": 0, "sha256": "d" * 64, "more": 1}}},
        {"limits": {"size": None}},
        {"limits": {"size": "x" * 60}},
        {"app_role": 1},
        {"extensions": "citext"},
        {"schema": 1},
        {"git_rev": 1},
        {"git_rev": "main\x1b[2J"},
        {"project": None},
        {"project": ["fruits"]},
        {"reason": "x" * 200},
        {"database": "\ud800"},
        {"created_at": "yesterday"},
        {"created_at": 0},
        {"created_at": None},
        {"created_at": "0001-01-01T00:00:00+14:00"},
        {"verified_at": "9999-12-31T23:59:59-14:00"},
    ],
    ids=lambda changes: ascii(changes)[:50],
)
def test_a_field_that_is_not_what_it_has_to_be_is_damage(changes: dict[str, Any]) -> None:
    with pytest.raises(SnapshotError, match=f"manifest of snapshot {ID} of {TENANT}"):
        read(document(**changes))


@pytest.mark.parametrize("field", sorted(set(Manifest.__dataclass_fields__) - LATER))
def test_a_field_that_is_missing_is_damage(field: str) -> None:
    cut = json.loads(GOOD.to_json())
    del cut[field]
    with pytest.raises(SnapshotError, match=ID):
        read(json.dumps(cut).encode())


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"null", b"[]", b"1", b'"text"', b"{}", b"{", b"\xff\xfe", b"\x00", b"NaN", b'{"format": 1}'),
        *(b"[" * 100_000, b'{"format":' * 100_000, b"9" * 10_000),
    ],
    ids=lambda data: ascii(data[:20]),
)
def test_what_is_no_manifest_is_damage(data: bytes) -> None:
    with pytest.raises(SnapshotError, match=ID):
        read(data)


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_lies_there_raises_a_snapshot_error_and_nothing_else(data: bytes) -> None:
    with pytest.raises(SnapshotError):
        read(data)


@given(st.dictionaries(st.sampled_from(["format", *Manifest.__dataclass_fields__]), JSON, min_size=1, max_size=3))
def test_any_change_is_read_as_it_is_or_raises_a_snapshot_error(changes: dict[str, Any]) -> None:
    try:
        found = read(document(**changes))
    except SnapshotError:
        return
    assert (found.server, found.tenant, found.id) == (SERVER, TENANT, ID)
    assert isinstance(found.to_json(), bytes)


@given(st.integers(0, len(GOOD.to_json()) - 1), st.binary(max_size=3))
def test_flipped_bytes_raise_a_snapshot_error_and_nothing_else(place: int, put: bytes) -> None:
    data = GOOD.to_json()
    try:
        read(data[:place] + put + data[place + 1 :])
    except SnapshotError:
        return


@given(MOMENTS, MOMENTS)
def test_ids_sort_by_time_and_are_told_from_keys(one: datetime, other: datetime) -> None:
    first, second = new_id(one, "k3f9ab"), new_id(other, "k3f9ab")
    assert (first < second) == (one < other)
    assert new_id(one, "zzz") < new_id(one + timedelta(milliseconds=1), "222"), "also within a second"
    assert is_id(first)
    assert id_of_key(manifest_key(SERVER, TENANT, first)) == first
    assert id_of_key(archive_key(SERVER, TENANT, first)) is None
    for key in (manifest_key(SERVER, TENANT, first), archive_key(SERVER, TENANT, first)):
        assert key.startswith(tenant_prefix(SERVER, TENANT))


@pytest.mark.parametrize(
    "text",
    ["", ID + "\n", ID.upper(), ID[:-1], f"../{ID}", f"{ID}.json", ID.replace("2026", "\u0662\u0660\u0662\u0666")],
)
def test_only_an_id_is_an_id(text: str) -> None:
    assert is_id(ID)
    assert not is_id(text)


@pytest.mark.parametrize("text", ["", "..", "short", "ABCDEFGHIJKL", "abcdefghij23\n", "abcdefghij2/"])
def test_only_a_servers_name_is_one(text: str) -> None:
    assert is_server(SERVER)
    assert not is_server(text)


@pytest.mark.parametrize("key", ["", "x.json", f"{SERVER}/{TENANT}/notes.json", f"{SERVER}/{TENANT}/{ID}.json.partial"])
def test_other_objects_are_not_taken_for_manifests(key: str) -> None:
    assert id_of_key(key) is None


def test_moments_are_written_in_utc() -> None:
    assert rfc3339(datetime.fromisoformat("2026-11-23T08:47:14+02:00")) == "2026-11-23T06:47:14Z"
