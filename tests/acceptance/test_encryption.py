"""Snapshots that the bucket cannot read: encrypted with age before anything leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import Place

pyrage = pytest.importorskip("pyrage", reason="the extra 'age' is what is tested here")

SECRET = "a pear that nobody else may know of"


@pytest.fixture
def orchard(place: Place) -> Place:
    """A tenant with a secret, and a public key for its snapshots; the private one is in key.txt."""
    place.fruits()
    place.deployed()
    place.database.sql("INSERT INTO fruits.items VALUES (%s)", [SECRET])
    place.environment["TENANTS_AGE_RECIPIENTS"] = key(place.folder / "key.txt")
    return place


def key(file: Path) -> str:
    """Write an identity file as age-keygen does. Returns its public key."""
    identity = pyrage.x25519.Identity.generate()
    file.write_text(f"# public key: {identity.to_public()}\n{identity}\n")
    return str(identity.to_public())


def archive(place: Place) -> Path:
    (file,) = place.store.rglob("*.age")
    return file


def names(place: Place) -> list[str]:
    return [name for (name,) in place.database.sql("SELECT name FROM fruits.items ORDER BY 1")]


def test_what_is_encrypted_comes_back_with_its_identity_file_alone(orchard: Place) -> None:
    before = orchard.database.dump("fruits")
    id_ = orchard.snapshot()
    assert archive(orchard).name == f"{id_}.dump.zst.age"
    orchard.database.sql("TRUNCATE fruits.items")
    refused = orchard.tenants("restore", "fruits")
    assert refused.code == 2 and "is encrypted" in refused.err and "--identity FILE" in refused.err
    assert names(orchard) == []
    done = orchard.tenants("restore", "fruits", id_, "--identity", "key.txt")
    assert done.code == 0, done.said
    assert orchard.database.dump("fruits") == before
    by_variable = orchard.tenants("fetch", "fruits", id_, TENANTS_AGE_IDENTITY="key.txt")
    assert by_variable.code == 0, by_variable.said
    orchard.nothing_left()


def test_the_bucket_learns_no_row_and_no_digest_of_one(orchard: Place) -> None:
    orchard.snapshot()
    (manifest,) = orchard.store.rglob("*.json")
    for file in (archive(orchard), manifest):
        assert SECRET.encode() not in file.read_bytes()
    told = json.loads(manifest.read_text())
    assert told["content_sha256"] is None
    assert {found["sha256"] for found in told["tables"].values()} == {""}
    assert told["tables"]["fruits.items"]["rows"] == 5, "how much there is, a person may see in a listing"


def test_age_and_zstd_and_pg_restore_are_enough_without_this_program(orchard: Place) -> None:
    orchard.snapshot()
    identity = pyrage.x25519.Identity.from_str((orchard.folder / "key.txt").read_text().splitlines()[1])
    import zstandard

    compressed = pyrage.decrypt(archive(orchard).read_bytes(), [identity])
    assert zstandard.ZstdDecompressor().stream_reader(compressed).read(5) == b"PGDMP"


@pytest.mark.parametrize(
    ("identity", "words"),
    [("other.txt", "does not open it"), ("nothing.txt", "cannot be read"), ("empty.txt", "is no identity file")],
)
def test_a_wrong_key_is_said_and_nothing_is_touched(orchard: Place, identity: str, words: str) -> None:
    key(orchard.folder / "other.txt")
    (orchard.folder / "empty.txt").write_text("# nothing in it\n")
    orchard.snapshot()
    before, stored = orchard.database.dump("fruits"), orchard.stored()
    for command in (("restore", "fruits"), ("fetch", "fruits"), ("drill", "fruits")):
        done = orchard.tenants(*command, "--identity", identity)
        assert (done.code, words in done.err) == (2, True), done.said
        assert "Traceback" not in done.said
    assert (orchard.database.dump("fruits"), orchard.stored()) == (before, stored)
    orchard.nothing_left()


@pytest.mark.parametrize("where", [40, 150, -300, -1])
def test_a_flipped_bit_is_damage_and_not_a_wrong_key(orchard: Place, where: int) -> None:
    orchard.snapshot()
    data = bytearray(archive(orchard).read_bytes())
    data[where] ^= 1
    archive(orchard).write_bytes(data)
    before = orchard.database.dump("fruits")
    done = orchard.tenants("restore", "fruits", "--identity", "key.txt")
    assert done.code == 5 and "is damaged" in done.err and "\nData:     fruits is untouched\n" in done.err, done.said
    assert orchard.database.dump("fruits") == before


def test_a_drill_opens_it_and_a_night_without_the_identity_says_that_it_cannot(orchard: Place) -> None:
    night = orchard.tenants("nightly")
    assert night.code == 0 and "not drilled" in night.said and "is encrypted" in night.said, night.said
    assert (
        orchard.tenants("drill", "fruits", "--identity", "key.txt", "--json").json["drilled"][0]["rows"] == 6
    )  # with the one of alembic_version
    listed = orchard.tenants("snapshots", "--json").json["snapshots"]
    assert [found["proven"] for found in listed] == [True]
    orchard.nothing_left()


def test_an_unchanged_tenant_costs_a_manifest_until_the_keys_change(orchard: Place) -> None:
    first = orchard.snapshot()
    orchard.snapshot()
    assert archive(orchard).name == f"{first}.dump.zst.age"
    orchard.snapshot(TENANTS_AGE_RECIPIENTS=key(orchard.folder / "next.txt"))
    assert len(list(orchard.store.rglob("*.age"))) == 2
    orchard.snapshot(TENANTS_AGE_RECIPIENTS="")
    assert len(list(orchard.store.rglob("*.zst"))) == 1
    for identity in ("key.txt", "next.txt"):
        latest = [s["id"] for s in orchard.tenants("snapshots", "--json").json["snapshots"]]
        chosen = latest[0] if identity == "key.txt" else latest[2]
        assert orchard.tenants("fetch", "fruits", chosen, "--identity", identity).code == 0
    orchard.nothing_left()


def test_an_app_with_its_own_url_encrypts_too(orchard: Place) -> None:
    own = orchard.url_of("fruits")
    orchard.snapshot(DATABASE_URL=own)
    orchard.snapshot(DATABASE_URL=own)
    archive(orchard)
    assert orchard.tenants("fetch", "fruits", "--identity", "key.txt", DATABASE_URL=own).code == 0


@pytest.mark.parametrize("key", ["age1nonsense", "ssh-ed25519 nonsense", "AGE-SECRET-KEY-1QQQQQQ", "nonsense"])
def test_a_key_that_is_none_stops_before_anything_is_stored(orchard: Place, key: str) -> None:
    done = orchard.tenants("snapshot", "fruits", TENANTS_AGE_RECIPIENTS=key)
    assert done.code == 2 and "TENANTS_AGE_RECIPIENTS" in done.err, done.said
    assert "QQQQQQ" not in done.said
    assert orchard.stored() == []


def test_a_lost_server_comes_back_from_encrypted_snapshots(orchard: Place) -> None:
    orchard.snapshot()
    before = orchard.database.dump("fruits")
    orchard.lose_server()
    refused = orchard.tenants("recover", *orchard.trust)
    assert refused.code == 2 and "--identity FILE" in refused.err, refused.said
    assert orchard.database.schemas() == ["public"]
    done = orchard.tenants("recover", *orchard.trust, "--identity", "key.txt")
    assert done.code == 0, done.said
    assert orchard.database.dump("fruits") == before
