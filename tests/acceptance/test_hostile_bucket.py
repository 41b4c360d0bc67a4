"""A bucket into which someone else may put objects, or that does not keep what it was given: the catalog says what is a
snapshot, and on a new server the ledger does that the lost one signed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import zstandard
from support import TENANTS, Bucket, Place

from tenants.core import ledger
from tenants.core.ledger import Ledger, Listed, Sealed
from tenants.edges import signing
from tenants.edges.sql import catalog_steps


@pytest.fixture
def orchard(place: Place) -> Place:
    place.fruits()
    place.deployed()
    return place


def document(place: Place, id_: str) -> dict[str, Any]:
    (file,) = place.store.rglob(f"{id_}.json")
    return dict(json.loads(file.read_text()))


def folder(place: Place, tenant: str = "fruits") -> Path:
    (found,) = place.store.glob(f"*/{tenant}")
    return found


def forge(place: Place, id_: str, **changes: object) -> str:
    """Put a manifest that is like the newest one, but for its id and what else changes. Returns the id."""
    newest = sorted(path.stem for path in folder(place).glob("*.json"))[-1]
    moment = f"{datetime.strptime(id_[:16], '%Y%m%dT%H%M%SZ'):%Y-%m-%dT%H:%M:%SZ}"
    forged = document(place, newest) | {"id": id_, "created_at": moment, "verified_at": moment} | changes
    (folder(place) / f"{id_}.json").write_text(json.dumps(forged))
    return id_


def ahead(**by: float) -> str:
    return f"{datetime.now(UTC) + timedelta(**by):%Y%m%dT%H%M%SZ}-forged"


def poisoned(place: Place, id_: str) -> str:
    """A whole forged snapshot: other rows of the same length, a manifest that fits, and a proof."""
    (archive,) = folder(place).glob("*.dump.zst")
    raw = zstandard.ZstdDecompressor().decompressobj().decompress(archive.read_bytes()).replace(b"banana", b"poison")
    packed = zstandard.ZstdCompressor().compress(raw)
    (folder(place) / f"{id_}.dump.zst").write_bytes(packed)
    (folder(place) / f"{id_}.proof").touch()
    sizes = {"size": len(packed), "raw_size": len(raw), "sha256": hashlib.sha256(packed).hexdigest()}
    return forge(place, id_, archive=None, **sizes)


def rows(place: Place) -> list[str]:
    return [row[0] for row in place.database.sql("SELECT name FROM fruits.items ORDER BY name")]


FRUITS = ["another-apple", "apple", "banana", "carrot"]


def test_manifests_dated_in_the_future_push_no_snapshot_out(orchard: Place) -> None:
    first = orchard.snapshot()
    copy = ahead(seconds=5)
    shutil.copy(next(folder(orchard).glob("*.dump.zst")), folder(orchard) / f"{copy}.dump.zst")
    days = [*range(1, 31), *range(37, 37 + 7 * 70, 7)]
    forged = {
        forge(orchard, ahead(days=day), archive=copy, reason=why) for day in days for why in ("nightly", "manual")
    }
    for _ in range(2):
        done = orchard.tenants("nightly", "--again", "--json")
        assert done.code == 0, done.said
        true = [first, done.json["snapshots"]["fruits"]]
        assert set(true) == set(orchard.snapshots()) - forged, "of two nights on one day the later one is kept"
    listed = orchard.tenants("snapshots", "fruits", "--json").json
    assert {s["id"] for s in listed["snapshots"]} == set(true) and len(listed["unknown"]) == 100
    said = orchard.tenants("snapshots", "fruits")
    assert f"{len(forged)} objects in storage look like snapshots" in said.err and said.code == 0
    assert orchard.tenants("restore", "fruits", true[0]).code == 0


def test_a_forged_snapshot_is_neither_listed_nor_proven_nor_restored(orchard: Place) -> None:
    id_ = orchard.snapshot()
    forged = poisoned(orchard, ahead(seconds=1))
    listed = orchard.tenants("snapshots", "--json").json
    assert [(s["id"], s["proven"]) for s in listed["snapshots"]] == [(id_, False)]
    assert [Path(key).stem for key in listed["unknown"]] == [forged]
    drilled = orchard.tenants("drill", "fruits", "--json").json["drilled"]
    assert [(one["snapshot"], one["already"]) for one in drilled] == [(id_, False)]
    orchard.database.sql("DELETE FROM fruits.items")
    assert orchard.tenants("restore", "fruits").code == 0
    assert rows(orchard) == FRUITS
    for words in (
        ["restore", "fruits", forged],
        ["fetch", "fruits", forged],
        ["drill", "fruits", "--snapshot", forged],
    ):
        done = orchard.tenants(*words)
        assert done.code == 5 and "which this server has not stored" in done.err, done.said
    assert orchard.tenants("restore", "fruits", "--at", "2199-01-01").code == 0 and rows(orchard) == FRUITS
    assert (folder(orchard) / f"{forged}.json").exists(), "what is not ours is not removed"


def test_an_archive_that_is_not_ours_does_for_no_snapshot(orchard: Place) -> None:
    """The newest snapshot's archive is named again where nothing has changed: the newest that the catalog knows."""
    id_ = orchard.snapshot()
    poisoned(orchard, ahead(seconds=1))
    assert document(orchard, orchard.snapshot())["archive"] == id_


