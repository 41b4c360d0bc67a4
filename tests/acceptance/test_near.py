"""Unknown names are answered with the near ones."""

from __future__ import annotations

from support import Place

TOLD = {
    "deplou": "there is no command 'deplou'; did you mean deploy?",
    "deploy fruit": "named fruit; did you mean fruits?",
    "show fruit": "there is no tenant 'fruit' (tenants: fruits); did you mean fruits?",
    "restore fruits SNAPSHOT": "did you mean 2",
    "restore fruits --table item": "has no table item; did you mean items?",
    "adopt pears --from public --table loggs": "no table loggs in schema public; did you mean logs?",
    "plan --chek": "--check",
    "plan --incompatible stopp": "did you mean stop?",
    "migrate": "there is no command 'migrate'; did you mean deploy?",
    "rollback": "did you mean undo?",
    "backup": "did you mean snapshot?",
    "history": "did you mean log?",
    "logs": "did you mean log?",
    "dump": "did you mean fetch?",
    "help migrate": "there is no command 'migrate'; did you mean deploy?",
    "\x1b[2Jdeploy": "there is no command",
}


def test_near_names_are_told(place: Place) -> None:
    place.fruits()
    place.deployed()
    place.database.sql("CREATE TABLE public.logs (id int)")
    id_ = place.snapshot()
    for command, told in TOLD.items():
        done = place.tenants(*command.replace("SNAPSHOT", f"{id_[:-1]}0").split())
        assert done.code in (2, 5) and told in done.err and "\x1b" not in done.err, done.said


MEANT = {
    "login fruit": "tenants login fruits",
    "deploy fruit": "tenants deploy fruits",
    "connect fruit -c SELECT*": "tenants connect fruits -c …",
    "undo fruit --yes": "tenants undo fruits",
    "restore fruit": "tenants restore fruits",
    "restore fruit --json": "tenants restore fruits --json",
    "run fruit -- tool --password hunter2": "tenants run fruits -- …",
    "reader boss --of fruit": "tenants reader boss --of fruits",
    "audit fruit": "tenants audit fruits",
    "audit fruit --fix": "tenants audit fruits --fix",
    "snapshots fruit": "tenants snapshots fruits",
    "log fruitz": "tenants log fruits",
    "login zebra": "tenants create zebra",
}


def test_the_next_command_is_the_one_that_was_meant_and_makes_no_tenant_of_a_typo(place: Place) -> None:
    place.tenants("create", "fruits")
    for command, next_ in MEANT.items():
        done = place.tenants(*command.split())
        assert done.code == 2 and f"\nNext:     {next_}\n" in done.err, done.said


def test_one_that_is_gone_is_known_by_its_snapshots_and_its_records(place: Place) -> None:
    place.fruits()
    place.deployed()
    none_yet = place.tenants("snapshots", "fruits")
    assert none_yet.code == 0 and "tenants snapshot fruits" in none_yet.err, none_yet.said
    assert place.tenants("drop", "fruits", "--yes").code == 0
    assert "drop" in place.tenants("log", "fruits").out and "drop" in place.tenants("snapshots", "fruits").out
    gone = place.tenants("audit", "fruits")
    assert gone.code == 2 and "there is no tenant 'fruits'" in gone.err, gone.said


def test_a_mistyped_variable_is_told_once_on_standard_error(place: Place) -> None:
    done = place.tenants("list", "--json", TENANTS_SCHEDUL="0 4 * * * secret")
    assert done.code == 0 and done.json == {"tenants": []}
    assert done.err.count("did you mean TENANTS_SCHEDULE?") == 1 and "secret" not in done.err


def test_help_is_a_command_too(place: Place) -> None:
    for arguments, same in ((["help"], ["--help"]), (["help", "undo"], ["undo", "--help"])):
        done = place.tenants(*arguments)
        assert done.code == 0 and done.out == place.tenants(*same).out and "Usage: tenants" in done.out, done.said
