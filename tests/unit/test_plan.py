"""Plan: what a deploy would do, decided from what was seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenants.core.errors import StateError
from tenants.core.history import History, Revision
from tenants.core.plan import Action, Observed, assign, decide

FOLDER = History.of(
    [Revision("0001", (), (), (), "0001_items.py", ""), Revision("0002", ("0001",), (), (), "0002_colour.py", "")]
)
EMPTY = History.of([])
TROUBLE = StateError("its version cannot be read")
REMEMBERED = "the last deploy left it at 0001"
NAMES = st.sampled_from(["apples", "fruits", "nuts", "pears"])


@pytest.mark.parametrize(
    ("seen", "folder", "action", "pending"),
    [
        (Observed("fruits", "fruits", exists=False), FOLDER, Action.CREATE, ["0001", "0002"]),
        (Observed("fruits", "fruits"), FOLDER, Action.MIGRATE, ["0001", "0002"]),
        (Observed("fruits", "fruits", empty=False), FOLDER, Action.MIGRATE, ["0001", "0002"]),
        (Observed("fruits", "fruits", empty=False, current=("0001",)), FOLDER, Action.MIGRATE, ["0002"]),
        (Observed("fruits", "fruits", empty=False, current=("0002",)), FOLDER, Action.NOTHING, []),
        (Observed("fruits", "fruits"), EMPTY, Action.NOTHING, []),
        (Observed("fruits", "fruits"), None, Action.NO_FOLDER, []),
        (Observed("fruits", "fruits", trouble=TROUBLE), FOLDER, Action.STOP, []),
        (Observed("fruits", "fruits", trouble=TROUBLE), None, Action.NO_FOLDER, []),
        (Observed("fruits", "fruits", empty=False, current=("0009",)), FOLDER, Action.STOP, []),
        (Observed("fruits", "fruits", remembered=REMEMBERED), FOLDER, Action.STOP, []),
        (Observed("fruits", "fruits", exists=False, remembered=REMEMBERED), FOLDER, Action.STOP, []),
    ],
)
def test_each_state_has_its_action(seen: Observed, folder: History | None, action: Action, pending: list[str]) -> None:
    plan = decide(seen, folder)
    assert plan.action is action
    assert [r.id for r in plan.pending] == pending
    assert (plan.error is not None) == (action is Action.STOP)
    assert str(plan)


@pytest.mark.parametrize(("exists", "gone"), [(True, "is empty"), (False, "is gone")])
def test_a_schema_that_held_something_is_not_begun_anew_without_a_word(exists: bool, gone: str) -> None:
    seen = Observed("fruits", "fruits", exists=exists, remembered=REMEMBERED)
    stopped = decide(seen, FOLDER)
    assert stopped.error is not None
    assert gone in stopped.error.message and REMEMBERED in stopped.error.message
    assert "tenants restore fruits" in str(stopped.error.next) and "--from-scratch" in str(stopped.error.next)
    begun = decide(seen, FOLDER, from_scratch=True)
    assert begun.action is (Action.MIGRATE if exists else Action.CREATE)


def test_from_scratch_touches_nothing_that_holds_something() -> None:
    seen = Observed("fruits", "fruits", empty=False, current=("0001",), remembered=REMEMBERED)
    assert decide(seen, FOLDER, from_scratch=True) == decide(seen, FOLDER)


@given(
    st.builds(
        Observed,
        NAMES,
        NAMES,
        exists=st.booleans(),
        empty=st.booleans(),
        current=st.lists(st.sampled_from(["0001", "0002", "0009"]), unique=True, max_size=2).map(tuple),
        remembered=st.sampled_from([None, REMEMBERED]),
        trouble=st.sampled_from([None, TROUBLE]),
    ),
    st.sampled_from([None, EMPTY, FOLDER]),
    st.booleans(),
)
def test_there_is_a_plan_for_whatever_is_seen(seen: Observed, folder: History | None, from_scratch: bool) -> None:
    plan = decide(seen, folder, from_scratch=from_scratch)
    assert (plan.tenant, plan.project, plan.current) == (seen.tenant, seen.project, seen.current)
    assert bool(plan.pending) == (plan.action in (Action.MIGRATE, Action.CREATE))
    assert (plan.error is not None) == (plan.action is Action.STOP)
    assert str(plan)


@pytest.mark.parametrize(
    ("tenants", "folders", "pairs"),
    [
        ({}, [], []),
        ({}, ["nuts", "fruits"], [("fruits", "fruits"), ("nuts", "nuts")]),
        ({"fruits": "fruits"}, ["fruits"], [("fruits", "fruits")]),
        ({"fruits": "fruits"}, [], [("fruits", "fruits")]),
        ({"b": "shop", "a": "shop"}, ["shop"], [("a", "shop"), ("b", "shop")]),
    ],
)
def test_tenants_run_their_projects_and_a_new_folder_gets_a_tenant_of_its_name(
    tenants: dict[str, str], folders: list[str], pairs: list[tuple[str, str]]
) -> None:
    assert assign(tenants, dict.fromkeys(folders, FOLDER)) == pairs


@given(st.dictionaries(NAMES, NAMES), st.sets(NAMES))
def test_every_tenant_is_deployed_once_with_the_project_it_has(tenants: dict[str, str], folders: set[str]) -> None:
    pairs = assign(tenants, dict.fromkeys(folders, FOLDER))
    names = [tenant for tenant, _ in pairs]
    assert names == sorted(set(names))
    assert {tenant: project for tenant, project in pairs if tenant in tenants} == tenants
    assert {tenant for tenant, _ in pairs} >= folders - set(tenants.values())
