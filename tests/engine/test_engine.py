"""A push from end to end on a real Docker engine: an app in Bun, its tenant in a PostgreSQL in a container, snapshots
in a bucket, and what all of them can see of each other.

The push is one test, because what it stands on takes a minute to build.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import strict_r2
from attacks.thefts import THEFT
from engine.engine import BASE, AbsentError, Engine, running
from engine.host import PLUGIN, SUPERUSER, Host
from support import REPOSITORY, Bucket, Done

from tenants import __version__
from tenants.edges import confine

DOCKERFILE = f"""
FROM {BASE}
WORKDIR /app
COPY . .
EXPOSE 80
CMD ["./bun", "server.ts"]
"""
SERVER = """
import { serve } from "bun";
import postgres from "postgres";
const sql = postgres(process.env.DATABASE_URL!);
serve({ port: 80, async fetch(request) {
  const filter = new URL(request.url).searchParams.get("filter") ?? "";
  const rows = await sql`SELECT name FROM items WHERE name ILIKE ${"%" + filter + "%"} ORDER BY name`;
  return Response.json({ release: RELEASE, names: rows.map(row => row.name) });
} });
"""
ITEMS = """-- migrate:up
CREATE TABLE items (name text PRIMARY KEY);
INSERT INTO items VALUES ('apple'), ('another-apple'), ('banana'), ('carrot');
"""
COLOUR = "-- migrate:up\nALTER TABLE items ADD colour text NOT NULL;\n"


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    try:
        with running() as engine:
            yield engine
    except AbsentError as absent:
        pytest.skip(str(absent))


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """Bun, and the package that the app imports: a folder to be copied into an image."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not on the PATH, and brings Bun")
    machine = {"x86_64": "x64", "aarch64": "aarch64"}[platform.machine()]
    argv = ["npm", "install", "--prefix", str(tmp_path), "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    done = subprocess.run(
        [*argv, f"@oven/bun-linux-{machine}", "postgres"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"npm did not bring Bun: {done.stdout}{done.stderr}")
    return tmp_path / "node_modules"


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """The plugin's image is built from here: its Dockerfile, with a wheel of this tree and all that it needs."""
    context = tmp_path / "context"
    context.mkdir()
    shutil.copy(PLUGIN / "Dockerfile", context)
    pip = [sys.executable, "-m", "pip"]
    made = [*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(context), str(REPOSITORY)]
    done = subprocess.run(made, capture_output=True, text=True, check=False)
    wheel = next(context.glob("*.whl"), None)
    if done.returncode == 0 and wheel:
        platforms = [f"{kind}_{platform.machine()}" for kind in ("manylinux_2_28", "manylinux_2_17", "manylinux2014")]
        brought = [*pip, "download", "--quiet", "--dest", str(context), "--only-binary=:all:", "--python-version=3.11"]
        brought += [f"--platform={kind}" for kind in platforms]
        done = subprocess.run([*brought, f"{wheel}[lint]"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"PyPI did not bring the packages for an image: {done.stderr}")
    return context


@pytest.fixture
def image(engine: Engine, wheels: Path) -> str:
    """The plugin's image."""
    (wheel,) = wheels.glob("dokku_tenants-*.whl")
    arguments = {
        "BASE": BASE,
        "VERSION": __version__,
        "PACKAGE": f"/wheels/{wheel.name}[lint]",
        "PIP_OPTIONS": "--no-cache-dir --no-index --find-links=/wheels --root-user-action=ignore",
    }
    words = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    tag = f"dokku-tenants:{__version__}"
    engine.docker("image", "build", "--network=none", *words, f"--tag={tag}", str(wheels))
    return tag


@pytest.fixture
def host(engine: Engine, image: str, tmp_path: Path) -> Iterator[Host]:  # setup finds the image
    engine.docker("network", "create", "outside")
    gateway = engine.docker("network", "inspect", "--format={{(index .IPAM.Config 0).Gateway}}", "outside")
    with strict_r2.running(gateway) as endpoint:
        host = Host(tmp_path / "host", engine, Bucket.create(endpoint, "snapshots"), "outside")
        host.service()
        for done in (host.trigger("install"), host.dokku("tenants:setup", "db")):
            assert done.code == 0, done.said
        yield host


@pytest.fixture
def source(modules: Path, tmp_path: Path) -> Path:
    """The app's repository, with its first revision."""
    folder = tmp_path / "fruits"
    (folder / "migrations").mkdir(parents=True)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / ".dockerignore").write_text("migrations\n")
    (folder / "migrations" / "0001_items.sql").write_text(ITEMS)
    shutil.copytree(modules / "postgres", folder / "node_modules" / "postgres")
    (bun,) = modules.glob("@oven/*/bin/bun")
    shutil.move(bun, folder / "bun")
    return folder


PROBE = """
import json, os, socket, sys
from pathlib import Path
from tenants.edges import machine, sandbox
how = machine.confinement()
folder = Path("/control")
folder.mkdir()
(folder / ".env").write_text(os.environ["SECRET"])
(folder / ".env").chmod(0o600)
(folder / "0001.py").touch()
agent = socket.socket(socket.AF_UNIX)
agent.bind("/control/socket")
agent.listen()
with sandbox.start([sys.executable, "-c", sys.argv[1]], environment={"PATH": os.environ["PATH"]}) as process:
    _, err = process.communicate()
again = []
for _ in range(2):
    with sandbox.start(["/usr/bin/id", "-u"], environment={}) as process:
        again.append(process.communicate()[0].decode())
print(json.dumps({"strong": how.strong, "landlock": how.landlock, "uids": again, "said": err.decode()}))
"""


def test_the_plugins_image_has_the_strong_sandbox_under_dockers_own_profile(engine: Engine, image: str) -> None:
    """No capability is added, and Docker's default seccomp profile holds: no mount can be made there."""
    secret = "secret-of-the-container"
    landlock = confine.landlock_abi() > 0
    told = {
        "NEEDLES": [secret[::-1]],
        "FOLDER": "/control",
        "PACKAGE": "/usr/local/lib/python3.11/dist-packages/tenants",
        "REVISION": "/control/0001.py",
        "STRONG": True,
        "SIGNALS": True,
        "SHARED": ["/tmp", "/var/tmp", "/dev/shm"] if landlock else [],
        "UNLISTED": ["/etc/issue", "/etc/issue.net"] if landlock else [],
        "SOCKET": "/control/socket",
    }
    lines = "\n".join(f"    {name} = {value!r}" for name, value in told.items())
    code = f"def upgrade():\n{lines}{THEFT}\nupgrade()\n"
    shell = ("sh", "-c", 'python3 -c "$0" "$1"; exit $?', PROBE, code)  # a revision has a grandparent
    said = engine.docker("container", "run", "--rm", "--network=none", f"--env=SECRET={secret}", image, *shell)
    found = json.loads(said.splitlines()[-1])
    assert found["strong"], found
    assert found["landlock"] == landlock
    assert len({*found["uids"]}) == 2 and min(map(int, found["uids"])) >= 0x70000000, found
    assert " stolen [] written [] touched [] of " in found["said"], found["said"]


def push(host: Host, source: Path, release: int) -> Done:
    (source / "server.ts").write_text(SERVER.replace("RELEASE", str(release)))
    return host.push("fruits", source, f"{release:040x}")


def linked(host: Host, app: str) -> None:
    host.create(app)
    done = host.dokku("tenants:link", "db", app)
    assert done.code == 0, done.said


def test_a_push_serves_the_app_from_its_own_schema_and_a_bad_revision_leaves_it_serving(
    host: Host, source: Path
) -> None:
    linked(host, "fruits")
    linked(host, "pears")
    host.sql("SET ROLE pears; CREATE TABLE pears.secrets AS SELECT 'of-the-neighbour'")

    done = push(host, source, 1)
    assert done.code == 0, done.said
    assert "0001 in schema fruits" in done.out
    served = {"release": 1, "names": ["another-apple", "apple"]}
    assert host.get("fruits.web.1", "/?filter=app") == served

    # what the app can reach, and what it cannot
    docker = host.engine.docker
    look = """
        import postgres from "postgres";
        const sql = postgres(process.env.DATABASE_URL!);
        for (const table of ["items", "pears.secrets", "pg_authid"])
          console.log(table, await sql.unsafe(`SELECT count(*) FROM ${table}`).then(() => "is read", e => e.code));
        await sql.end();
    """
    assert docker("container", "exec", "fruits.web.1", "./bun", "-e", look).splitlines() == [
        "items is read",
        "pears.secrets 42501",
        "pg_authid 42501",
    ]

    # what can be seen of it, by the app and by whoever may look at containers and images
    key = host.bucket.environment["AWS_SECRET_ACCESS_KEY"]
    seen = [
        docker("container", "exec", "fruits.web.1", "env"),
        docker("container", "inspect", "fruits.web.1"),
        *(docker("image", "history", "--no-trunc", i) for i in ("dokku/fruits:latest", f"dokku-tenants:{__version__}")),
        *(docker("image", "inspect", i) for i in ("dokku/fruits:latest", f"dokku-tenants:{__version__}")),
        done.said,
    ]
    assert [secret for secret in (SUPERUSER, key) for text in seen if secret in text] == []
    assert "postgres://fruits~" in seen[0]
    assert docker("container", "ls", "--all", "--format={{.Names}}").split() == ["fruits.web.1", "dokku.postgres.db"]

    # a snapshot went to the bucket, and what fails on today's rows fails there
    serving = docker("container", "inspect", "--format={{.Id}} {{.Image}}", "fruits.web.1").split()
    (source / "migrations" / "0002_colour.sql").write_text(COLOUR)
    done = push(host, source, 2)
    assert done.code == 6, done.said
    assert "Data:     untouched, at 0001" in done.said
    assert any(name.endswith(".json") for name in host.bucket.keys())  # noqa: SIM118
    assert docker("container", "inspect", "--format={{.Id}} {{.Image}}", "fruits.web.1").split() == serving
    assert host.get("fruits.web.1", "/?filter=app") == served
    assert docker("image", "inspect", "--format={{.Id}}", "dokku/fruits:latest") == serving[1]

    (source / "migrations" / "0002_colour.sql").write_text(COLOUR.replace(" NOT NULL", ""))
    done = push(host, source, 3)
    assert done.code == 0, done.said
    assert host.get("fruits.web.1", "/?filter=app") == {**served, "release": 3}
    assert host.sql("SELECT count(colour), count(*) FROM fruits.items") == "0|4"
