"""The buildpack, called as Dokku's builder calls it: an app's folder, a cache, and a folder of configuration. What it
leaves is moved to where apps run, and works there without a network.

The Python that it fetches for people comes from the tests' own machine here, packed in the same way.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from support import REPOSITORY
from throwaway_postgres import Server, create, let_through, start, stop

import tenants

BUILDPACK = REPOSITORY / "hooks" / "buildpack"
SECRET = "secret-of-the-app-that-must-not-ship"
PATH = "/usr/local/bin:/usr/bin:/bin"
UNUSED = (
    "__pycache__",
    "site-packages",
    "dist-packages",
    "test",
    "tests",
    "idlelib",
    "lib2to3",
    "ensurepip",
    "tkinter",
)


class App:
    """An app as it is when a build begins, and what the builder has beside it."""

    def __init__(self, folder: Path) -> None:
        self.build, self.cache, self.config = (folder / name for name in ("build", "cache", "env"))
        for made in (self.build, self.cache, self.config):
            made.mkdir(parents=True)
        self.set(DATABASE_URL=f"postgres://postgres:{SECRET}@db:5432/db", AWS_SECRET_ACCESS_KEY=SECRET)

    def set(self, **variables: str) -> None:
        """As `dokku config:set` does: for a build, each variable is a file."""
        for name, value in variables.items():
            (self.config / name).write_text(value)

    def call(self, name: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
        """A program of the buildpack, without the variables of whoever runs the tests."""
        argv = [str(BUILDPACK / "bin" / name), *map(str, arguments)]
        kept = {key: value for key, value in os.environ.items() if key.startswith("PIP_")}
        environment = {**kept, "PATH": PATH, "HOME": str(self.build), "STACK": "heroku-24"}
        return subprocess.run(argv, env=environment, cwd=self.build, capture_output=True, text=True, check=False)

    def compile(self) -> subprocess.CompletedProcess[str]:
        return self.call("compile", self.build, self.cache, self.config)


@pytest.fixture
def app() -> Iterator[App]:
    """In a folder that other users may enter, as apps have it."""
    folder = Path(os.path.realpath(subprocess.run(["mktemp", "-d"], stdout=subprocess.PIPE, text=True).stdout.strip()))
    let_through(folder)
    folder.chmod(0o755)
    yield App(folder)
    shutil.rmtree(folder)


def standalone(archive: Path) -> str:
    """Pack the Python that runs the tests as one that lies anywhere; its URL, with its digest."""
    stdlib, pip = Path(sysconfig.get_path("stdlib")), find_spec("pip")
    if pip is None or pip.origin is None:
        pytest.skip("the Python of the tests has no pip to be packed")
    if "dist-packages" in (stdlib / "site.py").read_text():
        pytest.skip("Debian's Python installs elsewhere than others do, and cannot stand in for them")

    def wanted(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        parts = Path(member.name).parts
        unused = any(part in UNUSED or part.startswith("config-") for part in parts[3:])
        return None if unused or member.name.endswith(".a") else member

    with tarfile.open(archive, "w:gz", compresslevel=1) as packed:
        for name, content in program(archive.parent):
            packed.add(content, f"python/{name}")
        packed.add(stdlib, f"python/lib/{stdlib.name}", filter=wanted)
        packed.add(Path(pip.origin).parent, f"python/lib/{stdlib.name}/pip", filter=wanted)
    return f"file://{archive}#sha256={hashlib.sha256(archive.read_bytes()).hexdigest()}"


def program(scratch: Path) -> Iterator[tuple[str, Path]]:
    """The interpreter, and its library where it has one: as a standalone one it looks for that beside itself."""
    binary = Path(sys.executable).resolve()
    if sysconfig.get_config_var("Py_ENABLE_SHARED"):
        folder, library = (str(sysconfig.get_config_var(name)) for name in ("LIBDIR", "INSTSONAME"))
        there, beside = folder.encode() + b"\0", b"$ORIGIN/../lib\0"
        yield f"lib/{library}", Path(folder, library)
        changed = scratch / "python3"
        changed.write_bytes(binary.read_bytes().replace(there, beside.ljust(len(there), b"\0")))
        changed.chmod(0o755)
        binary = changed
    yield "bin/python3", binary


@pytest.fixture
def index() -> None:
    """Where pip gets what the command depends on."""
    try:
        urllib.request.urlopen("https://pypi.org/simple/pip/", timeout=10).close()
    except OSError as error:
        pytest.skip(f"PyPI cannot be reached: {error}")


@pytest.fixture
def socket() -> Iterator[Server]:
    """A PostgreSQL that is reached through a socket in its folder, and so without a network."""
    folder = Path(subprocess.run(["mktemp", "-d"], stdout=subprocess.PIPE, text=True).stdout.strip())
    server = create(folder)
    folder.chmod(0o711)  # revisions come in as another user
    process = start(server, [f"unix_socket_directories={folder}"])
    try:
        yield server
    finally:
        stop(process)
        shutil.rmtree(folder)


def holding(*roots: Path, text: str) -> list[Path]:
    """The files below them that have it in them."""
    files = (path for root in roots for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    return [path for path in files if text.encode() in path.read_bytes()]


def test_an_app_without_python_gets_the_command_with_all_it_needs_wherever_its_folder_goes(
    app: App, index: None, socket: Server
) -> None:
    (app.build / "server.js").write_text("")
    project = app.build / "migrations" / "fruits"
    project.mkdir(parents=True)
    (project / "0001_items.sql").write_text("-- migrate:up\nCREATE TABLE items (name text);\n")
    app.set(TENANTS_BUILDPACK_PYTHON=standalone(app.build.parent / "python.tar.gz"))
    app.set(TENANTS_BUILDPACK_INSTALL=f"dokku-tenants[client,lint] @ {REPOSITORY.as_uri()}")
    assert app.call("detect", app.build).returncode == 0

    first = app.compile()
    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines()[1:] == [f"       dokku-tenants {tenants.__version__}"]
    second = app.compile()
    assert second.returncode == 0, second.stderr
    assert "as the last build has left it" in second.stdout
    assert SECRET not in first.stdout + first.stderr + second.stdout + second.stderr
    assert holding(app.build, app.cache, text=SECRET) == []

    slug = app.build.parent / "app"
    app.build.rename(slug)
    shutil.rmtree(app.cache)
    if os.geteuid() or subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode:
        pytest.skip("only root can take the network away")
    url = f"postgres://postgres:throwaway@/postgres?host={socket.data.parent}&port={socket.port}"

    def run(script: str) -> str:
        """As Dokku runs a command in an app's image: in a shell that has read .profile.d, in the app's folder."""
        done = subprocess.run(
            ["unshare", "-n", "bash", "-c", f"set -e; for f in .profile.d/*; do source $f; done; {script}"],
            cwd=slug,
            env={
                "PATH": PATH,
                "HOME": str(slug),
                "PYTHONHOME": "/app/.heroku/python",
                "PYTHONPATH": "/app",
                "DATABASE_URL": url,
                "TENANTS_STORE": f"file://{slug.parent}/store",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    assert run("command -v tenants").strip() == f"{slug}/.tenants/bin/tenants"
    assert "0001_items.sql" in run("tenants plan")
    assert "not looked at" not in run("TENANTS_INCOMPATIBLE=stop tenants deploy")
    assert "read back" in run("tenants snapshot fruits")


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"server.js": "", "migrations/0001.sql": ""}, 0),
        ({"app.json": '{"scripts": {"dokku": {"predeploy": "tenants deploy"}}}'}, 0),
        ({"app.json": '{"scripts": {"dokku": {"predeploy": "npm run subtenants-of"}}}'}, 1),
        ({"server.js": ""}, 1),
    ],
)
def test_it_takes_apps_with_a_folder_of_migrations_or_a_call_of_the_command(
    app: App, files: dict[str, str], code: int
) -> None:
    for name, text in files.items():
        (app.build / name).parent.mkdir(exist_ok=True)
        (app.build / name).write_text(text)
    done = app.call("detect", app.build)
    assert done.returncode == code
    assert done.stdout.strip()


@pytest.mark.parametrize(
    ("python", "fault"),
    [
        ("file://{0}/python.tar.gz", "TENANTS_BUILDPACK_PYTHON has no digest"),
        ("file://{0}/nothing.tar.gz#sha256=" + "0" * 64, "the archive of Python could not be fetched"),
        ("file://{0}/python.tar.gz#sha256=" + "0" * 64, "the archive of Python is not the one that was meant"),
    ],
)
def test_a_python_that_is_not_the_one_meant_stops_the_build_and_leaves_nothing(
    app: App, python: str, fault: str
) -> None:
    archive = app.build.parent / "python.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(BUILDPACK / "bin" / "detect", "python/bin/python3")
    app.set(TENANTS_BUILDPACK_PYTHON=python.format(archive.parent))
    done = app.compile()
    assert done.returncode == 1
    assert fault in done.stderr
    assert "the old one goes on serving" in done.stderr
    assert "Next:" in done.stderr
    assert list(app.build.iterdir()) == []
    assert not any((part / "bin" / "tenants").exists() for part in app.cache.rglob("*"))


def test_it_brings_no_process_and_no_variable_to_the_app(app: App) -> None:
    assert app.call("release", app.build).stdout == "--- {}\n"


def test_it_installs_the_release_that_it_belongs_to_on_the_machines_that_dokku_runs_on() -> None:
    assert (BUILDPACK / "requirements.txt").read_text().strip().endswith(f"]=={tenants.__version__}")
    pinned = [line.split() for line in (BUILDPACK / "python.txt").read_text().splitlines() if line[0] != "#"]
    assert [machine for machine, _ in pinned] == ["x86_64", "aarch64"]
    assert all(url.startswith("https://") and len(url.partition("#sha256=")[2]) == 64 for _, url in pinned)
