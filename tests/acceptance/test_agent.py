"""What keeps itself going: the nightly run, the agent, and the hooks that Dokku calls."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import psycopg
import pytest
from support import REPOSITORY, TENANTS, Bucket, Done, Place, ending, until


@pytest.mark.every_server
def test_nightly_snapshots_every_tenant_and_a_second_call_does_not_do_it_again(place: Place) -> None:
    for name in ("berries", "fruits"):
        place.fruits(name)
    place.deployed()
    assert place.tenants("create", "empty").code == 0
    first = place.tenants("nightly", "--json")
    assert first.code == 0, first.said
    assert sorted(first.json["snapshots"]) == ["berries", "fruits"]
    assert (first.json["failures"], first.json["already"]) == ({}, None)
    assert sorted(first.json["snapshots"].values()) == sorted(place.snapshots())
    written, stored = place.database.written(), place.stored()
    for _ in range(2):
        second = place.tenants("nightly")
        assert second.code == 0, second.said
        assert "was done at" in second.out and "nothing to do" in second.out
    assert (place.database.written(), place.stored()) == (written, stored)
    place.nothing_left()


def test_nightly_goes_on_past_a_broken_tenant_says_so_and_tries_again(place: Place) -> None:
    for name in ("apples", "berries", "cherries"):
        place.fruits(name)
    place.deployed()
    assert place.tenants("snapshot", "berries").code == 0
    place.database.sql("DROP SCHEMA berries CASCADE")
    for _ in range(2):
        done = place.tenants("nightly", "--json")
        assert done.code not in (0, 2, 3, 4), done.said
        assert sorted(done.json["snapshots"]) == ["apples", "cherries"]
        assert list(done.json["failures"]) == ["berries"] and "gone" in done.json["failures"]["berries"]
        assert done.json["already"] is None
        assert "tenants restore berries" in done.err
    for_people = place.tenants("nightly")
    assert for_people.code == done.code
    assert "1 failed: berries" in for_people.out
    place.nothing_left()

    restored = place.tenants("restore", "berries")
    assert restored.code == 0, restored.said
    mended = place.tenants("nightly", "--json")
    assert mended.code == 0, mended.said
    assert "berries" in mended.json["snapshots"]
    assert place.tenants("nightly", "--json").json["already"]


def test_nightly_tells_when_it_has_no_place_for_snapshots(place: Place) -> None:
    done = place.tenants("nightly", TENANTS_STORE=None)
    assert done.code == 2, done.said
    assert "TENANTS_STORE" in done.err


def test_two_nightly_runs_at_once_do_the_work_once(place: Place) -> None:
    place.fruits()
    place.deployed()
    runs = [place.start("nightly", "--json") for _ in range(4)]
    done = []
    for process in runs:
        out, err = process.communicate(timeout=120)
        done.append(Done(process.returncode, out, err))
    assert {d.code for d in done} <= {0, 4}, [d.said for d in done]
    assert len([d for d in done if d.code == 0 and d.json["snapshots"]]) == 1
    assert len(place.snapshots()) == 1
    place.nothing_left()


def test_agent_makes_up_for_a_missed_run_says_when_the_next_one_is_and_ends_on_sigterm(
    place: Place, bucket: Bucket
) -> None:
    place.environment.update(bucket.environment)
    place.fruits()
    place.deployed()
    lines = []
    with ending(place.start("agent", "--schedule", "30 4 * * *")) as agent:
        assert agent.stdout
        for line in agent.stdout:
            lines.append(line)
            if "next nightly run" in line:
                break
        assert agent.poll() is None
        assert [Path(key).suffix for key in sorted(bucket.keys())] == [".zst", ".json", ".ledger"]
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(timeout=25) in (0, 143)
    assert "agent started" in lines[0] and "30 4 * * *" in lines[0]
    assert " 04:30" in lines[-1]
    assert place.tenants("nightly", "--schedule", "30 4 * * *", "--json").json["already"]
    place.nothing_left()


def test_agent_that_is_stopped_in_the_middle_of_a_run_leaves_nothing(place: Place) -> None:
    place.fruits()
    place.deployed()
    waiting = "SELECT pid FROM pg_stat_activity WHERE application_name = 'tenants pg_dump' AND wait_event_type = 'Lock'"
    with psycopg.connect(place.url_of("fruits")) as app:
        app.execute("LOCK TABLE items")
        with ending(place.start("agent")) as agent:
            until(lambda: place.database.sql(waiting), "the dump waits for a lock of the app")
            agent.send_signal(signal.SIGTERM)
            assert agent.wait(timeout=25) in (0, 143)
    until(lambda: not place.database.sql(waiting), "the dump's session ends")
    assert place.stored() == []
    place.nothing_left()
    assert place.tenants("nightly").code == 0
    place.nothing_left()


def test_agent_goes_on_when_a_run_fails_and_says_when_it_tries_again(place: Place) -> None:
    lines = []
    with ending(place.start("agent", TENANTS_STORE=None)) as agent:
        assert agent.stdout
        for line in agent.stdout:
            lines.append(line)
            if "tries again" in line:
                break
        assert agent.poll() is None
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(timeout=25) in (0, 143)
    assert "exit code 2" in lines[-1]


def test_agent_refuses_a_schedule_that_cron_does_not_know(place: Place) -> None:
    done = place.tenants("agent", "--schedule", "every night")
    assert done.code == 2, done.said
    assert "every night" in done.err and "0 3 * * *" in done.err


def test_hooks_do_what_dokku_calls_them_for(place: Place) -> None:
    place.fruits()
    commit = "c0ffee0123456789c0ffee0123456789c0ffee01"
    assert hook(place, "predeploy", GIT_REV=commit).code == 0
    assert place.database.sql("SELECT live_at FROM tenants.deploys") == [(None,)]
    live = hook(place, "postdeploy", GIT_REV=commit)
    assert live.code == 0, live.said
    assert "fruits" in live.out
    assert place.database.sql("SELECT live_at IS NOT NULL FROM tenants.deploys") == [(True,)]
    nightly = hook(place, "nightly")
    assert nightly.code == 0, nightly.said
    assert len(place.snapshots()) == 1

    place.revision("fruits", "0002", 'op.execute("nonsense")', "0001")
    stopped = hook(place, "predeploy", GIT_REV=commit)
    assert stopped.code == 6, stopped.said
    place.nothing_left()


def test_hooks_of_a_first_push_with_no_project_succeed(place: Place) -> None:
    for name in ("predeploy", "postdeploy", "nightly"):
        done = hook(place, name, GIT_REV="c0ffee0123456789c0ffee0123456789c0ffee01")
        assert done.code == 0, done.said


def test_app_json_names_files_that_are_there_and_can_be_run() -> None:
    scripts = json.loads((REPOSITORY / "app.json").read_text())["scripts"]["dokku"]
    assert sorted(scripts) == ["postdeploy", "predeploy"]
    for script in scripts.values():
        assert os.access(REPOSITORY / script.split()[0], os.X_OK), script
    assert os.access(REPOSITORY / "hooks" / "nightly", os.X_OK)


def hook(place: Place, name: str, **environment: str) -> Done:
    """Run the file as Dokku does: by its path, in the folder of the app."""
    merged = {**place.environment, **environment, "PATH": f"{Path(TENANTS).parent}:{place.environment['PATH']}"}
    command = [REPOSITORY / "hooks" / name]
    done = subprocess.run(command, cwd=place.folder, env=merged, capture_output=True, text=True, timeout=120)
    return Done(done.returncode, done.stdout, done.stderr)
