"""What people see: progress on a terminal, plain lines in a log, and no character of a tenant's that moves a cursor."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from support import Place
from terminal import Screen, on_terminal

RED, GREEN, YELLOW = "\x1b[31m", "\x1b[32m", "\x1b[33m"


def shown(place: Place, *arguments: str, columns: int = 100, **environment: str) -> Screen:
    return on_terminal(place.folder, {**place.environment, **environment}, *arguments, columns=columns)


@pytest.fixture
def orchard(place: Place) -> Place:
    """A tenant with enough rows for a dump to take more than a moment."""
    place.fruits()
    place.deployed()
    place.database.sql("INSERT INTO fruits.items SELECT repeat(md5(n::text), 60) FROM generate_series(1, 4000) n")
    return place


def test_a_terminal_shows_how_far_it_is_and_keeps_the_lines_of_a_log(orchard: Place) -> None:
    orchard.snapshot()
    orchard.colour()
    orchard.database.sql("ALTER TABLE fruits.items ADD COLUMN weight int")
    seen = shown(orchard, "deploy", columns=60, TENANTS_REHEARSAL="on")
    assert seen.code == 0, seen.raw
    assert re.search(r"fruits   snapshot  dumped \d\.\d MB of about \d\.\d MB", seen.raw), seen.raw
    for live in ("snapshot  read back", "rehearse  copied", "migrate   …"):
        assert f"fruits   {live}" in seen.raw
    stages = [line.split()[1] for line in seen.lines if line.startswith("fruits   ")]
    assert stages == [*("plan", "snapshot", "rehearse", "rehearse", "migrate", "prove", "migrated")], seen.lines
    assert "dumped" not in "\n".join(seen.lines) and seen.longest_live() < 60
    assert GREEN + "fruits   migrated to 0002" in seen.raw and seen.foreign == ""
    assert "Undo: tenants undo fruits" in seen.lines[-2], "a command is never cut"

    seen = shown(orchard, "snapshot", "fruits", columns=40)
    assert seen.code == 0 and "dumped" in seen.raw and seen.longest_live() < 40
    assert [line.split()[1] for line in seen.lines if line] == ["snapshot", seen.lines[-2].split()[-1] + "."]

    orchard.database.sql("DELETE FROM fruits.items")
    seen = shown(orchard, "restore", "fruits", columns=60)
    assert seen.code == 0, seen.raw
    assert re.search(r"put back \d\.\d MB of \d\.\d MB", seen.raw)
    assert re.search(r"Undo: tenants restore fruits \S+$", "\n".join(seen.lines), re.MULTILINE)
    assert "put back" not in "\n".join(seen.lines)


def test_what_stops_a_push_is_red_and_a_warning_yellow_unless_nobody_wants_colours(place: Place) -> None:
    place.fruits()
    place.deployed()
    place.revision("fruits", "0002", 'op.execute("SELECT 1 / 0")', "0001")
    seen = shown(place, "deploy")
    assert seen.code == 6 and RED + "fruits   migrate   FAILED: " in seen.raw
    assert seen.lines[-2].startswith("Next:") and seen.foreign == ""
    seen = shown(place, "deploy", NO_COLOR="1")
    assert seen.code == 6 and "\x1b[K" in seen.raw and not re.search(r"\x1b\[[0-9;]*m", seen.raw)
    seen = shown(place, "deploy", TERM="dumb")
    assert "\x1b" not in seen.raw and "…" not in seen.raw, "a dumb terminal takes lines"
    place.database.sql("UPDATE tenants.snapshots SET created_at = created_at - interval '9 days'")
    assert YELLOW + "!  fruits: " in shown(place, "status").raw
    assert RED + "wrong" in shown(place, "doctor", TENANTS_STORE="").raw


def test_a_hostile_tenant_puts_nothing_on_the_terminal(place: Place) -> None:
    evil = r"\x1b]0;owned\x07\x1b[2J\x9b31m"
    place.revision("fruits", "0001", f"""op.execute("CREATE TABLE \\"{evil}\\" (a int)")""")
    place.deployed()
    (table,) = place.database.sql("SELECT relname FROM pg_class WHERE relname LIKE '%owned%'")
    assert "\x1b[2J" in table[0]
    place.database.sql(f'ALTER TABLE fruits."{table[0]}" OWNER TO postgres')
    place.revision("fruits", "0002", f"""raise Exception("{evil}")""", "0001")
    for command in (("audit",), ("deploy",), ("show", "fruits"), ("status",), ("doctor",), ("rehearse",)):
        seen = shown(place, *command)
        assert seen.foreign == "", (command, seen.raw)
        assert "Traceback" not in seen.raw
    assert "owned" in shown(place, "audit").raw, "its name is told all the same"


def test_a_narrow_terminal_gets_paragraphs_and_a_pipe_gets_columns(place: Place) -> None:
    place.fruits()
    place.deployed()
    seen = shown(place, "status", columns=40)
    assert seen.lines[0].split() == ["TENANT", "fruits"] and all(len(line) <= 40 for line in seen.lines)
    assert place.tenants("status").out.splitlines()[0].startswith("TENANT  SIZE")


def test_a_log_has_plain_lines_and_those_of_the_night_have_their_time(orchard: Place) -> None:
    orchard.colour()
    done = orchard.tenants("deploy")
    assert "\x1b" not in done.said and "dumped" not in done.err and done.err.startswith("fruits   plan      ")
    done = orchard.tenants("nightly")
    assert done.code == 0, done.said
    for line in done.err.splitlines():
        moment, tenant = line.split()[:2]
        assert abs((datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()) < 600 and tenant == "fruits"
