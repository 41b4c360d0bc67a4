"""The sandbox, in each of the ways in which a machine lets it confine: another uid, Landlock, or both; and where there
is neither, project code is not run beside the admin's URL.

Ways that need root are skipped without it; then the one that is left is the one that this machine uses.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from attacks.thefts import THEFT
from support import REPOSITORY, Database, Done, Place, until

from tenants.edges import confine, machine, programs, projectcode, sandbox

SECRET = "storage-secret-that-must-not-show"
PASSWORD = "admins-password-that-must-not-show"
NOBODY = 65534
ROOT = os.geteuid() == 0


def _without_landlock() -> None:
    """In a child before it becomes the command: from here on the kernel has no Landlock (seccomp(2), ENOSYS)."""
    code = ((0x20, 0, 0, 0), (0x35, 0, 2, 444), (0x25, 1, 0, 446), (0x06, 0, 0, 0x50000 | 38), (0x06, 0, 0, 0x7FFF0000))
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in code))
    header = struct.pack("HxxxxxxP", len(code), ctypes.addressof(program))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, header, 0, 0) == 0, os.strerror(ctypes.get_errno())


@dataclass(frozen=True)
class Way:
    """How the command is run, and what is to be expected of project code then."""

    everybodys: bool
    """With a Python that all users may run, so that root can hand project code to another one."""
    user: int | None
    landlock: bool


WAYS = {
    "as-it-is": Way(everybodys=False, user=None, landlock=True),
    "root-and-another-uid": Way(everybodys=True, user=None, landlock=True),
    "root-and-another-uid-alone": Way(everybodys=True, user=None, landlock=False),
    "somebody-and-landlock": Way(everybodys=True, user=NOBODY, landlock=True),
}


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _base() -> str:
    """A Python of our version that nobody may run: ours, or the system's where ours is root's own."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for executable in (Path(sys.executable).resolve(), *(Path(f) / version for f in ("/usr/local/bin", "/usr/bin"))):
        try:
            argv = [str(executable), "-I", "-c", "import ssl, venv"]
            done = subprocess.run(argv, user=NOBODY, cwd="/", env={}, capture_output=True, check=False)
        except OSError:
            continue
        if done.returncode == 0:
            return str(executable)
    pytest.skip(f"there is no {version} that others than root may run")


