"""Fleets: many tenants of one project are migrated at once, each for itself, and what stops can be gone on with."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
from support import Place, ending, until

NAMES = [f"shop-{n}" for n in range(5)]


@pytest.fixture
def shops(place: Place) -> Place:
    """Five tenants of one project, at its first revision."""
    place.revision("fruits", "0001", 'op.create_table("items", sa.Column("name", sa.Text, primary_key=True))')
    for name in NAMES:
        done = place.tenants("create", name, "--project", "fruits")
        assert done.code == 0, done.said
    place.deployed(*NAMES)
    return place


def at(place: Place) -> dict[str, str]:
    """Where each of them is."""
    return {name: place.database.sql(f'SELECT version_num FROM "{name}".alembic_version')[0][0] for name in NAMES}


def all_at(revision: str) -> dict[str, str]:
    return dict.fromkeys(NAMES, revision)


def records(place: Place, revision: str) -> list[str]:
    """Who was brought there, in the order of time."""
    query = (
        "SELECT tenant FROM tenants.deploys WHERE to_heads = ARRAY[%s] AND outcome = 'migrated' ORDER BY recorded_at"
    )
    return [row[0] for row in place.database.sql(query, [revision])]


def pear(place: Place) -> Path:
    """A second revision, which fails where somebody has that row already."""
    return place.revision("fruits", "0002", "op.execute(\"INSERT INTO items VALUES ('pear')\")", "0001")


def test_each_is_migrated_once_with_a_snapshot_a_record_and_a_way_back_of_its_own(shops: Place) -> None:
    shops.database.sql("".join(f"INSERT INTO \"{name}\".items VALUES ('{name}');" for name in NAMES))
    pear(shops)
    del shops.environment["TENANTS_REHEARSAL"]
    done = shops.tenants("deploy", "--jobs", "3")
    assert done.code == 0, done.said
    assert "fruits   plan      4 more tenants after it, 3 at a time" in done.err
    assert "fruits   migrate   5 of 5 tenants done" in done.err
    assert at(shops) == all_at("0002")
    assert sorted(found := records(shops, "0002")) == NAMES and found[0] == NAMES[0]
    for name in NAMES:
        assert shops.database.sql(f'SELECT name FROM "{name}".items ORDER BY 1') == [("pear",), (name,)]
        assert f"{name}   rehearse  1 revision passed on a copy" in done.err
        assert f"Undo: tenants undo {name}" in done.out
    assert len(shops.snapshots()) >= len(NAMES)
    shops.nothing_left()


def test_what_fails_for_the_first_touches_none_of_the_others(shops: Place) -> None:
    shops.database.sql(f"INSERT INTO \"{NAMES[0]}\".items VALUES ('pear')")
    pear(shops)
    done = shops.tenants("deploy", "--no-snapshot", "--json", TENANTS_JOBS="4")
    assert done.code == 6, done.said
    first, *others = done.json["deploys"]
    assert first["outcome"] == "failed" and "duplicate key" in first["error"]
    assert {(one["outcome"], one["error"]) for one in others} == {("skipped", f"not tried, because {NAMES[0]} failed")}
    assert at(shops) == all_at("0001") and records(shops, "0002") == []
    shops.nothing_left()


def test_the_failure_of_one_is_its_own_and_the_next_push_does_what_is_left(shops: Place) -> None:
    shops.database.sql(f"INSERT INTO \"{NAMES[2]}\".items VALUES ('pear')")
    pear(shops)
    done = shops.tenants("deploy", "--no-snapshot", "--max-failures", "3")
    assert done.code == 6 and f"{NAMES[2]}   migrate   FAILED: " in done.err, done.said
    assert "5 of 5 tenants done, 1 failed" in done.err
    assert at(shops) == {**all_at("0002"), NAMES[2]: "0001"}
    shops.database.sql(f'DELETE FROM "{NAMES[2]}".items')
    again = shops.tenants("deploy", "--no-snapshot", "--json")
    assert [one["tenant"] for one in again.json["deploys"] if one["outcome"] == "migrated"] == [NAMES[2]]
    assert at(shops) == all_at("0002")


def test_no_further_one_is_begun_when_as_many_have_failed_as_may(shops: Place) -> None:
    shops.database.sql("".join(f"INSERT INTO \"{name}\".items VALUES ('pear');" for name in NAMES[1:4]))
    pear(shops)
    done = shops.tenants("deploy", "--no-snapshot", "--json", "--jobs", "2", TENANTS_MAX_FAILURES="2")
    outcomes = [one["outcome"] for one in done.json["deploys"]]
    assert done.code == 6 and outcomes[0] == "migrated" and outcomes[1:3] == ["failed", "failed"]
    assert outcomes[4] == "skipped"  # the one before it may have been begun before the second had failed
    shops.nothing_left()


def test_with_one_job_they_go_one_after_the_other_as_ever(shops: Place) -> None:
    shops.database.sql(f"INSERT INTO \"{NAMES[1]}\".items VALUES ('pear')")
    pear(shops)
    done = shops.tenants("deploy", "--no-snapshot", TENANTS_JOBS="1")
    assert done.code == 6 and "more tenants after it" not in done.err
    assert at(shops) == {**all_at("0001"), NAMES[0]: "0002"}
    for name in NAMES[2:]:
        assert f"{name}   not tried, because {NAMES[1]} failed; it is at 0001" in done.out


def test_what_a_revision_does_to_its_process_the_next_tenant_does_not_meet(shops: Place) -> None:
    """It counts in its module, writes into the environment, and leaves a process in the background."""
    body = """
        import os, subprocess
        COUNT.append(1)
        seen = f"{len(COUNT)} {os.environ.get('SEEN')}"
        os.environ["SEEN"] = "seen"
        subprocess.Popen(["sleep", "301.25"])
        op.execute(f"INSERT INTO items VALUES ('{seen}')")
    """
    file = shops.revision("fruits", "0002", body, "0001")
    file.write_text(file.read_text().replace("\n\n\ndef", "\nCOUNT = []\n\n\ndef"))
    assert shops.tenants("deploy", "--no-snapshot", "--jobs", "2").code == 0
    for name in NAMES:
        assert shops.database.sql(f'SELECT name FROM "{name}".items') == [("1 None",)]
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "sleep 301.25" not in running


def slow(place: Place) -> None:
    place.revision("fruits", "0002", "op.execute(\"SELECT pg_sleep(0.4); INSERT INTO items VALUES ('x')\")", "0001")


def below(pid: int) -> set[int]:
    """All that the process has begun, and what that has begun."""
    rows = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True, check=True).stdout.split("\n")[1:]
    parents = {int(row.split()[0]): int(row.split()[1]) for row in rows if row}
    found, more = set[int](), {pid}
    while more := {child for child, parent in parents.items() if parent in more}:
        found |= more
    return found


@pytest.mark.own_process
def test_a_run_that_is_killed_leaves_no_worker_and_the_next_one_goes_on(shops: Place) -> None:
    slow(shops)
    with ending(shops.start("deploy", "--no-snapshot", "--jobs", "2")) as process:
        until(lambda: len(records(shops, "0002")) >= 2, "two are done")
        running = below(process.pid)
        assert len(running) >= 4  # two workers, and for each a process that has loaded the revisions
        process.kill()
        process.wait()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in running), "nothing of it runs any more")
    before = records(shops, "0002")
    assert len(before) < len(NAMES)
    done = shops.tenants("deploy", "--no-snapshot")
    assert done.code == 0, done.said
    assert at(shops) == all_at("0002")
    for name in NAMES:
        assert shops.database.sql(f'SELECT name FROM "{name}".items') == [("x",)], "it has run once"
    assert shops.tenants("deploy").code == 0
    shops.nothing_left()


@pytest.mark.own_process
def test_a_run_that_is_stopped_cleans_up_and_says_so(shops: Place) -> None:
    slow(shops)
    with ending(shops.start("deploy", "--no-snapshot", "--jobs", "2")) as process:
        until(lambda: len(records(shops, "0002")) >= 2, "two are done")
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 143 and "stopped by SIGTERM" in err and "Traceback" not in err, err
    shops.nothing_left()
    done = {name for name, revision in at(shops).items() if revision == "0002"}
    assert set(records(shops, "0002")) <= done and len(done) < len(NAMES)
