"""What is pending meets the old release for a while: what that may not live with is told, or stops the push."""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from support import Done, Place

DROP = 'op.drop_column("items", "colour")'
GOES = "column items.colour goes: the old release may still use it (ban-drop-column)"
HOW_TO_GET_IT = "pip install 'dokku-tenants[lint]'"


@pytest.fixture
def orchard(place: Place) -> Place:
    """A tenant at 0002, whose items have a colour and a number; nothing is said about what to do."""
    del place.environment["TENANTS_INCOMPATIBLE"]
    place.fruits()
    body = 'op.add_column("items", sa.Column("colour", sa.Text))\nop.add_column("items", sa.Column("n", sa.Integer))'
    place.revision("fruits", "0002", body, "0001", "colour")
    place.deployed()
    return place


def said(done: Done) -> list[str]:
    """The lines of the stage `plan`, without the plan itself."""
    lines = [line.split(maxsplit=2) for line in done.err.splitlines()]
    return [line[2] for line in lines if line[:2] == ["fruits", "plan"]][1:]


def documents(done: Done) -> list[Sequence[object]]:
    (answer,) = done.json["deploys"]
    return [tuple(found[key] for key in ("revision", "rule", "table", "column")) for found in answer["incompatible"]]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (DROP, ("ban-drop-column", "items", "colour")),
        ('op.alter_column("items", "colour", new_column_name="color")', ("renaming-column", "items", "colour")),
        ('op.rename_table("items", "things")', ("renaming-table", "items", None)),
        ('op.drop_table("items")', ("ban-drop-table", "items", None)),
        ('op.alter_column("items", "n", type_=sa.BigInteger)', ("changing-column-type", "items", "n")),
        (
            'op.execute("UPDATE items SET n = 1")\nop.alter_column("items", "n", nullable=False)',
            ("adding-not-nullable-field", "items", "n"),
        ),
        (
            'op.execute("DELETE FROM items")\nop.add_column("items", sa.Column("x", sa.Text, nullable=False))',
            ("adding-required-field", "items", "x"),
        ),
    ],
)
def test_each_kind_is_told_before_the_snapshot_and_migrated(
    orchard: Place, body: str, found: tuple[str, str, str | None]
) -> None:
    orchard.revision("fruits", "0003", body, "0002")
    done = orchard.tenants("deploy", "--json")
    assert done.code == 0, done.said
    assert documents(done) == [("0003", *found)]
    (line,) = said(done)
    assert line.startswith("0003_step.py: ") and line.endswith(f"({found[0]})")
    assert done.err.index(line) < done.err.index("snapshot")


@pytest.mark.parametrize(
    "body",
    [
        'op.create_table("basket", sa.Column("n", sa.Integer, primary_key=True))',
        'op.add_column("items", sa.Column("extra", sa.Text))',
        'op.add_column("items", sa.Column("extra", sa.Text, nullable=False, server_default="none"))',
        "with op.get_context().autocommit_block():\n"
        '    op.create_index("i", "items", ["n"], postgresql_concurrently=True)',
    ],
)
def test_what_only_adds_is_not_spoken_of(orchard: Place, body: str) -> None:
    orchard.revision("fruits", "0003", body, "0002")
    done = orchard.tenants("deploy", "--json", "--incompatible", "stop")
    assert done.code == 0, done.said
    assert (documents(done), said(done)) == ([], [])


def test_what_an_earlier_revision_of_the_same_push_made_is_nobody_s(orchard: Place) -> None:
    made = 'op.create_table("basket", sa.Column("n", sa.Text))\nop.add_column("items", sa.Column("extra", sa.Text))'
    orchard.revision("fruits", "0003", made, "0002")
    orchard.revision("fruits", "0004", 'op.drop_column("basket", "n")\nop.drop_column("items", "extra")', "0003")
    assert orchard.tenants("deploy", TENANTS_INCOMPATIBLE="stop").code == 0


def test_a_first_deploy_meets_no_old_release_and_nothing_is_rendered_for_it(orchard: Place) -> None:
    orchard.revision("pears", "0001", 'op.create_table("a", sa.Column("b", sa.Text))\nop.drop_table("a")')
    orchard.revision("pears", "0002", 'op.execute("SELECT 1" if op.get_bind() else None)', "0001")
    done = orchard.tenants("deploy", "pears", "--json", TENANTS_INCOMPATIBLE="stop")
    assert done.code == 0 and documents(done) == [], done.said


