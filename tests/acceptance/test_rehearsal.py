"""The revisions run on a copy of today's data first: what fails there never gets near the live schema."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from support import Place, ending, until


@pytest.fixture
def orchard(place: Place) -> Place:
    """A tenant with four rows and a second table; a deploy that rehearses, as it does by default."""
    del place.environment["TENANTS_REHEARSAL"]
    place.fruits()
    place.deployed()
    place.database.sql(
        "CREATE TABLE sold (id serial PRIMARY KEY, name text, amount text);"
        "INSERT INTO sold (name, amount) VALUES ('apple', '1'), ('apple', '2'), ('leek', NULL), ('banana', 'many')",
        url=place.url_of("fruits"),
    )
    return place


@pytest.mark.every_server
def test_what_passes_on_the_copy_is_migrated_then(orchard: Place) -> None:
    orchard.colour()
    done = orchard.tenants("deploy")
    assert done.code == 0, done.said
    stages = dict.fromkeys(line.split()[1] for line in done.err.splitlines() if line.startswith("fruits"))
    assert list(stages) == ["plan", "snapshot", "rehearse", "migrate", "prove"]
    assert "1 revision passed on a copy" in done.err
    assert orchard.database.sql("SELECT count(colour), count(*) FROM fruits.items") == [(0, 4)]
    orchard.nothing_left()


@pytest.mark.every_server
@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("ALTER TABLE sold ALTER amount SET NOT NULL", "null values"),
        ("ALTER TABLE sold ADD UNIQUE (name)", "(name)=(apple) is duplicated"),
        ("ALTER TABLE sold ALTER amount TYPE int USING amount::int", '"many"'),
        ("ALTER TABLE sold ADD FOREIGN KEY (name) REFERENCES items (name)", "(name)=(leek) is not present"),
        ("CREATE SCHEMA elsewhere", "permission denied"),
        ("CREATE EXTENSION hstore", "permission denied"),
        ("SELECT 1 / (SELECT 4 - count(*) FROM items)", "division by zero"),
    ],
)
def test_what_the_real_rows_do_not_allow_stops_before_the_live_schema(
    orchard: Place, statement: str, words: str
) -> None:
    orchard.revision("fruits", "0002", f"op.execute({statement!r})", "0001")
    before, written = orchard.database.dump("fruits"), live_writes(orchard)
    done = orchard.tenants("deploy")
    assert done.code == 6 and words in done.err, done.said
    assert "on a copy of today's data" in done.err and "0002_step.py" in done.err
    assert "untouched, at 0001" in done.err and "the old one goes on serving" in done.err
    assert "migrate " not in done.err, "the stage was not reached"
    assert orchard.database.dump("fruits") == before
    assert live_writes(orchard) == written
    orchard.nothing_left()


def live_writes(place: Place) -> list[tuple[object, ...]]:
    """When each definition in the schema was written: a statement that is rolled back leaves no trace here, a lock
    neither, so this tells of commits alone."""
    return place.database.sql(
        "SELECT relname, xmin::text FROM pg_class WHERE relnamespace = 'fruits'::regnamespace ORDER BY 1"
    )


def test_one_row_in_a_million_is_found_and_named(orchard: Place) -> None:
    url = orchard.url_of("fruits")
    orchard.database.sql("INSERT INTO sold (amount) SELECT n::text FROM generate_series(1, 1000000) n", url=url)
    orchard.database.sql("DELETE FROM sold WHERE amount = 'many'; INSERT INTO sold (amount) VALUES ('1O1')", url=url)
    orchard.revision("fruits", "0002", "op.execute('ALTER TABLE sold ALTER amount TYPE int USING amount::int')", "0001")
    done = orchard.tenants("deploy")
    assert done.code == 6 and '"1O1"' in done.err, done.said


def test_what_takes_longer_than_allowed_is_ended_on_the_copy(orchard: Place) -> None:
    orchard.revision("fruits", "0002", "op.execute('SELECT pg_sleep(600)')", "0001")
    done = orchard.tenants("deploy", "--timeout", "3")
    assert done.code == 6 and "on a copy" in done.err and "longer than 3 s" in done.err, done.said
    orchard.nothing_left()


def test_the_live_tables_are_not_locked_by_what_fails_on_the_copy(orchard: Place) -> None:
    """A reader is in a transaction the whole time; a revision that reached the live table would wait for it."""
    orchard.revision("fruits", "0002", "op.execute('ALTER TABLE sold ALTER amount SET NOT NULL')", "0001")
    with psycopg.connect(orchard.url_of("fruits")) as reader:
        reader.execute("SELECT * FROM sold")
        done = orchard.tenants("deploy")
        assert done.code == 6 and "lock" not in done.err, done.said


def test_a_hostile_revision_finds_nobody_to_become_on_the_copy(orchard: Place) -> None:
    orchard.tenants("create", "pears")
    body = """
        for role in ("fruits", "pears", "postgres"):
            for words in ("SET ROLE {}", "ALTER ROLE {} PASSWORD 'x'", "SET SESSION AUTHORIZATION {}"):
                with op.get_bind().begin_nested() as point:
                    try:
                        op.execute("SET LOCAL lock_timeout = '1s'")
                        op.execute(words.format(role))
                        print("BECAME", words.format(role))
                    except Exception:
                        point.rollback()
        raise SystemExit("the end")
    """
    orchard.revision("fruits", "0002", body, "0001")
    before = orchard.database.sql("SELECT rolname, rolpassword FROM pg_authid WHERE rolname !~ '~' ORDER BY 1")
    done = orchard.tenants("deploy")
    assert done.code == 6 and "on a copy" in done.err and "BECAME" not in done.said, done.said
    assert orchard.database.sql("SELECT rolname, rolpassword FROM pg_authid WHERE rolname !~ '~' ORDER BY 1") == before
    orchard.nothing_left()


def test_where_no_copy_can_be_made_it_is_said_and_another_outcome(orchard: Place) -> None:
    """A view of the tenant's looks into a neighbour's schema, which no copy of the tenant alone has."""
    orchard.database.sql("CREATE SCHEMA outside; CREATE TABLE outside.t (); GRANT USAGE ON SCHEMA outside TO fruits")
    orchard.database.sql("GRANT SELECT ON outside.t TO fruits; CREATE VIEW fruits.v AS SELECT count(*) FROM outside.t")
    orchard.database.sql("ALTER VIEW fruits.v OWNER TO fruits")
    orchard.colour()
    done = orchard.tenants("deploy")
    assert done.code == 5 and "no copy of fruits could be made" in done.err and "--no-rehearsal" in done.err, done.said
    assert "untouched, at 0001" in done.err
    assert orchard.tenants("deploy", "--no-rehearsal").code == 0
    orchard.nothing_left()


def test_an_app_with_its_own_url_is_told_that_it_is_not_rehearsed(orchard: Place) -> None:
    orchard.colour()
    environment = {"DATABASE_URL": orchard.url_of("fruits"), "TENANTS_MIGRATIONS": str(orchard.migrations / "fruits")}
    done = orchard.tenants("deploy", **environment)
    assert done.code == 0 and "rehearse  skipped" in done.err and "create fruits --rehearsal" in done.err, done.said


def room(place: Place) -> dict[str, str]:
    """The environment of an app that deploys itself, and for which the admin has made a place to rehearse in."""
    made = place.tenants("create", "fruits", "--rehearsal", "--json")
    assert made.code == 0, made.said
    return {
        "DATABASE_URL": place.url_of("fruits"),
        "TENANTS_MIGRATIONS": str(place.migrations / "fruits"),
        "TENANTS_REHEARSAL_URL": str(made.json["rehearsal_url"]),
    }


def inside(place: Place, environment: dict[str, str]) -> list[tuple[object, ...]]:
    query = "SELECT relname FROM pg_class WHERE relowner = current_user::regrole"
    return place.database.sql(query, url=environment["TENANTS_REHEARSAL_URL"])


@pytest.mark.every_server
def test_an_app_with_its_own_url_rehearses_where_the_admin_has_made_it_a_place(orchard: Place) -> None:
    orchard.tenants("extension", "fruits", "citext")
    environment = room(orchard)
    orchard.database.sql("ALTER TABLE items ADD soft citext DEFAULT 'A'", url=environment["DATABASE_URL"])
    file = orchard.revision("fruits", "0002", "op.execute('ALTER TABLE sold ALTER amount SET NOT NULL')", "0001")
    before = orchard.database.dump("fruits")
    stopped = orchard.tenants("deploy", **environment)
    assert stopped.code == 6 and "on a copy of today's data" in stopped.err and "null values" in stopped.err, (
        stopped.said
    )
    assert orchard.database.dump("fruits") == before and inside(orchard, environment) == []
    file.unlink()
    orchard.colour()
    done = orchard.tenants("deploy", **environment)
    assert done.code == 0 and "1 revision passed on a copy" in done.err and "items locked for" in done.err, done.said
    assert inside(orchard, environment) == []
    again = orchard.tenants("create", "fruits", "--rehearsal", "--json")
    assert again.json["rehearsal_url"] != environment["TENANTS_REHEARSAL_URL"], "another password, the same place"
    assert orchard.tenants("audit").code == 0
    gone = orchard.tenants("drop", "fruits", "--yes")
    assert gone.code == 0, gone.said
    orchard.nothing_left()
    assert [role for role in orchard.database.roles() if role.startswith("fruits")] == []


def test_the_place_to_rehearse_in_opens_nothing_else(orchard: Place) -> None:
    orchard.tenants("create", "pears")
    environment = room(orchard)
    url, live = environment["TENANTS_REHEARSAL_URL"], orchard.database.url
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        orchard.database.sql("SELECT 1", url=url.rpartition("/")[0] + "/" + live.rpartition("/")[2])
    for words in ("SET ROLE fruits", "ALTER ROLE fruits PASSWORD 'x'", "CREATE ROLE x", "CREATE EXTENSION hstore"):
        if words != "CREATE EXTENSION hstore":  # a trusted one is its own, in its own database
            with pytest.raises(psycopg.Error):
                orchard.database.sql(words, url=url)
    for other in (orchard.url_of("pears"), environment["DATABASE_URL"], live):
        orchard.colour()
        done = orchard.tenants("deploy", **{**environment, "TENANTS_REHEARSAL_URL": other})
        assert "skipped: TENANTS_REHEARSAL_URL leads to" in done.err, done.said
        assert orchard.database.sql("SELECT count(*) FROM fruits.items") == [(4,)]
        break


def test_a_rehearsal_that_was_killed_leaves_its_place_to_the_next_one(orchard: Place) -> None:
    environment = room(orchard)
    orchard.revision("fruits", "0002", "op.execute('SELECT pg_sleep(60)')", "0001").rename(orchard.folder / "slow.py")
    (orchard.folder / "slow.py").rename(orchard.migrations / "fruits" / "0002_slow.py")
    with ending(orchard.start("deploy", **environment)) as deploy:
        asleep = "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND usename LIKE '%~rehearsal'"
        until(lambda: orchard.database.sql(asleep), "the revision runs on the copy")
        deploy.kill()
    (orchard.migrations / "fruits" / "0002_slow.py").unlink()
    orchard.colour()
    done = orchard.tenants("deploy", **environment)
    assert done.code == 0 and "passed on a copy" in done.err, done.said
    assert inside(orchard, environment) == []


def test_a_tenant_that_is_suspended_has_no_place_to_rehearse_in_either(orchard: Place) -> None:
    environment = room(orchard)
    done = orchard.tenants("suspend", "fruits")
    assert done.code == 0 and "room for rehearsals is gone" in done.err, done.said
    with pytest.raises(psycopg.OperationalError):
        orchard.database.sql("SELECT 1", url=environment["TENANTS_REHEARSAL_URL"])


def test_an_encrypted_snapshot_that_cannot_be_opened_here_does_not_hinder_it(orchard: Place) -> None:
    pyrage = pytest.importorskip("pyrage", reason="the extra 'age' is needed to encrypt")
    orchard.environment["TENANTS_AGE_RECIPIENTS"] = str(pyrage.x25519.Identity.generate().to_public())
    orchard.colour()
    done = orchard.tenants("deploy")
    assert done.code == 0 and "passed on a copy" in done.err, done.said


def test_a_damaged_store_is_found_out_before_the_live_schema_is_touched(orchard: Place) -> None:
    """What is rehearsed on is what is stored: the archive of an earlier night, which has rotted since."""
    orchard.snapshot()
    (archive,) = [file for file in orchard.store.rglob("*.zst") if is_last(orchard, file)]
    assert archive.stat().st_size
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)
    orchard.colour()
    done = orchard.tenants("deploy")
    assert done.code == 0 and "stored anew" in done.err and "passed on a copy" in done.err, done.said


def is_last(place: Place, file: Path) -> bool:
    return file.name.startswith(place.snapshots()[-1])


def test_a_folder_that_is_not_pushed_yet_is_rehearsed_without_a_snapshot_or_a_change(orchard: Place) -> None:
    ready = orchard.tenants("rehearse", "--json").json["rehearsals"]
    assert [one["outcome"] for one in ready] == ["nothing-pending"]
    before, stored = orchard.database.dump("fruits"), orchard.stored()
    file = orchard.revision("fruits", "0002", "op.execute('ALTER TABLE sold ALTER amount SET NOT NULL')", "0001")
    done = orchard.tenants("rehearse", "fruits", "--json")
    assert done.code == 6, done.said
    (one,) = done.json["rehearsals"]
    assert (one["outcome"], one["from"], one["to"]) == ("failed", "0001", "0002") and "null values" in one["error"]
    file.unlink()
    orchard.colour()
    passed = orchard.tenants("rehearse")
    assert passed.code == 0 and "1 revision passed on a copy" in passed.err, passed.said
    assert (orchard.database.dump("fruits"), orchard.stored()) == (before, stored)
    assert orchard.tenants("rehearse", DATABASE_URL=orchard.url_of("fruits")).code == 2
    orchard.nothing_left()


@pytest.mark.every_server
def test_what_a_running_app_would_notice_is_told_table_by_table(orchard: Place) -> None:
    url = orchard.url_of("fruits")
    orchard.database.sql("CREATE TABLE small (id int); CREATE TABLE other (id int)", url=url)
    add, back_fill = "ALTER TABLE items ADD colour text", "UPDATE items SET colour = 'red'"
    orchard.revision("fruits", "0002", f"op.execute({add!r})\nop.execute({back_fill!r})", "0001")
    turn, new = "ALTER TABLE sold ALTER id TYPE bigint", "CREATE TABLE fresh AS SELECT * FROM other"
    orchard.revision("fruits", "0003", f"op.execute({turn!r})\nop.execute({new!r})", "0002")
    orchard.revision("fruits", "0004", "op.execute('CREATE INDEX ON small (id)')", "0003")
    done = orchard.tenants("rehearse", "--json")
    assert done.code == 0, done.said
    (one,) = done.json["rehearsals"]
    seen = {
        (revision["revision"], table["table"]): (table["mode"], table["rewritten"], table["scanned"])
        for revision in one["revisions"]
        for table in revision["tables"]
    }
    assert seen == {
        ("0002", "items"): ("ACCESS EXCLUSIVE", False, True),
        ("0003", "sold"): ("ACCESS EXCLUSIVE", True, True),
        ("0003", "other"): ("ACCESS SHARE", False, True),
        ("0004", "small"): ("SHARE", False, True),
    }
    held = {(r["revision"], t["table"]): t["held"] for r in one["revisions"] for t in r["tables"]}
    assert held["0002", "items"] > held["0003", "sold"] > held["0004", "small"], "until the transaction ends"
    told = [line for line in done.err.splitlines() if "locked for" in line]
    assert [line.split()[2] for line in told] == ["0002_step.py:", "0003_step.py:", "0004_step.py:"]
    assert "sold locked for" in told[1] and "(ACCESS EXCLUSIVE), rewritten" in told[1] and "other" not in told[1]


def test_what_is_larger_than_the_limit_is_not_copied_and_what_takes_longer_stops(orchard: Place) -> None:
    orchard.colour()
    wrong = orchard.tenants("deploy", "--rehearsal-limit", "much")
    assert wrong.code == 2 and "'much' is no size" in wrong.err, wrong.said
    body = "op.execute('SELECT pg_sleep(60)')"
    slow = orchard.revision("fruits", "0003", body, "0002")
    late = orchard.tenants("deploy", TENANTS_REHEARSAL_TIMEOUT="2")
    assert late.code == 6 and "on a copy" in late.err and "longer than 2 s" in late.err, late.said
    slow.unlink()
    done = orchard.tenants("deploy", TENANTS_REHEARSAL_LIMIT="1kB")
    assert done.code == 0 and "skipped: the snapshot holds" in done.err and "limit is 1.0 kB" in done.err, done.said
    orchard.nothing_left()


def test_what_is_prepared_in_the_place_to_rehearse_in_keeps_nobody_from_anything(orchard: Place) -> None:
    """A database with a prepared transaction in it cannot be dropped."""
    environment = room(orchard)
    prepared = "BEGIN; CREATE TABLE public.t (); PREPARE TRANSACTION 'kept'"
    orchard.database.sql(prepared.replace("public.", "extensions.").replace("CREATE TABLE extensions.t ()", "SELECT 1"),
                         url=environment["TENANTS_REHEARSAL_URL"])  # fmt: skip
    done = orchard.tenants("drop", "fruits", "--yes")
    assert done.code == 0, done.said
    orchard.nothing_left()
