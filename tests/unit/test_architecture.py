"""The rooms of the package: imports point inwards only, and what is outside the process is known in one room."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "tenants"
FILES = {
    ".".join(("tenants", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
TREES = {module: ast.parse(path.read_text("utf-8")) for module, path in FILES.items()}

MAY_IMPORT = {
    "core": {"core"},
    "edges": {"core", "edges"},
    "usecases": {"core", "edges", "usecases"},
    "cli": {"core", "edges", "usecases", "cli"},
    "sandboxed": {"core", "sandboxed"},
    "__main__": {"cli"},
}


def ring(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imported(module: str, tree: ast.AST) -> Iterator[str]:
    """What the module imports, by full name; of `from package import module` the module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import, which this test does not read"
            assert node.module
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in FILES else node.module


def without_later_imports(tree: ast.Module) -> ast.Module:
    """The module less its functions, and less what is for the type checker: what runs when it is imported."""
    kept = [node for node in tree.body if not isinstance(node, ast.FunctionDef)]
    kept = [node for node in kept if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))]
    return ast.Module([n for n in kept if not isinstance(n, ast.ClassDef)], [])


def importers(*packages: str) -> set[str]:
    return {m for m, tree in TREES.items() if any(name.split(".")[0] in packages for name in imported(m, tree))}


def called(module: str) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(TREES[module]) if isinstance(node, ast.Call)}


def test_there_is_something_to_look_at() -> None:
    assert {"tenants", "tenants.cli", "tenants.core.names", "tenants.edges.store.s3"} <= set(FILES)


@pytest.mark.parametrize("module", sorted(FILES))
def test_imports_point_inwards_only(module: str) -> None:
    ours = {name for name in imported(module, TREES[module]) if name.split(".")[0] == "tenants"}
    allowed = MAY_IMPORT.get(ring(module), set())
    assert {name for name in ours if ring(name) not in {"", *allowed}} == set()
    if module == "tenants" or ring(module) == "sandboxed":
        assert "tenants" not in ours


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {}
    for module, tree in TREES.items():
        names = {name for name in imported(module, without_later_imports(tree)) if name in FILES}
        graph[module] = names - {module}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names them


def test_the_pure_ring_reaches_nothing_outside_the_process() -> None:
    outside = {"os", "io", "socket", "subprocess", "shutil", "tempfile", "psycopg", "boto3", "botocore", "click"}
    outside |= {"sqlalchemy", "alembic", "threading", "random", "secrets", "time", "sys"}
    assert {m for m in importers(*outside) if ring(m) == "core"} == set()
    for module in FILES:
        if ring(module) == "core":
            assert called(module) & {"open", "print", "input", "datetime.now", "exec", "eval"} == set()


def test_connections_to_postgresql_are_opened_in_one_module_and_by_project_code() -> None:
    assert importers("psycopg") == {
        "tenants.edges.postgres",
        "tenants.sandboxed.__main__",
        "tenants.sandboxed.guard",
        "tenants.sandboxed.sqlscripts",
    }
    openers = {m for m in FILES if called(m) & {"psycopg.connect", "psycopg.Connection.connect", "create_engine"}}
    assert openers == {"tenants.edges.postgres", "tenants.sandboxed.__main__"}


def test_the_package_stands_without_what_tests_and_measures_it() -> None:
    assert importers("benchmarks", "tests", "support", "strict_r2", "throwaway_postgres") == set()


def test_one_module_knows_boto3() -> None:
    assert importers("boto3", "botocore") == {"tenants.edges.store.s3"}


def test_processes_are_started_in_few_modules() -> None:
    starters = {m for m in FILES if any(name.startswith("subprocess.") for name in called(m))}
    starters |= {m for m in FILES if any(name.endswith("Confined") for name in called(m))}  # a Popen of the sandbox's
    edges = {f"tenants.edges.{name}" for name in ("sandbox", "children", "programs")}
    assert starters == edges | {"tenants.usecases.agent"}
    others = importers("subprocess") - starters
    assert {m for m in others if ring(m) not in ("edges", "usecases")} == set()
    pipes = {f"tenants.edges.{name}" for name in ("projectcode", "command", "follow", "squawk", "glance")}
    assert {m for m in others if ring(m) == "edges"} <= pipes
    for module in others:
        used = {ast.unparse(n) for n in ast.walk(TREES[module]) if isinstance(n, ast.Attribute)}
        constants = {"subprocess.PIPE", "subprocess.DEVNULL", "subprocess.STDOUT", "subprocess.Popen"}
        assert {name for name in used if name.startswith("subprocess.")} <= constants
    for module in set(FILES) - {"tenants.edges.confine", "tenants.sandboxed.serve"}:
        assert not any(
            name.startswith(("os.exec", "os.spawn", "os.system", "os.popen", "os.fork")) for name in called(module)
        )


def test_client_programs_start_in_the_sandbox_but_for_psql_of_the_person_at_the_terminal() -> None:
    starts = [
        ast.unparse(node)
        for node in ast.walk(TREES["tenants.edges.programs"])
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("subprocess.")
    ]
    (attended,) = starts
    assert "preexec_fn=_attended" in attended


def test_the_library_never_prints_or_asks() -> None:
    for module in FILES:
        if ring(module) in ("core", "edges", "usecases"):
            assert called(module) & {"print", "input", "sys.exit", "click.echo"} <= (
                {"sys.exit"} if module == "tenants.edges.confine" else set()
            )


def test_one_module_writes_what_people_see_and_makes_it_harmless() -> None:
    writers = {m for m in FILES if ring(m) == "cli" and called(m) & {"click.echo", "click.secho", "print"}}
    assert writers == {"tenants.cli.screen"}


@pytest.mark.parametrize("module", sorted(FILES))
def test_a_module_is_one_thought(module: str) -> None:
    assert len(FILES[module].read_text("utf-8").splitlines()) <= 400