def test_with_stop_the_push_stops_before_the_snapshot(orchard: Place) -> None:
    orchard.revision("fruits", "0003", DROP, "0002", "drop")
    before, stored = orchard.database.dump("fruits"), orchard.stored()
    done = orchard.tenants("deploy", TENANTS_INCOMPATIBLE="stop")
    assert done.code == 6, done.said
    assert f"0003_drop.py: {GOES}" in done.err and "the old one goes on serving" in done.err
    assert "Data:     untouched, at 0002" in done.err
    assert "only add in this push" in done.err and "--incompatible warn" in done.err
    assert (orchard.database.dump("fruits"), orchard.stored()) == (before, stored)
    orchard.nothing_left()
    answer = orchard.tenants("deploy", "--json", "--incompatible", "stop")
    assert answer.code == 6 and documents(answer) == [("0003", "ban-drop-column", "items", "colour")]
    assert answer.json["deploys"][0]["outcome"] == "failed"
    let_through = orchard.tenants("deploy", "--incompatible", "warn", TENANTS_INCOMPATIBLE="stop")
    assert let_through.code == 0 and said(let_through) == [f"0003_drop.py: {GOES}"], let_through.said


def test_with_off_nobody_looks(orchard: Place) -> None:
    orchard.revision("fruits", "0003", DROP, "0002")
    for command, answers in (("plan", "plans"), ("rehearse", "rehearsals"), ("deploy", "deploys")):
        done = orchard.tenants(command, "--json", "--incompatible", "off")
        assert done.code == 0 and "colour goes" not in done.said, done.said
        assert done.json[answers][0]["incompatible"] is None


def test_a_policy_that_is_none_is_refused(orchard: Place) -> None:
    done = orchard.tenants("deploy", TENANTS_INCOMPATIBLE="yes")
    assert done.code == 2 and "'yes'" in done.err and "TENANTS_INCOMPATIBLE" in done.err, done.said
    assert "off, warn, stop" in done.err


def test_plan_and_rehearse_tell_the_same_and_stop_the_same(orchard: Place) -> None:
    orchard.revision("fruits", "0003", DROP, "0002", "drop")
    plan, sql, rehearsed = (orchard.tenants(*a) for a in (("plan",), ("plan", "--sql"), ("rehearse",)))
    assert (plan.code, sql.code, rehearsed.code) == (0, 0, 0), rehearsed.said
    assert f"fruits  0003_drop.py: {GOES}" in plan.out
    assert f"-- 0003_drop.py: {GOES}\n" in sql.out
    assert said(rehearsed) == [f"0003_drop.py: {GOES}"] and "passed on a copy" in rehearsed.err
    for command, answers in (("plan", "plans"), ("rehearse", "rehearsals")):
        done = orchard.tenants(command, "--json")
        (found,) = done.json[answers][0]["incompatible"]
        assert found == {
            "revision": "0003",
            "rule": "ban-drop-column",
            "table": "items",
            "column": "colour",
            "message": "column items.colour goes: the old release may still use it",
        }
        stopped = orchard.tenants(command, "--incompatible", "stop")
        assert stopped.code == 6 and GOES in stopped.err and "passed" not in stopped.err, stopped.said


def test_a_revision_that_asks_the_database_is_told_and_stops_nothing_but_with_stop(orchard: Place) -> None:
    """Those before it are looked at all the same, and so is what it says before it asks."""
    orchard.revision("fruits", "0003", DROP, "0002", "drop")
    ask = 'op.drop_column("items", "n")\nop.get_bind().execute(sa.text("SELECT 1")).scalar_one()'
    orchard.revision("fruits", "0004", ask, "0003", "ask")
    orchard.revision("fruits", "0005", 'op.drop_table("items")', "0004", "later")
    stopped = orchard.tenants("deploy", "--incompatible", "stop")
    assert stopped.code == 6 and "cannot be looked at beforehand" in stopped.err, stopped.said
    done = orchard.tenants("deploy", "--json")
    assert done.code == 0, done.said
    assert documents(done) == [
        ("0003", "ban-drop-column", "items", "colour"),
        ("0004", "ban-drop-column", "items", "n"),
        ("0004", None, None, None),
    ]
    last = said(done)[-1]
    assert last.startswith("0004_ask.py: its SQL cannot be looked at beforehand, nor that of the 1 after it (line 12: ")


def test_with_stop_what_alone_cannot_be_looked_at_stops_too_and_says_what_to_do(orchard: Place) -> None:
    orchard.revision("fruits", "0003", "op.get_bind().execute(sa.text('SELECT 1')).scalar()", "0002")
    done = orchard.tenants("deploy", TENANTS_INCOMPATIBLE="stop")
    assert done.code == 6 and "look yourself" in done.err and "untouched, at 0002" in done.err, done.said