def test_a_manifest_of_600_megabytes_stops_no_night_and_no_recovery(orchard: Place) -> None:
    orchard.snapshot()
    with open(folder(orchard) / f"{ahead(seconds=1)}.json", "wb") as file:
        file.truncate(600 << 20)
    with open(folder(orchard) / f"{ahead(seconds=1)}.ledger", "wb") as file:
        file.truncate(600 << 20)

    def in_a_gigabyte(*words: str) -> None:
        done = subprocess.run(
            ["prlimit", f"--data={1 << 30}", TENANTS, *words],
            env={**os.environ, **orchard.environment},
            cwd=orchard.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    in_a_gigabyte("nightly")
    orchard.lose_server()
    in_a_gigabyte("recover", *orchard.trust)
    assert rows(orchard) == FRUITS


def test_who_reads_the_catalog_as_a_tenant_finds_no_key(orchard: Place) -> None:
    url = orchard.url_of("fruits")
    for table in ("keys", "ledgers"):
        with pytest.raises(Exception, match="permission denied"):
            orchard.database.sql(f"SELECT * FROM tenants.{table}", url=url)
    assert orchard.database.sql("SELECT count(*) FROM tenants.keys WHERE length(private) = 32") == [(1,)]


# Together with a tenant's own login


def own_snapshot(place: Place, url: str, forged: str, function: str) -> None:
    """Let the tenant say of the forged snapshot that it has begun it, or taken it."""
    file = folder(place) / f"{forged}.json"
    said, digest = json.loads(file.read_text()), hashlib.sha256(file.read_bytes()).hexdigest()
    store = place.environment["TENANTS_STORE"]
    if function == "begin_snapshot":
        place.database.sql("SELECT tenants.begin_snapshot(%s, %s, NULL, %s)", [forged, digest, store], url=url)
        return
    query = "SELECT tenants.add_snapshot(%s, %s, '0001', %s, %s, %s, NULL, %s, %s)"
    when = said["created_at"]
    place.database.sql(query, [forged, when, said["size"], said["sha256"], when, digest, store], url=url)


def test_what_a_tenant_says_it_has_begun_is_not_completed_as_the_admins(orchard: Place) -> None:
    first = orchard.snapshot()
    forged = poisoned(orchard, ahead(seconds=-60))
    own_snapshot(orchard, orchard.url_of("fruits"), forged, "begin_snapshot")
    second = orchard.snapshot()
    listed = orchard.tenants("snapshots", "--json").json
    assert [s["id"] for s in listed["snapshots"]] == [first, second]
    assert [Path(key).stem for key in listed["unknown"]] == [forged]
    assert orchard.database.sql("SELECT * FROM tenants.pending") == []


def test_junk_that_a_tenant_says_it_has_begun_keeps_no_snapshot_from_being_taken(orchard: Place) -> None:
    orchard.snapshot()
    url, junk = orchard.url_of("fruits"), ahead(seconds=-60)
    (folder(orchard) / f"{junk}.json").write_bytes(b"junk")
    values = [junk, "0" * 64, orchard.environment["TENANTS_STORE"]]
    orchard.database.sql("SELECT tenants.begin_snapshot(%s, %s, NULL, %s)", values, url=url)
    orchard.snapshot()
    own = {"DATABASE_URL": url, "TENANTS_MIGRATIONS": str(orchard.migrations / "fruits")}
    orchard.database.sql("SELECT tenants.begin_snapshot(%s, %s, NULL, %s)", values, url=url)
    orchard.colour()
    assert orchard.tenants("deploy", **own).code == 0


def test_no_snapshot_names_the_archive_of_one_that_the_tenant_took(orchard: Place) -> None:
    first = orchard.snapshot()
    forged = poisoned(orchard, ahead(seconds=-30))
    own_snapshot(orchard, orchard.url_of("fruits"), forged, "add_snapshot")
    assert document(orchard, orchard.snapshot())["archive"] == first


def test_a_row_that_a_tenant_has_written_in_the_place_of_the_admins_stops_the_deploy(orchard: Place) -> None:
    orchard.database.sql("""
        CREATE FUNCTION tenants.races() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO tenants.snapshots (id, tenant, created_at, bytes, sha256, verified_at, manifest, by_tenant)
            VALUES (NEW.id, NEW.tenant, now(), 1, repeat('0', 64), now(), repeat('0', 64), true);
            RETURN NEW;
        END $$;
        CREATE TRIGGER races AFTER INSERT ON tenants.pending FOR EACH ROW EXECUTE FUNCTION tenants.races()
    """)
    orchard.colour()
    done = orchard.tenants("deploy")
    assert done.code == 5 and "another snapshot of fruits is on record" in done.err, done.said
    assert orchard.database.sql("SELECT version_num FROM fruits.alembic_version") == [("0001",)]


def test_a_snapshot_that_could_not_be_recorded_is_settled_with_its_archive(orchard: Place) -> None:
    orchard.database.sql("""
        CREATE FUNCTION tenants.fails() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''not now''; END';
        CREATE TRIGGER fails BEFORE INSERT ON tenants.snapshots FOR EACH ROW EXECUTE FUNCTION tenants.fails()
    """)
    assert orchard.tenants("snapshot", "fruits").code != 0
    assert orchard.tenants("snapshots", "--json").json["snapshots"] == []
    orchard.database.sql("DROP FUNCTION tenants.fails() CASCADE")
    (begun,) = orchard.snapshots()
    orchard.snapshot()
    assert orchard.tenants("snapshots", "--json").json["snapshots"][0]["id"] == begun
    assert orchard.tenants("restore", "fruits", begun).code == 0 and rows(orchard) == FRUITS


# On a new server


def signed_by(private: bytes, public: bytes, listed: Ledger) -> bytes:
    statement = listed.statement()
    return Sealed(statement, public, signing.sign(private, statement.encode())).to_json()


def test_only_what_the_trusted_key_signed_comes_back(orchard: Place) -> None:
    orchard.snapshot()
    (true,) = folder(orchard).glob("*.ledger")
    statement = json.loads(json.loads(true.read_text())["statement"])
    forged = poisoned(orchard, ahead(seconds=1))
    private, public = signing.new_key()
    made = document(orchard, forged)
    digest = hashlib.sha256((folder(orchard) / f"{forged}.json").read_bytes()).hexdigest()
    listed = Listed(forged, digest, made["size"], made["sha256"], "0001", None)
    theirs = Ledger(statement["server"], "fruits", 10**6, None, datetime.now(UTC), [listed])
    (folder(orchard) / f"{ahead(seconds=2)}.ledger").write_bytes(signed_by(private, public, theirs))
    orchard.lose_server()
    refused = orchard.tenants("recover")
    assert refused.code == 2 and "signed by several keys" in refused.err and orchard.trust[1] in refused.err
    dry = orchard.tenants("recover", "--dry-run", "--json").json
    assert set(dry["keys"]) == {orchard.trust[1], ledger.fingerprint(public)} and dry["snapshots"] == {}
    done = orchard.tenants("recover", *orchard.trust)
    assert done.code == 0 and f"signed by {orchard.trust[1]}: fruits" in done.err, done.said
    assert "1 manifest that the ledger does not list is passed over" in done.err
    assert rows(orchard) == FRUITS
    assert {s["id"] for s in orchard.tenants("snapshots", "--json").json["snapshots"]}.isdisjoint({forged})


def test_nothing_comes_back_before_somebody_says_that_the_key_is_trusted(orchard: Place) -> None:
    orchard.snapshot()
    orchard.lose_server()
    refused = orchard.tenants("recover")
    assert refused.code == 2 and f"Next:     tenants recover --trust {orchard.trust[1]}" in refused.err
    for wrong in ("00" * 16, "nonsense"):
        done = orchard.tenants("recover", "--trust", wrong)
        assert done.code in (2, 5) and orchard.database.sql("SELECT to_regnamespace('fruits')") == [(None,)], done.said
    assert orchard.tenants("recover", *orchard.trust).code == 0


def test_ledgers_and_manifests_that_were_copied_swapped_or_are_old_change_nothing(orchard: Place) -> None:
    orchard.fruits("pears")
    orchard.deployed("pears")
    orchard.snapshot("pears")
    orchard.snapshot()
    (old,) = folder(orchard).glob("*.ledger")
    replayed = old.read_bytes()
    old_id = orchard.snapshots()[0]
    orchard.database.sql("INSERT INTO fruits.items VALUES ('damson')")
    newest = orchard.snapshot()
    (folder(orchard) / f"{ahead(seconds=2)}.ledger").write_bytes(replayed)  # lists the older snapshot alone
    (theirs,) = folder(orchard, "pears").glob("*.ledger")
    shutil.copy(theirs, folder(orchard) / f"{ahead(seconds=3)}.ledger")  # a neighbor's, signed by the true key
    shutil.copy(folder(orchard) / f"{old_id}.json", folder(orchard) / f"{ahead(seconds=4)}.json")
    forge(orchard, ahead(days=1), archive=old_id)  # dated anew
    orchard.lose_server()
    dry = orchard.tenants("recover", "--dry-run", "--json").json
    assert dry["snapshots"]["fruits"] == newest
    assert orchard.tenants("recover", *orchard.trust).code == 0
    assert rows(orchard) == sorted([*FRUITS, "damson"])


def test_a_manifest_that_is_another_one_than_the_ledger_lists_is_passed_over_and_said(orchard: Place) -> None:
    first = orchard.snapshot()
    orchard.database.sql("DELETE FROM fruits.items WHERE name = 'apple'")
    second = orchard.snapshot()
    file = folder(orchard) / f"{second}.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"archive": first, "heads": ["0001"]}))
    orchard.lose_server()
    done = orchard.tenants("recover", *orchard.trust)
    assert done.code == 0 and f"not what was listed, and passed over: {second}" in done.err, done.said
    assert rows(orchard) == FRUITS


def test_the_history_from_before_a_recovery_is_listed_and_can_be_restored(orchard: Place) -> None:
    first = orchard.snapshot()
    orchard.database.sql("DELETE FROM fruits.items")
    second = orchard.snapshot()
    assert orchard.tenants("drill", "fruits").code == 0
    orchard.lose_server()
    assert orchard.tenants("recover", *orchard.trust).code == 0
    listed = orchard.tenants("snapshots", "--json").json["snapshots"]
    assert [(s["id"], s["proven"]) for s in listed[:2]] == [(first, False), (second, True)]
    assert orchard.tenants("restore", "fruits", first).code == 0
    assert rows(orchard) == FRUITS
    before = orchard.snapshots()
    assert orchard.tenants("nightly", TENANTS_KEEP="last=1", TENANTS_KEEP_CHANGES="last=1").code == 0
    assert {first, second} <= set(before) & set(orchard.snapshots()), "a lost server's snapshots are not pruned"


def test_unsigned_snapshots_bring_no_extension_that_postgresql_does_not_trust(orchard: Place) -> None:
    orchard.snapshot()
    (true,) = folder(orchard).glob("*.ledger")
    true.unlink()
    newest = forge(orchard, ahead(seconds=1), extensions=["pg_prewarm", "pg_walinspect", "citext"], archive=None)
    (archive,) = folder(orchard).glob("*.dump.zst")
    shutil.copy(archive, folder(orchard) / f"{newest}.dump.zst")
    forge(orchard, ahead(days=2))
    orchard.lose_server()
    refused = orchard.tenants("recover")
    assert refused.code == 2 and "no snapshot is signed" in refused.err and "recover --unsigned" in refused.err
    done = orchard.tenants("recover", "--unsigned", "--json")
    assert "not signed: fruits" in done.err and "none that PostgreSQL trusts" in done.err, done.said
    assert [one["snapshot"] for one in done.json["recovered"]] == [newest], "one dated in the future is passed over"
    query = "SELECT extname FROM pg_extension WHERE extname <> 'plpgsql'"
    assert orchard.database.sql(query) == [("citext",)]


def test_names_with_a_date_that_there_is_not_stop_no_recovery(orchard: Place) -> None:
    true = document(orchard, orchard.snapshot())
    for id_ in ("99999999T999999Z-aaaaaa", "00000000T000000Z-aaaaaa"):
        (folder(orchard) / f"{id_}.json").write_text(json.dumps(true | {"id": id_, "archive": true["id"]}))
        (folder(orchard) / f"{id_}.ledger").write_text("{}")
    orchard.lose_server()
    for file in orchard.store.rglob("2*.ledger"):
        file.unlink()
    done = orchard.tenants("recover", "--unsigned")
    assert done.code == 0, done.said
    assert rows(orchard) == FRUITS


def test_storage_that_fails_for_a_moment_brings_no_older_snapshot_back(place: Place, bucket: Bucket) -> None:
    place.environment.update(bucket.environment)
    place.fruits()
    place.deployed()
    place.snapshot()
    place.database.sql("INSERT INTO fruits.items VALUES ('damson')")
    newest = place.snapshot()
    place.lose_server()
    bucket.switches.misbehave(operation="GetObject", key=f"{newest}.json", status=503, code="SlowDown")
    failed = place.tenants("recover", *place.trust)
    assert failed.code == 5 and "503" in failed.err, failed.said
    assert place.database.sql("SELECT to_regnamespace('fruits')") == [(None,)]
    bucket.switches.behave()
    assert place.tenants("recover", *place.trust).code == 0
    assert rows(place) == sorted([*FRUITS, "damson"])


def test_limits_and_extensions_of_a_tenants_own_snapshot_are_its_word(orchard: Place) -> None:
    orchard.snapshot()
    url = orchard.url_of("fruits")
    forged = poisoned(orchard, ahead(seconds=-30))
    file = folder(orchard) / f"{forged}.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"extensions": ["pg_prewarm"]}))
    own_snapshot(orchard, url, forged, "add_snapshot")
    assert orchard.tenants("prune", "fruits").code == 0, "which signs what there is"
    orchard.lose_server()
    done = orchard.tenants("recover", *orchard.trust)
    assert "none that PostgreSQL trusts" in done.err, done.said
    assert orchard.database.sql("SELECT 1 FROM pg_extension WHERE extname = 'pg_prewarm'") == []


# What an earlier version has left


def earlier(place: Place) -> None:
    """As the version before signatures left it: a catalog of four steps, with the rows that it had, and no ledger."""
    database = place.database
    tables = "SELECT relname FROM pg_class WHERE relnamespace = 'tenants'::regnamespace AND relkind = 'r'"
    names = [row[0] for row in database.sql(tables)]
    database.sql("CREATE SCHEMA kept")
    for name in names:
        database.sql(f"CREATE TABLE kept.{name} AS SELECT to_jsonb(t) AS row FROM tenants.{name} t")
    database.sql("DROP SCHEMA tenants CASCADE")
    for step in catalog_steps()[:4]:
        database.sql(step)
    columns = """SELECT table_name, string_agg(quote_ident(column_name), ', ') FROM information_schema.columns n
                 WHERE table_schema = 'tenants' GROUP BY table_name ORDER BY table_name <> 'tenants'"""
    for name, own in database.sql(columns):
        rows = f"kept.{name}, jsonb_populate_record(NULL::tenants.{name}, row)"
        database.sql(f"INSERT INTO tenants.{name} ({own}) SELECT {own} FROM {rows}")
    database.sql("UPDATE tenants.catalog SET version = 4; DROP SCHEMA kept CASCADE")
    for file in place.store.rglob("*.ledger"):
        file.unlink()


def test_what_an_earlier_version_has_taken_is_kept_and_signed_by_the_next_night(orchard: Place) -> None:
    ids = [orchard.snapshot(), orchard.snapshot()]
    assert orchard.tenants("drill").code == 0
    earlier(orchard)
    listed = orchard.tenants("snapshots", "--json")
    assert [(s["id"], s["proven"]) for s in listed.json["snapshots"]] == [(id_, True) for id_ in ids], listed.said
    done = orchard.tenants("nightly")
    assert done.code == 0 and f"tenants recover --trust {orchard.key()}" in done.err, done.said
    (file,) = folder(orchard).glob("*.ledger")
    statement = json.loads(json.loads(file.read_text())["statement"])
    assert [one["id"] for one in statement["snapshots"]] == orchard.snapshots()
    assert orchard.tenants("restore", "fruits", ids[0]).code == 0
    orchard.lose_server()
    assert orchard.tenants("recover", *orchard.trust).code == 0
    assert rows(orchard) == FRUITS


def test_the_update_puts_what_an_earlier_version_has_taken_in_the_order_of_dates(orchard: Place) -> None:
    ids = [orchard.snapshot(), orchard.snapshot()]
    orchard.database.sql("UPDATE tenants.snapshots SET revision = revision WHERE id = %s", [ids[0]])  # it lies last now
    earlier(orchard)
    assert orchard.tenants("restore", "fruits", "--json").json["snapshot"] == ids[1]


def test_a_bucket_of_an_earlier_version_brings_everything_back_when_the_operator_says_so(orchard: Place) -> None:
    ids = [orchard.snapshot(), orchard.snapshot()]
    orchard.lose_server()
    for file in orchard.store.rglob("*.ledger"):
        file.unlink()
    assert orchard.tenants("recover", "--unsigned").code == 0
    assert rows(orchard) == FRUITS
    listed = orchard.tenants("snapshots", "--json").json["snapshots"]
    assert [s["id"] for s in listed][:2] == ids


# Clocks


def test_a_night_that_a_wrong_clock_has_noted_for_next_year_keeps_no_night_from_its_work(orchard: Place) -> None:
    assert orchard.tenants("nightly").code == 0
    orchard.database.sql("UPDATE tenants.nightly_runs SET period = now() + interval '1 year'")
    before = len(orchard.snapshots())
    assert orchard.tenants("nightly").code == 0
    assert len(orchard.snapshots()) == before + 1


def test_a_snapshot_that_was_taken_while_the_clock_was_ahead_is_not_the_newest_for_ever(orchard: Place) -> None:
    wrong = orchard.snapshot()
    file = folder(orchard) / f"{wrong}.json"
    later = ahead(days=365)
    moved = json.dumps(
        json.loads(file.read_text()) | {"id": later, "created_at": "2198-01-01T00:00:00Z", "archive": wrong}
    )
    (folder(orchard) / f"{later}.json").write_text(moved)
    orchard.database.sql(
        """INSERT INTO tenants.snapshots (id, tenant, created_at, revision, bytes, sha256, verified_at, manifest)
           SELECT %s, tenant, '2198-01-01', revision, bytes, sha256, '2198-01-01', %s FROM tenants.snapshots""",
        [later, hashlib.sha256(moved.encode()).hexdigest()],
    )
    orchard.database.sql("DELETE FROM fruits.items WHERE name = 'apple'")
    newest = orchard.snapshot()
    assert orchard.tenants("restore", "fruits", "--json").json["snapshot"] == newest
    keep = {"TENANTS_KEEP_CHANGES": "last=1", "TENANTS_KEEP": "last=1"}
    kept = orchard.tenants("prune", "fruits", "--json", **keep).json["tenants"]["fruits"]["kept"]
    assert kept[later] == ["its date is not plausible"] and newest in kept
