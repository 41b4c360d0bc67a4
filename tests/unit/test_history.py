"""History: a project's revisions, read from their text and put in order as Alembic would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from alembic.script import revision as alembic
from hypothesis import given
from hypothesis import strategies as st

from tenants.core.errors import HistoryError, StateError
from tenants.core.history import History, Revision, parse_revision


def source(id_: object, down: object = None, **more: object) -> str:
    lines = [f"revision = {id_!r}", f"down_revision = {down!r}", *(f"{k} = {v!r}" for k, v in more.items())]
    return '"""What it does.\n\nMore."""\n\n' + "\n".join(lines) + "\n\n\ndef upgrade():\n    pass\n"


def revision(id_: str, *down: str, depends_on: tuple[str, ...] = (), labels: tuple[str, ...] = ()) -> Revision:
    return Revision(id_, down, depends_on, labels, f"{id_}.py", "")


@st.composite
def graphs(draw: st.DrawFn) -> list[Revision]:
    """Revisions with one head: lines, branches, merges, several roots, and dependencies across them."""
    made: list[Revision] = []
    for number in range(draw(st.integers(1, 7))):
        earlier = [r.id for r in made]
        down = draw(st.lists(st.sampled_from(earlier), unique=True, max_size=3)) if earlier else []
        others = [i for i in earlier if i not in down]
        needs = draw(st.lists(st.sampled_from(others), unique=True, max_size=1)) if others else []
        made.append(revision(f"r{number}", *down, depends_on=tuple(needs)))
    followed = {i for r in made for i in r.down}
    heads = [r.id for r in made if r.id not in followed]
    if len(heads) > 1:
        made.append(revision("merge", *heads))
    return draw(st.permutations(made))


def ancestors(revisions: Sequence[Revision], ids: Sequence[str]) -> set[str]:
    """The revisions and all that they need, themselves included."""
    by_id = {r.id: r for r in revisions}
    found: set[str] = set()
    todo = list(ids)
    while todo:
        if (step := todo.pop()) not in found:
            found.add(step)
            todo += [*by_id[step].down, *by_id[step].depends_on]
    return found


@st.composite
def graphs_and_current(draw: st.DrawFn) -> tuple[list[Revision], list[str]]:
    """A graph, and what the version table may hold: revisions of which none needs another."""
    made = draw(graphs())
    chosen = draw(st.lists(st.sampled_from([r.id for r in made]), unique=True, max_size=3))
    return made, [i for i in chosen if not any(i in ancestors(made, [other]) for other in chosen if other != i)]


def comes_after_what_it_needs(order: Sequence[str], revisions: Mapping[str, Revision], applied: set[str]) -> bool:
    done = set(applied)
    for id_ in order:
        if not {*revisions[id_].down, *revisions[id_].depends_on} <= done:
            return False
        done.add(id_)
    return True


@given(graphs())
def test_each_revision_comes_after_what_it_needs_and_the_head_needs_all_it_follows(made: list[Revision]) -> None:
    history = History.of(made)
    assert sorted(history.revisions) == sorted(r.id for r in made)
    assert comes_after_what_it_needs(list(history.revisions), history.revisions, set())
    assert history.head is not None
    assert ancestors(made, [history.head]) == set(history.revisions)
    assert [r.id for r in history.pending([])] == list(history.revisions)
    assert history.pending([history.head]) == ()


@given(graphs_and_current())
def test_what_is_pending_and_what_is_applied_are_all_there_is(given_: tuple[list[Revision], list[str]]) -> None:
    made, current = given_
    history = History.of(made)
    applied = ancestors(made, current)
    pending = [r.id for r in history.pending(current)]
    assert sorted([*pending, *applied]) == sorted(r.id for r in made)
    assert comes_after_what_it_needs(pending, history.revisions, applied)


@given(graphs_and_current())
def test_alembic_agrees_on_the_head_and_on_what_is_pending(given_: tuple[list[Revision], list[str]]) -> None:
    made, current = given_
    theirs = alembic.RevisionMap(
        lambda: [alembic.Revision(r.id, r.down or None, dependencies=r.depends_on or None) for r in made]
    )
    ours = History.of(made)
    assert theirs.heads == (ours.head,)
    assert ours.head is not None
    would_run = theirs.iterate_revisions(ours.head, tuple(current), implicit_base=True)
    assert sorted(r.revision for r in would_run if r) == sorted(r.id for r in ours.pending(current))


@given(graphs(), st.data())
def test_a_cycle_is_always_found(made: list[Revision], data: st.DataObject) -> None:
    head = History.of(made).head
    assert head is not None
    early = data.draw(st.sampled_from(sorted(ancestors(made, [head]))))
    late = data.draw(st.sampled_from(sorted(i for i in (r.id for r in made) if early in ancestors(made, [i]))))
    bent = [Revision(r.id, (*r.down, late), (), (), r.file, "") if r.id == early else r for r in made]
    with pytest.raises(HistoryError, match="form a cycle") as caught:
        History.of(bent)
    assert f"{early}.py" in caught.value.message and f"{late}.py" in caught.value.message


@given(graphs(), st.data())
def test_a_gap_is_always_found(made: list[Revision], data: st.DataObject) -> None:
    needed = sorted({i for r in made for i in (*r.down, *r.depends_on)})
    if needed:
        lost = data.draw(st.sampled_from(needed))
        with pytest.raises(HistoryError, match=f"follows revision '{lost}', which is not in the folder"):
            History.of([r for r in made if r.id != lost])


@given(graphs())
def test_a_second_head_is_always_found(made: list[Revision]) -> None:
    head = History.of(made).head
    with pytest.raises(HistoryError, match="there are 2 heads") as caught:
        History.of([*made, revision("another")])
    assert "another.py" in caught.value.message and f"{head}.py" in caught.value.message


def test_an_empty_folder_has_no_head_and_nothing_pending() -> None:
    history = History.of([])
    assert history.head is None and history.pending([]) == ()


def test_revisions_may_be_named_by_their_branch_label() -> None:
    made = [revision("a", labels=("shop",)), revision("b", "a", depends_on=("shop",)), revision("c", "b")]
    assert list(History.of(made).revisions) == ["a", "b", "c"]


def test_a_revision_that_follows_itself_is_a_cycle() -> None:
    with pytest.raises(HistoryError, match=r"cycle: a\.py → a\.py"):
        History.of([revision("a", "a")])


def test_two_files_of_one_revision_are_both_named() -> None:
    twin = Revision("a", (), (), (), "twin.py", "")
    with pytest.raises(HistoryError, match=r"a\.py and twin\.py are both revision 'a'"):
        History.of([revision("a"), twin])


def test_a_schema_at_a_revision_that_is_not_there_is_told_with_the_folders_head() -> None:
    history = History.of([revision("0001"), revision("0002", "0001")])
    with pytest.raises(StateError, match=r"at revision '0003', which this folder does not have .its head is 0002"):
        history.pending(["0003"])


@pytest.mark.parametrize(
    ("down", "taken"), [(None, ()), ("a", ("a",)), (("a", "b"), ("a", "b")), (["a"], ("a",)), ((), ())]
)
def test_what_a_revision_follows_is_read_however_alembic_writes_it(down: object, taken: tuple[str, ...]) -> None:
    found = parse_revision("0002.py", source("0002", down, depends_on="x", branch_labels=("label",)))
    assert found == Revision("0002", taken, ("x",), ("label",), "0002.py", "What it does.")


def test_annotated_identifiers_are_read_as_alembics_newer_template_writes_them() -> None:
    text = (
        "from typing import Sequence, Union\n\n"
        'revision: str = "0002"\ndown_revision: Union[str, Sequence[str], None] = "0001"\n'
        "branch_labels: Union[str, Sequence[str], None] = None\n"
    )
    assert parse_revision("0002.py", text) == Revision("0002", ("0001",), (), (), "0002.py", "")


def test_a_file_is_never_executed() -> None:
    text = 'import no_such_module\nrevision = "a"\nraise SystemExit("it ran")\n'
    assert parse_revision("a.py", text).id == "a"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("revision = 'a'\ndef upgrade(:\n", "a.py:2: does not parse"),
        ("revision = 'a'\n\x00", "a.py:1: does not parse"),
        ("revision = 'a'\nx = " + "-" * 100_000 + "1\n", "does not parse"),
        ("revision = 'a'\nx = " + "+".join(["1"] * 20_000), "does not parse"),
        ("revision = " + "-" * 500 + "1\n", "`revision` is computed"),
        ("", "has no line"),
        ("down_revision = 'a'\n", "has no line"),
        ("revision = None\n", "has no line"),
        ("revision = ('a', 'b')\n", "has no line"),
        ("revision = ''\n", "revision"),
        ("if True:\n    revision = 'a'\n", "has no line"),
        ("\nrevision = 'a' + 'b'\n", "a.py:2: `revision` is computed"),
        ("revision = __file__\n", "a.py:1: `revision` is computed"),
        ("revision = 1\n", "a.py:1: `revision` is computed"),
        ("revision = f'{1}'\n", "a.py:1: `revision` is computed"),
        ("revision = 'a'\ndown_revision = previous()\n", "a.py:2: `down_revision` is computed"),
        ("revision = 'a'\ndown_revision = ['b', 1]\n", "a.py:2: `down_revision` is computed"),
    ],
    ids=lambda text: ascii(text[:50]),
)
def test_a_file_that_is_no_revision_is_named_with_its_fault(text: str, fault: str) -> None:
    with pytest.raises(HistoryError, match=r"a\.py") as caught:
        parse_revision("a.py", text)
    assert fault in caught.value.message
    assert caught.value.next


@pytest.mark.parametrize("character", "@-+")
def test_an_identifier_that_alembic_does_not_take_is_found_before_anything_runs(character: str) -> None:
    with pytest.raises(alembic.RevisionError):
        alembic.Revision(f"a{character}b", None)
    with pytest.raises(HistoryError, match=r"a\.py"):
        parse_revision("a.py", source(f"a{character}b"))


@given(st.text() | st.text().map(lambda t: f"revision = {t}\ndown_revision = {t}"))
def test_any_text_is_a_revision_or_a_named_fault(text: str) -> None:
    try:
        parse_revision("a.py", text)
    except HistoryError as error:
        assert "a.py" in error.message
