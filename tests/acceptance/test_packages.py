"""What is published is whole: wheel, sdist, the plugin's branch, the site; and so are the workflows."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from support import REPOSITORY

CLONE = (REPOSITORY / ".git").exists()


def run(*command: str | Path, folder: Path = REPOSITORY, **environment: str) -> str:
    """Run it to its end, which has to be a good one; what it printed."""
    here = {"PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8", **environment}
    done = subprocess.run(
        [str(c) for c in command], cwd=folder, env=here, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tracked(*folders: str) -> set[str]:
    return set(run("git", "ls-files", *folders).split())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a wheel that was built from the sdist beside it, without a network."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, REPOSITORY)
    return folder


def test_the_wheel_has_all_of_the_package_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    inside = {name for name in names if ".dist-info/" not in name}
    wanted = {p.relative_to(REPOSITORY).as_posix() for p in (REPOSITORY / "tenants").rglob("*") if p.is_file()}
    assert inside == {name for name in wanted if "__pycache__" not in name}
    assert {"tenants/py.typed", "tenants/edges/sql/audit.sql", "tenants/sandboxed/environment/env.py"} <= inside


def test_the_wheel_installs_into_a_fresh_environment_and_runs(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    fresh = tmp_path / "fresh"
    run(sys.executable, "-m", "venv", "--without-pip", fresh)
    python = fresh / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))  # those that are there already
    where = run(python, "-c", "import tenants; print(tenants.__file__)", folder=tmp_path)
    assert where.startswith(str(site))
    version = run(fresh / "bin" / "tenants", "--version", folder=tmp_path)
    assert version == run(python, "-m", "tenants", "--version", folder=tmp_path)
    assert version.split()[-1] in wheel.name
    assert "audit" in run(fresh / "bin" / "tenants", "audit", "--help", folder=tmp_path)


def test_the_sdist_has_what_the_tests_need_and_runs_them(built: Path, tmp_path: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as tar:
        tar.extractall(tmp_path, filter="data")
    (top,) = tmp_path.iterdir()
    names = {path.relative_to(top).as_posix() for path in top.rglob("*") if path.is_file()}
    assert not [name for name in names if re.search(r"(^|/)(\.git|\.venv|node_modules|__pycache__)/", name)]
    if CLONE:
        folders = ("tenants", "tests", "docs", "examples", "benchmarks", "hooks", "migrations")
        assert tracked(*folders, "Makefile", "mkdocs.yml", "app.json", "README.md", "LICENSE") <= names
    chosen = ["tests/acceptance/test_docs.py", "-k", "links or app_json or variable"]
    run(sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", *chosen, folder=top)


def test_the_site_is_built_and_every_link_in_it_leads_somewhere(tmp_path: Path) -> None:
    run(sys.executable, "-m", "mkdocs", "build", "--site-dir", tmp_path / "site")
    pages = {path.relative_to(tmp_path / "site").as_posix() for path in (tmp_path / "site").rglob("*.html")}
    sources = {p.relative_to(REPOSITORY / "docs").with_suffix("") for p in (REPOSITORY / "docs").rglob("*.md")}
    assert {f"{source.as_posix()}.html" for source in sources} | {"index.html", "commands.html"} <= pages
    first = (tmp_path / "site" / "index.html").read_text()
    assert all(f'href="{page}"' in first for page in pages - {"404.html", "search.html", "index.html"})
    assert "tenants restore" in (tmp_path / "site" / "commands.html").read_text()


@pytest.mark.skipif(not CLONE or not shutil.which("git"), reason="this is no clone, or git is not installed")
def test_a_release_can_be_made_in_any_clone(tmp_path: Path) -> None:
    if "subtree" not in run("git", "--list-cmds=main,others"):
        pytest.skip("git has no `git subtree` here")
    clone = tmp_path / "clone"
    run("git", "clone", "--quiet", REPOSITORY, clone)
    shutil.copy(REPOSITORY / "hooks" / "release", clone / "hooks")
    for folder in ("plugin", "buildpack"):
        (clone / "hooks" / folder / "marker").write_text(folder)
    somebody = {f"GIT_{who}_{what}": "somebody" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    run("git", "add", ".", folder=clone)
    run("git", "commit", "-qm", "a release", folder=clone, **somebody)
    out = run(clone / "hooks" / "release", folder=clone, **somebody)
    assert "branch plugin" in out and run("git", "show", "plugin:marker", folder=clone) == "plugin"
    assert "hooks" not in run("git", "ls-tree", "--name-only", "plugin", folder=clone).split()
    (archive,) = (clone / "dist").glob("*buildpack*.tgz")
    with tarfile.open(archive) as tar:
        assert "marker" in tar.getnames()
    assert len(list((clone / "dist").glob("*.whl"))) == 1
    wrong = subprocess.run([clone / "hooks" / "release", "v99"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 1 and "the tag is v99" in wrong.stderr


@pytest.mark.skipif(not (REPOSITORY / ".github").exists(), reason="an sdist has no workflows")
@pytest.mark.parametrize("name", ["check", "release"])
def test_workflows_run_what_a_person_runs_and_pin_what_they_use(name: str) -> None:
    workflow = yaml.safe_load((REPOSITORY / ".github" / "workflows" / f"{name}.yml").read_text())
    assert workflow["permissions"] == {"contents": "read"}
    steps = [step for job in workflow["jobs"].values() for step in job.get("steps", [])]
    for step in steps:
        if uses := step.get("uses"):
            assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+\.\d+\.\d+", uses), uses
    typed = "\n".join(step["run"] for step in steps if "run" in step)
    makefile = (REPOSITORY / "Makefile").read_text()
    for target in re.findall(r"^make ([a-z]+)$", typed, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for script in re.findall(r"^hooks/\w+", typed, re.MULTILINE):
        assert (REPOSITORY / script).exists()
    assert ("make check" if name == "check" else "hooks/release") in typed