@pytest.fixture(scope="session")
def everybodys_python() -> Iterator[str]:
    """A Python with this package, in a folder that all users may read."""
    if not ROOT:
        pytest.skip("needs root")
    with tempfile.TemporaryDirectory(prefix="python-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        subprocess.run([_base(), "-m", "venv", "--without-pip", folder], check=True)
        (site,) = folder.glob("lib/python*/site-packages")
        unneeded = shutil.ignore_patterns("*.pth", "__editable__*", "mypy*", "moto*", "hypothesis*", "ruff*", "pip*")
        ours = sysconfig.get_path("purelib")
        shutil.copytree(ours, site, copy_function=_link, ignore=unneeded, dirs_exist_ok=True)
        shutil.copytree(REPOSITORY / "tenants", site / "tenants", copy_function=_link)
        yield str(folder / "bin" / "python")


@dataclass
class House:
    """A place in a folder that everybody may walk to, and the way in which the command runs there."""

    place: Place
    way: Way
    command: list[str]
    preparation: Callable[[], None] | None

    def tenants(self, *arguments: str, **environment: str) -> Done:
        user = self.way.user
        done = subprocess.run(
            [*self.command, *arguments],
            env={**self.place.environment, **environment},
            cwd=self.place.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            preexec_fn=self.preparation,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def deployed(self) -> None:
        done = self.tenants("deploy")
        assert done.code == 0, done.said

    def write_revision(self, body: str) -> Path:
        file = self.place.revision("fruits", "0002", body, "0001")
        file.chmod(0o644)
        return file

    @property
    def strong(self) -> bool:
        """Whether project code has a uid of its own."""
        return ROOT and self.way.user is None

    @property
    def temporary(self) -> Path:
        return self.place.folder / "temporary"


def _house(database: Database, way: Way, python: str | None, preparation: Callable[[], None] | None) -> Iterator[House]:
    with tempfile.TemporaryDirectory(prefix="house-") as name:
        folder = Path(name)
        place = Place(folder, database)
        database.sql(f"CREATE ROLE chief SUPERUSER LOGIN PASSWORD '{PASSWORD}'")
        place.environment |= {
            "DATABASE_URL": database.server.url("db.main", "chief", PASSWORD),
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "temporary"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        for secret in (
            folder / "home" / ".aws" / "credentials",
            folder / ".env",
            folder / "migrations" / "pears" / "key",
        ):
            secret.parent.mkdir(parents=True, exist_ok=True)
            secret.write_text(SECRET)
            secret.chmod(0o600)
        (folder / "temporary").mkdir()
        place.fruits()
        for path in (folder, *folder.rglob("*")):
            if path.is_dir():
                path.chmod(0o755)
            if way.user is not None:
                os.chown(path, way.user, way.user)
        (folder / "temporary").chmod(0o777)
        command = [python or sys.executable, "-P", "-m", "tenants"]
        house = House(place, way, command, preparation)
        yield house
        subprocess.run(["chmod", "-R", "u+rwx", str(house.temporary)], check=False)


@pytest.fixture(params=WAYS.values(), ids=list(WAYS))
def house(database: Database, request: pytest.FixtureRequest) -> Iterator[House]:
    way: Way = request.param
    python = request.getfixturevalue("everybodys_python") if way.everybodys else None
    if way.landlock and not confine.landlock_abi() and not (ROOT and way.user is None):
        pytest.skip("this kernel has no Landlock")
    yield from _house(database, way, python, None if way.landlock else _without_landlock)


@pytest.fixture
def helpless(database: Database, everybodys_python: str) -> Iterator[House]:
    """Somebody who is not root, on a kernel without Landlock."""
    yield from _house(database, Way(True, NOBODY, False), everybodys_python, _without_landlock)


def test_project_code_steals_and_changes_nothing(house: House) -> None:
    house.deployed()
    place = house.place
    secrets = [SECRET, PASSWORD]
    package = Path(sandbox.__file__).parents[1]
    told: dict[str, Any] = {
        "NEEDLES": [f"{secret[::-1]}" for secret in secrets],
        "FOLDER": str(place.folder),
        "PACKAGE": str(package),
        "REVISION": str(place.migrations / "fruits" / "0002_step.py"),
        "STRONG": house.strong,
        "SIGNALS": house.strong or confine.landlock_abi() >= 6,
        "SHARED": ["/tmp", "/var/tmp", "/dev/shm"] if house.way.landlock else [],
        "UNLISTED": ["/etc/fstab", "/etc/login.defs", "/etc/pam.conf"] if house.way.landlock else [],
        "SOCKET": str(place.folder / "socket"),
    }
    lines = "\n".join(f"    {name} = {value!r}" for name, value in told.items())
    house.write_revision(lines + THEFT)
    with socket.socket(socket.AF_UNIX) as agent:  # as ssh-agent has one, or Docker
        agent.bind(told["SOCKET"])
        os.chown(told["SOCKET"], house.way.user or 0, -1)
        agent.listen()
        done = house.tenants("deploy")
    assert done.code == 6, done.said
    found = re.search(r"as (\d+) stolen \[\] written \[\] touched \[\] of True\.", done.err)
    assert found, done.said
    assert house.strong == (int(found[1]) not in (os.geteuid(), house.way.user))
    for secret in secrets:
        assert secret not in done.said
    assert list(house.temporary.iterdir()) == []
    place.nothing_left()


def test_strays_end_with_the_code_that_left_them(house: House) -> None:
    house.deployed()
    house.write_revision("""
        import os, time
        for leave in range(3):
            if os.fork() == 0:
                os.setsid()
                if os.fork():
                    os._exit(0)
                os.environ.clear()
                while True:
                    time.sleep(1)
        time.sleep(0.2)
    """)
    done = house.tenants("deploy", LC_MARKER=str(house.temporary))
    assert done.code == 0, done.said
    marked = []
    for process in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"LC_MARKER={house.temporary}".encode() in process.read_bytes():
                marked.append(process)
        except OSError:
            continue
    assert marked == []
    house.place.nothing_left()


def test_what_others_have_started_in_our_process_goes_on() -> None:
    """Whoever uses this as a library has children of his own, some of them younger than our first program."""

    def confined() -> None:
        with sandbox.start(["/bin/true"], environment={}) as process:
            process.wait()

    confined()
    with subprocess.Popen(["sleep", "600"]) as others:
        confined()
        assert others.poll() is None
        others.kill()
    orphan = "sleep 600 >/dev/null & echo $!"
    pid = int(subprocess.run(["sh", "-c", orphan], stdout=subprocess.PIPE, check=True).stdout)
    try:
        assert f"PPid:\t{os.getpid()}" not in Path(f"/proc/{pid}/status").read_text()
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_program_outlives_the_thread_that_started_it_and_no_other_thread_takes_it_for_a_stray() -> None:
    """The kernel sends the signal of PR_SET_PDEATHSIG when the thread ends that forked."""
    with ExitStack() as stack:
        started = list[subprocess.Popen[bytes]]()

        def start() -> None:
            context = sandbox.start(["/bin/cat"], environment={}, stdin=subprocess.PIPE)
            process = stack.enter_context(context)
            assert process.stdin
            assert process.stdout
            os.write(process.stdin.fileno(), b"is ")
            if os.read(process.stdout.fileno(), 3) == b"is ":  # it runs, so the kernel knows its parent
                started.append(process)

        threads = [threading.Thread(target=start) for _ in range(4)]
        for thread in threads:
            thread.start()
        with sandbox.start(["/bin/true"], environment={}) as short:  # and its strays are ended
            short.wait()
        for thread in threads:
            thread.join()
        assert len(started) == len(threads)
        for process in started:
            answer, _ = process.communicate(b"alive")
            assert (process.returncode, answer) == (0, b"alive")


@pytest.mark.parametrize(
    "left",
    [
        "os.write(descriptor, b'junk' + bytes([10]))",
        "os.write(descriptor, b'1' * 60_000)",
        "os.fstat(descriptor) and os.fork() or [os.write(descriptor, b'1' * 60_000) for _ in iter(int, 1)]",
    ],
    ids=["no exit code", "no end", "for ever"],
)
def test_what_a_revision_writes_while_it_is_loaded_stops_nobody(tmp_path: Path, left: str) -> None:
    """It has all pipes of the process in which it is loaded, that of the exit codes included."""
    tmp_path.chmod(0o755)
    (tmp_path / "0001_step.py").write_text(
        "import os\nrevision = '0001'\ndown_revision = None\n"
        "def upgrade():\n    pass\n"
        "for descriptor in range(3, 40):\n    try:\n"
        f"        {left}\n    except OSError:\n        pass\n"
    )
    surroundings = projectcode.Surroundings({}, [str(tmp_path)], [], None)
    request = {"schema": "fruits", "folder": str(tmp_path), "path": []}
    warm = projectcode.Warm(surroundings, request)
    try:
        for _ in range(2):
            asked = {**request, "do": "sql", "start": None, "target": "0001"}
            ran = projectcode.run(asked, surroundings=surroundings, warm=warm, seconds=20)
            assert ran.code is not None
    finally:
        warm.close()


def test_what_a_request_leaves_beside_itself_says_nothing_in_the_next_one(tmp_path: Path) -> None:
    """clone(2) can make a child of the process that the request was forked from."""
    tmp_path.chmod(0o755)
    number = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
    (tmp_path / "0001_step.py").write_text(f"""
import ctypes, os, time
revision = '0001'
down_revision = None
def upgrade():
    if ctypes.CDLL(None).syscall({number}, 0x8000 | 17, 0, 0, 0, 0) == 0:
        for _ in range(30):
            time.sleep(0.1)
            for descriptor in range(3, 40):
                try:
                    os.write(descriptor, b'{{"event": "applied", "revision": "forged"}}' + bytes([10]))
                except OSError:
                    pass
        os._exit(0)
""")
    (tmp_path / "0002_step.py").write_text(
        "revision = '0002'\ndown_revision = '0001'\ndef upgrade():\n    import time; time.sleep(1)\n"
    )
    surroundings = projectcode.Surroundings({}, [str(tmp_path)], [], None)
    request = {"schema": "fruits", "folder": str(tmp_path), "path": []}
    warm = projectcode.Warm(surroundings, request)
    try:
        for start, target in ((None, "0001"), ("0001", "0002")):
            asked = {**request, "do": "sql", "start": start, "target": target}
            ran = projectcode.run(asked, surroundings=surroundings, warm=warm, seconds=20)
            assert ran.code == 0, ran
    finally:
        warm.close()
    assert ran.applied == []


def test_the_end_of_an_output_has_no_part_of_a_secret(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "0001_step.py").write_text(
        "revision = '0001'\ndown_revision = None\n"
        f"print('{PASSWORD}' + '.' * 3990, flush=True)\n"
        "import os\nos._exit(3)\n"
    )
    ran = projectcode.run(
        {"do": "sql", "schema": "fruits", "folder": str(tmp_path), "path": [], "start": None, "target": "0001"},
        surroundings=projectcode.Surroundings({}, [str(tmp_path)], [], None),
        seconds=20,
        secrets=[PASSWORD],
    )
    assert ran.output.endswith("…" + "." * 3990)
    assert PASSWORD[-5:] not in ran.output


def test_no_password_of_the_admins_is_where_code_of_another_run_can_read_it(house: House) -> None:
    """In one container there may be several runs at once: the agent's, and those of people."""
    if house.way.landlock:
        pytest.skip("Landlock keeps programs of one uid apart")
    house.deployed()
    spy = f"""
import pathlib
while True:
    for file in pathlib.Path('/proc').glob('[0-9]*/environ'):
        try:
            if {PASSWORD[::-1]!r}[::-1].encode() in file.read_bytes():
                print(file, flush=True)
        except OSError:
            pass
"""
    command, uid = [house.command[0], "-I", "-c", spy], machine.confinement().uids[0]  # type: ignore[index]
    with subprocess.Popen(command, user=uid, group=uid, extra_groups=[], stdout=subprocess.PIPE) as process:
        for _ in range(5):
            house.deployed()
        process.kill()
        assert process.stdout
        assert process.stdout.read() == b""


def probe(code: str, **more: Any) -> tuple[int, str]:
    """How a program in Python ends, and what it says."""
    with sandbox.start([sys.executable, "-c", code], environment={}, stderr=subprocess.STDOUT, **more) as process:
        out, _ = process.communicate(timeout=60)
    return process.returncode, out.decode()


def test_no_two_programs_share_a_uid_and_one_begins_alone_with_its_own() -> None:
    how = machine.confinement()
    if how.uids is None:
        pytest.skip("needs root")
    uid, us = how.uids[0] + how.uids[1] - 1, os.getpid()
    with ExitStack() as stack:
        running = [stack.enter_context(sandbox.start(["/bin/sleep", "60"], environment={})) for _ in range(3)]
        until(lambda: all(os.stat(f"/proc/{process.pid}").st_uid for process in running), "they have their uids")
        assert len({os.stat(f"/proc/{process.pid}").st_uid for process in running}) == 3
        with subprocess.Popen(["sleep", "60"], user=uid, group=uid, extra_groups=[]) as left:
            until(lambda: os.stat(f"/proc/{left.pid}").st_uid == uid, "it has that uid")
            if os.fork() == 0:
                try:
                    confine.become(uid)
                finally:
                    os._exit(0)
            assert left.wait(60) == -signal.SIGKILL
        assert all(process.poll() is None for process in running), "those of other uids go on"
    assert us == os.getpid()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("f = open('x', 'wb'); f.truncate(600 << 20)", "File too large"),
        ("f = open('x', 'wb', 0); f.seek(600 << 20); f.write(b'1')", "File too large"),
        ("import mmap; mmap.mmap(-1, 5 << 30, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)", "Cannot allocate memory"),
        ("b = bytearray(5 << 30)", "MemoryError"),
        ("import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 40, 1 << 40))", "not allowed to raise"),
    ],
    ids=["truncate", "write", "mmap", "memory", "raise"],
)
def test_limits_hold(code: str, words: str) -> None:
    ended, said = probe(code)
    assert ended == 1
    assert words in said


def test_a_crash_of_the_command_leaves_no_core_file(tmp_path: Path) -> None:
    """It has the admin's URL in its memory. SIGXCPU is what a limit of time sends."""
    code = (
        "import os, resource, signal\nfrom tenants.edges import sandbox\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)\n"
        "{}\nos.kill(os.getpid(), signal.SIGXCPU)\n"
    )
    begin = "with sandbox.start(['/bin/true'], environment={}) as process: process.wait()"

    def left(what: str) -> list[Path]:
        done = subprocess.run([sys.executable, "-c", code.format(what)], cwd=tmp_path, check=False)
        assert done.returncode == -signal.SIGXCPU
        return list(tmp_path.glob("core*"))

    assert left(begin) == []
    if not left(""):
        pytest.skip("the kernel leaves no core files in the current folder here")


def test_a_run_that_forks_without_end_meets_its_own_limit_alone() -> None:
    if not machine.confinement().strong:
        pytest.skip("needs root: the kernel counts processes for each uid")
    code = "import os, time\nmade = 0\ntry:\n    while os.fork():\n        made += 1\n    time.sleep(60)\n"
    code += "except BlockingIOError:\n    print(made, flush=True)\n"
    with sandbox.start([sys.executable, "-c", code], environment={}) as process:
        assert process.stdout
        assert process.stdout.readline() == b"511\n"
        assert probe("print('here')") == (0, "here\n")


def test_what_fills_the_disk_is_stopped_and_said(house: House) -> None:
    """Files that are each within the limit of one."""
    house.deployed()
    house.write_revision("""
        import os, time
        for name in range(3):
            with open(f"{os.environ['TMPDIR']}/{name}", "wb") as file:
                os.posix_fallocate(file.fileno(), 0, 400 << 20)
        time.sleep(60)
    """)
    done = house.tenants("deploy")
    assert done.code == 6, done.said
    assert "it wrote more than 1 GB into its temporary folder" in done.err
    assert list(house.temporary.iterdir()) == []
    house.place.nothing_left()


def test_a_limit_that_a_revision_meets_is_named(house: House) -> None:
    house.deployed()
    house.write_revision("held = bytearray(5 << 30)")
    done = house.tenants("deploy")
    assert done.code == 6, done.said
    assert "a limit of the sandbox was met: one process has at most 4 GB of memory" in done.err


def test_node_and_its_threads_and_children_run_within_the_limits() -> None:
    if (node := shutil.which("node")) is None:
        pytest.skip("node is not on the PATH")
    code = """
        const { Worker } = require("worker_threads"), { execFileSync } = require("child_process");
        const large = Array.from({ length: 1e6 }, (_, i) => ({ i }));
        const said = execFileSync("/bin/echo", ["child"]).toString().trim();
        require("dns").lookup("localhost", (error, address) => {
          const worker = new Worker("require('worker_threads').parentPort.postMessage('thread')", { eval: true });
          worker.on("message", text => console.log(large.length, said, text, address !== undefined));
        });
    """
    with sandbox.start([node, "-e", code], environment={}, stderr=subprocess.STDOUT) as process:
        assert process.communicate(timeout=60)[0].decode() == "1000000 child thread true\n"


def test_a_pg_dump_that_lies_on_the_path_learns_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each one is asked for its version, whoever put it there."""
    tmp_path.chmod(0o755)
    (tmp_path / "bin").mkdir()
    for name in ("pg_dump", "pg_restore", "psql"):
        (tmp_path / "bin" / name).write_text(
            "#!/bin/sh\n"
            f"env > {tmp_path}/loot\n"
            f"cat {tmp_path}/secret > {tmp_path}/loot\n"
            'echo "pg_dump (PostgreSQL) 99.$(env | grep -c STORAGE)$(cat ../secret 2>/dev/null | wc -c)"\n'
        )
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "secret").chmod(0o600)
    monkeypatch.setenv("STORAGE_SECRET", SECRET)
    found = programs.find(str(tmp_path / "bin"), 18)
    assert found.version == "99.00"
    assert not (tmp_path / "loot").exists()


def test_models_of_one_project_see_no_secret_of_the_repository(house: House) -> None:
    """Whatever the file is called, and however deep it lies."""
    folder = house.place.folder
    (folder / "migrations" / "pears" / "key").unlink()
    for name in ("infra/.env", "infra/deep/production.env", ".git/config", "infra/tls/server.key", "a/b/.env.local"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(SECRET)
    (folder / "models.py").write_text(f"""
import os, pathlib
from sqlalchemy import MetaData
seen, names = [], []
for place, _, files in os.walk({str(folder)!r}):
    for name in files:
        names.append(name)
        try:
            if {SECRET[::-1]!r}[::-1] in pathlib.Path(place, name).read_text():
                seen.append(name)
        except (OSError, UnicodeError):
            pass
raise ValueError(f"seen {{seen}} of {{'models.py' in names}}.")
""")
    house.deployed()
    done = house.tenants("revision", "--autogenerate", "--models", "models:metadata", "-m", "x", "fruits")
    if house.way.landlock:
        assert "seen [] of True." in done.err, done.said


def test_no_project_code_runs_where_the_admins_url_cannot_be_kept_from_it(helpless: House) -> None:
    (helpless.place.folder / "migrations" / "fruits" / "0001_items.py").write_text(
        f"revision = '0001'\ndown_revision = None\nopen({str(helpless.temporary / 'ran')!r}, 'w').close()\n"
        "def upgrade():\n    pass\n"
    )
    for command in (["deploy"], ["plan", "--sql"]):
        done = helpless.tenants(*command)
        assert not (helpless.temporary / "ran").exists(), command
        assert done.code == 2, done.said
        assert "cannot be kept apart from the admin's URL" in done.err
    assert helpless.place.database.schemas() == ["public"]


def _refused(house: House, words: str, **environment: str) -> None:
    """Nothing of the project has run."""
    (house.place.folder / "migrations" / "fruits" / "0001_items.py").write_text(
        f"revision = '0001'\ndown_revision = None\nopen({str(house.temporary / 'ran')!r}, 'w').close()\n"
        "def upgrade():\n    pass\n"
    )
    for command in (["deploy"], ["plan", "--sql"], ["run", "fruits", "--", "true"]):
        done = house.tenants(*command, **environment)
        assert done.code == 2, done.said
    done = house.tenants("deploy", **environment)
    assert words in done.err, done.said
    assert not (house.temporary / "ran").exists()
    assert house.place.database.schemas() == ["public"]


def test_the_weak_sandbox_has_to_be_asked_for_beside_the_admins_url(database: Database, everybodys_python: str) -> None:
    for house in _house(database, Way(True, NOBODY, True), everybodys_python, None):
        if not confine.landlock_abi():
            pytest.skip("this kernel has no Landlock")
        _refused(house, "export TENANTS_SANDBOX=weak", TENANTS_SANDBOX="")
        _refused(house, "has to be strong or weak", TENANTS_SANDBOX="off")
        said = house.tenants("doctor", TENANTS_SANDBOX="").err + house.tenants("doctor", TENANTS_SANDBOX="").out
        assert "the sandbox is weak here" in said
        asked = house.tenants("doctor")
        assert "weak: not root" in asked.said and "change mode" in asked.said


def _without_mounts() -> None:
    """In a child before it becomes the command: root as it is in a container."""
    assert confine.LIBC.prctl(confine.PR_CAPBSET_DROP, 21, 0, 0, 0) == 0


def test_root_with_a_python_that_nobody_else_reaches_is_told_where_to_put_it(database: Database) -> None:
    if not ROOT or not any(machine.closed_above(path) for path in machine.python()):
        pytest.skip("needs root, and a Python of root's own")
    for house in _house(database, Way(False, None, True), None, _without_mounts):
        _refused(house, "install Python and this program outside of")
        assert "can be strong" in house.tenants("doctor").said


def test_a_folder_that_other_users_cannot_read_is_named(house: House) -> None:
    if not house.strong:
        pytest.skip("the same user reads it")
    (house.place.migrations / "fruits").chmod(0o700)
    done = house.tenants("deploy")
    assert done.code == 2, done.said
    assert f"chmod -R o+rX {house.place.migrations}/fruits" in done.err


def test_a_folder_of_revisions_that_lies_elsewhere_shows_nothing_more(house: House) -> None:
    """A link in the repository is the pusher's: it must not widen what project code may read."""
    place = house.place
    elsewhere = place.folder / "elsewhere"
    shutil.copytree(place.migrations / "fruits", elsewhere)
    (elsewhere / "key").write_text(SECRET)
    (elsewhere / "key").chmod(0o600)
    if house.way.user is not None:
        os.chown(elsewhere / "key", house.way.user, house.way.user)
    shutil.rmtree(place.migrations / "fruits")
    (place.migrations / "fruits").symlink_to(elsewhere)
    done = house.tenants("deploy")
    if done.code == 2:  # refused: nothing of it is run
        assert "fruits" in done.err
        return
    assert done.code == 0, done.said
    body = f"""
        try:
            data = open({str(elsewhere / "key")!r}).read()
        except OSError:
            data = ""
        raise RuntimeError(f"seen {{len(data)}}.")
    """
    house.write_revision(body)
    assert "seen 0." in house.tenants("deploy").err


def test_what_is_hidden_is_gone_around(tmp_path: Path) -> None:
    for name in ("app/code/a.py", "app/store/x/1", "other/1"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "app" / "link").symlink_to(tmp_path / "app" / "store")
    roots, hidden = [str(tmp_path / "app"), str(tmp_path / "other")], [str(tmp_path / "app" / "link")]
    assert sandbox.visible(roots, hidden) == [str(tmp_path / "app" / "code"), str(tmp_path / "other")]
    assert sandbox.visible(roots, [str(tmp_path)]) == []
    assert sandbox.visible([str(tmp_path / "app" / "link")], hidden) == []
