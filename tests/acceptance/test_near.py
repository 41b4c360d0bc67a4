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


def test_a_mistyped_variable_is_told_once_on_standard_error(place: Place) -> None:
    done = place.tenants("list", "--json", TENANTS_SCHEDUL="0 4 * * * secret")
    assert done.code == 0 and done.json == {"tenants": []}
    assert done.err.count("did you mean TENANTS_SCHEDULE?") == 1 and "secret" not in done.err
