"""No traceback reaches anybody: bugs, pipes that break, closed streams, letters that a terminal has not got."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
from pathlib import Path

import psycopg
import pytest
from support import TENANTS, Done, Place, ending, until
from throwaway_postgres import PASSWORD

from tenants import __version__

BREAK = """
import tenants.usecases.provision as provision

def broken(access):
    raise KeyError(access.settings.database.text, access.settings.environment["AWS_SECRET_ACCESS_KEY"], "\\x1b[2J")

provision.list_tenants = broken
"""


def broken(place: Place, **environment: str) -> Done:
    """`tenants list` in a Python in which we have a bug."""
    folder = place.folder / "bug"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(BREAK)
    secret = {"AWS_SECRET_ACCESS_KEY": "storage-secret-of-the-tests"}
    return place.tenants("list", "--json", **secret, PYTHONPATH=str(folder), **environment)


@pytest.mark.own_process
def test_a_bug_is_told_in_lines_that_can_be_reported_and_leaves_nothing_on_disk(place: Place, tmp_path: Path) -> None:
    before = {path for path in tmp_path.rglob("*") if "bug" not in path.parts}
    done = broken(place, TMPDIR=str(tmp_path))
    assert done.code == 1
    said, where, data, step = done.err.splitlines()
    assert said.startswith(f"Error:    this is a bug in dokku-tenants {__version__}: KeyError: ")
    assert where.split()[:2] == ["at", "sitecustomize.py:5"] and "cli/provision.py:" in where
    assert data.startswith("Data:     ") and step.startswith("Next:     report these lines")
    assert "Traceback" not in done.said and "\x1b" not in done.said
    assert done.json["error"]["exit_code"] == 1
    loud = broken(place, TENANTS_TRACEBACK="1", TMPDIR=str(tmp_path))
    assert "Traceback (most recent call last)" in loud.err and loud.code == 1
    for seen in (done.said, loud.said):
        assert PASSWORD not in seen and "storage-secret" not in seen
    assert {path for path in tmp_path.rglob("*") if "bug" not in path.parts} == before


def run(place: Place, script: str, **environment: str) -> Done:
    """A line of bash, in which `tenants` is the command."""
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script],
        env={**place.environment, "PATH": f"{Path(TENANTS).parent}:{os.environ['PATH']}", **environment},
        cwd=place.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def test_who_stops_reading_ends_us_without_a_word(place: Place) -> None:
    for number in range(2):
        place.tenants("create", f"t{number}")
    reading, writing = os.pipe()
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)  # or all of it is written before the reader goes
    command = [TENANTS, "audit", "--rules"]
    with subprocess.Popen(command, env=place.environment, stdout=writing, stderr=subprocess.PIPE, text=True) as process:
        os.close(writing)
        begun = os.read(reading, 4)
        os.close(reading)
        _, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (141, "") and begun == b"RULE"
    assert run(place, "tenants list | true").err == ""
    assert run(place, "tenants list >&- 2>&-").code == 0
    assert run(place, "tenants list <&- >&-").err == ""
    done = run(place, "tenants list > /dev/full")
    assert done.code == 1
    assert done.err.startswith("Error:    this machine does not let us go on: No space left on device")
    assert len(done.err.splitlines()) == 3, done.err


@pytest.mark.parametrize("environment", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "latin-1"}], ids=["C", "latin"])
def test_letters_that_a_terminal_has_not_got_stop_nothing(place: Place, environment: dict[str, str]) -> None:
    place.fruits()
    done = run(place, "tenants plan && tenants deploy", **environment)
    assert done.code == 0 and "Traceback" not in done.err, done.err
    assert "nothing yet → 0001" in done.out or r"nothing yet \u2192 0001" in done.out


def test_a_ctrl_c_is_one_word(place: Place) -> None:
    place.fruits()
    place.deployed()
    place.colour()
    with psycopg.connect(place.database.url) as holder:
        holder.execute("LOCK TABLE fruits.items")
        with ending(place.start("deploy", "--no-snapshot")) as process:
            query = "SELECT 1 FROM pg_stat_activity WHERE usename LIKE 'fruits~deploy~%'"
            until(lambda: place.database.sql(query), "it migrates")
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err.splitlines()[-1] == "stopped" and "Traceback" not in err


def test_bash_completes_commands_options_and_the_names_of_tenants(place: Place) -> None:
    for name in ("fruits", "fritters", "pears"):
        place.tenants("create", name)

    def completed(*words: str, **environment: str) -> list[str]:
        line = " ".join(words)
        script = f"""eval "$(tenants completion bash)"
        COMP_WORDS=({line}) COMP_CWORD={len(words) - 1}
        [ "${{COMP_WORDS[COMP_CWORD]}}" != _ ] || COMP_WORDS[COMP_CWORD]=
        _tenants_completion tenants; echo "${{COMPREPLY[@]}}" """
        done = run(place, script, **environment)
        assert done.err == "", done.err
        return done.out.split()

    assert completed("tenants", "snaps") == ["snapshot", "snapshots"]
    assert completed("tenants", "show", "fr") == ["fritters", "fruits"]
    assert completed("tenants", "restore", "p") == ["pears"]
    assert completed("tenants", "deploy", "fruits", "pe") == ["pears"]
    assert "--dry-run" in completed("tenants", "undo", "--")
    wrong = place.database.url.replace(PASSWORD, "")
    assert completed("tenants", "show", "fr", DATABASE_URL=wrong) == [], "nobody is asked for a password"
    assert completed("tenants", "show", "fr", DATABASE_URL="") == []
    for shell, word in (("zsh", "#compdef tenants"), ("fish", "complete --no-files --command tenants")):
        script = place.tenants("completion", shell).out
        assert word in script
        if program := shutil.which(shell):
            subprocess.run([program, "-n"], input=script, text=True, check=True)