def test_sql_that_squawk_does_not_understand_is_told(orchard: Place) -> None:
    orchard.revision("fruits", "0003", "op.execute('DROP TABLE items; FROBNICATE')", "0002")
    (line,) = orchard.tenants("plan", "--json").json["plans"][0]["incompatible"]
    assert line["rule"] is None and "FROBNICATE" in line["message"]


def test_an_author_can_vouch_for_a_statement(orchard: Place) -> None:
    body = 'op.execute("-- squawk-ignore ban-drop-column\\nALTER TABLE items DROP COLUMN colour")'
    orchard.revision("fruits", "0003", body, "0002")
    assert orchard.tenants("deploy", "--incompatible", "stop").code == 0


def test_an_app_with_its_own_url_is_told_too(orchard: Place) -> None:
    orchard.revision("fruits", "0003", DROP, "0002", "drop")
    environment = {"DATABASE_URL": orchard.url_of("fruits"), "TENANTS_MIGRATIONS": str(orchard.migrations / "fruits")}
    assert orchard.tenants("deploy", "--incompatible", "stop", **environment).code == 6
    done = orchard.tenants("deploy", **environment)
    assert done.code == 0 and said(done) == [f"0003_drop.py: {GOES}"], done.said


def test_the_sql_is_made_once_for_a_deploy_and_never_when_nothing_is_pending(orchard: Place) -> None:
    """Each time that a revision is asked for its SQL it knocks at a door of ours."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        door.setblocking(False)
        knock = f'socket.create_connection(("127.0.0.1", {door.getsockname()[1]})).close()'
        orchard.revision("fruits", "0003", f"import socket\nif op.get_context().as_sql:\n    {knock}", "0002")
        for knocks in (1, 0):
            assert orchard.tenants("deploy", "--incompatible", "stop").code == 0
            for _ in range(knocks):
                door.accept()[0].close()
            with pytest.raises(BlockingIOError):
                door.accept()


@pytest.fixture
def bare(orchard: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """The same where squawk is not to be found: the command runs in an environment that has all else."""
    programs = tmp_path / "environment" / "bin"
    programs.mkdir(parents=True)
    (programs.parent / "lib").symlink_to(Path(sys.prefix) / "lib")
    shutil.copy(Path(sys.prefix) / "pyvenv.cfg", programs.parent)
    (programs / "python").symlink_to(sys.executable)
    (programs / "tenants").write_text(f"#!{programs}/python\nfrom tenants.cli import main\nmain()\n")
    (programs / "tenants").chmod(0o755)
    monkeypatch.setattr("support.TENANTS", str(programs / "tenants"))
    orchard.own_process = True
    orchard.environment["PATH"] = "/usr/bin:/bin"
    orchard.revision("fruits", "0003", DROP, "0002", "drop")
    return orchard


def test_without_the_extra_a_plan_says_how_to_get_it_and_a_push_nothing(bare: Place) -> None:
    plan = bare.tenants("plan")
    assert plan.code == 0 and plan.err.count("\n") == 1 and HOW_TO_GET_IT in plan.err, plan.said
    assert bare.tenants("plan", "--json").json["plans"][0]["incompatible"] is None
    assert HOW_TO_GET_IT not in bare.tenants("plan", "--incompatible", "off").said
    done = bare.tenants("deploy", "--json")
    assert done.code == 0 and said(done) == [], done.said
    assert done.json["deploys"][0]["incompatible"] is None
    assert HOW_TO_GET_IT not in bare.tenants("plan").said, "nothing is pending now"


def test_without_the_extra_who_asks_to_be_warned_is_told_on_every_push(bare: Place) -> None:
    done = bare.tenants("deploy", TENANTS_INCOMPATIBLE="warn")
    assert done.code == 0 and HOW_TO_GET_IT in done.err, done.said


def test_without_the_extra_nothing_is_deployed_under_stop(bare: Place) -> None:
    before, stored = bare.database.dump("fruits"), bare.stored()
    for command in ("plan", "rehearse", "deploy"):
        done = bare.tenants(command, TENANTS_INCOMPATIBLE="stop")
        assert done.code == 2 and HOW_TO_GET_IT in done.err and "TENANTS_INCOMPATIBLE" in done.err, done.said
    assert (bare.database.dump("fruits"), bare.stored()) == (before, stored)
