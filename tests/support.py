"""What tests say things with: a database, a bucket, and a place in which somebody types commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import boto3
import forked
import psycopg
from botocore.config import Config
from strict_r2 import Switchboard
from throwaway_postgres import Server, wheel_binaries

from tenants.edges.sql import catalog_steps

NAME = "db.main"
TENANTS = str(Path(sys.executable).parent / "tenants")
REPOSITORY = Path(__file__).parents[1]


def until(ready: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Ask until it is so. The bound is there only to end a test that has failed."""
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, f"it never came to pass that {what}"
        time.sleep(0.01)


@contextmanager
def ending(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """The process, which is dead when the block is left: a test that fails must not wait for it."""
    with process:
        try:
            yield process
        finally:
            process.kill()


@dataclass(frozen=True)
class Database:
    """An empty database, and the superuser's way into it."""

    server: Server

    @property
    def url(self) -> str:
        return self.server.url(NAME)

    def sql(self, query: str, parameters: Sequence[object] = (), url: str | None = None) -> list[tuple[Any, ...]]:
        """Run statements, as the superuser or as the one that `url` names; the rows of the last one."""
        with psycopg.connect(url or self.url, autocommit=True) as connection:
            cursor = connection.execute(query.encode(), parameters or None)
            while cursor.nextset():
                pass
            return cursor.fetchall() if cursor.description else []

    def dump(self, schema: str) -> str:
        """The schema, byte for byte: what pg_dump writes, with its random key pinned."""
        command = [
            str(wheel_binaries() / "pg_dump"),
            "--restrict-key=same",
            f'--schema="{schema}"',
            f"--dbname={self.url}",
        ]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def roles(self) -> list[str]:
        """All roles that are not PostgreSQL's own."""
        return [row[0] for row in self.sql("SELECT rolname FROM pg_roles WHERE oid >= 16384 ORDER BY 1")]

    def written(self) -> int:
        """A number that grows with every transaction that writes anything, anywhere on this server."""
        return int(self.sql("SELECT pg_snapshot_xmax(pg_current_snapshot())::text")[0][0])

    def schemas(self) -> list[str]:
        """All schemas that are not PostgreSQL's own, nor the one for extensions."""
        query = "SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema$|extensions$)' ORDER BY 1"
        return [row[0] for row in self.sql(query)]


@contextmanager
def fresh_database(server: Server) -> Iterator[Database]:
    """An empty database; when the block is left, it is gone, and so are all roles that were made meanwhile."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute('CREATE DATABASE "db.main"')
        try:
            yield Database(server)
        finally:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
            remove_all(connection)


def old_catalog(database: Database, steps: int = 4) -> str:
    """The catalog as an older program has left it, with the tenants apples and fruits. Returns the URL of a login of
    fruits."""
    database.sql('CREATE ROLE "tenants~members"')
    for step in catalog_steps()[:steps]:
        database.sql(step)
    database.sql(f"INSERT INTO tenants.catalog (version, server) VALUES ({steps}, 'abcdefghjkmn')")
    for name in ("apples", "fruits"):
        database.sql(f"""
            CREATE ROLE {name} IN ROLE "tenants~members"; CREATE SCHEMA {name} AUTHORIZATION {name};
            CREATE ROLE "{name}~abcdef" LOGIN NOINHERIT PASSWORD 'login' IN ROLE {name};
            GRANT CONNECT ON DATABASE "db.main" TO "{name}~abcdef";
            ALTER ROLE "{name}~abcdef" IN DATABASE "db.main" SET role = {name};
            INSERT INTO tenants.tenants (name, project) VALUES ('{name}', '{name}');
            INSERT INTO tenants.logins (role, tenant) VALUES ('{name}~abcdef', '{name}')
        """)
    return database.server.url("db.main", "fruits~abcdef", "login")


def remove_all(connection: psycopg.Connection) -> None:
    for (name,) in connection.execute("SELECT datname FROM pg_database WHERE oid >= 16384").fetchall():
        connection.execute(psycopg.sql.SQL("DROP DATABASE {} WITH (FORCE)").format(psycopg.sql.Identifier(name)))
    for (name,) in connection.execute("SELECT rolname FROM pg_roles WHERE oid >= 16384").fetchall():
        for statement in ("DROP OWNED BY {} CASCADE", "DROP ROLE {}"):
            connection.execute(psycopg.sql.SQL(statement).format(psycopg.sql.Identifier(name)))


@dataclass(frozen=True)
class Bucket:
    endpoint: str
    name: str

    @classmethod
    def create(cls, endpoint: str, name: str) -> Bucket:
        bucket = cls(endpoint, name)
        bucket.client().create_bucket(Bucket=name)
        return bucket

    def client(self) -> Any:
        environment = self.environment
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="auto",
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
            config=Config(
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                s3={"addressing_style": "path"},
            ),
        )

    @property
    def switches(self) -> Switchboard:
        """By which it is made to misbehave."""
        return Switchboard(self.endpoint, self.name)

    @property
    def environment(self) -> dict[str, str]:
        """What points `tenants` at the bucket."""
        return {
            "TENANTS_STORE": f"s3://{self.name}/backups",
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": "AKIATESTTESTTESTTEST",
            "AWS_SECRET_ACCESS_KEY": "storage-secret-of-the-tests",
        }

    def keys(self) -> list[str]:
        return [found["Key"] for found in self.client().list_objects_v2(Bucket=self.name).get("Contents", [])]

    def unfinished(self) -> int:
        return len(self.client().list_multipart_uploads(Bucket=self.name).get("Uploads", []))


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def said(self) -> str:
        """All that a person saw."""
        return self.err + self.out


class Place:
    """A folder with migrations, an environment, and the command."""

    def __init__(self, folder: Path, database: Database, *, own_process: bool = True) -> None:
        self.own_process = own_process
        self.trust: tuple[str, ...] = ()
        self.folder = folder
        folder.chmod(0o755)  # as a repository is; pytest's own are closed to other users, and so to project code
        self.database = database
        self.migrations = folder / "migrations"
        self.migrations.mkdir()
        self.store = folder / "store"
        self.environment = {
            "PATH": os.environ["PATH"],
            "LC_ALL": "C.UTF-8",
            "DATABASE_URL": database.url,
            "TENANTS_STORE": f"file://{self.store}",
            "TENANTS_REHEARSAL": "off",  # what tests try is to reach the live schema; it has its own
            "TENANTS_INCOMPATIBLE": "off",  # the same
            "TENANTS_SANDBOX": "weak",  # for those who are not root; the server is a throwaway one
        }

    def store_outside(self) -> None:
        """Snapshots beside the folder, and not in it."""
        self.store = self.folder.with_name(f"{self.folder.name}-store")
        self.environment["TENANTS_STORE"] = f"file://{self.store}"

    def start(self, *arguments: str, **environment: str | None) -> subprocess.Popen[str]:
        """Begin `tenants …`; a variable that is None is not set."""
        return subprocess.Popen(
            [TENANTS, *arguments],
            env=self._merged(environment),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def tenants(self, *arguments: str, **environment: str | None) -> Done:
        """Run `tenants …` to its end."""
        if not self.own_process:
            return Done(*forked.run(arguments, self._merged(environment), self.folder, seconds=120))
        with ending(self.start(*arguments, **environment)) as process:
            out, err = process.communicate(timeout=120)
        return Done(process.returncode, out, err)

    def _merged(self, environment: Mapping[str, str | None]) -> dict[str, str]:
        return {name: value for name, value in {**self.environment, **environment}.items() if value is not None}

    def revision(self, project: str, id_: str, body: str, after: str | None = None, name: str = "step") -> Path:
        """Write a revision whose `upgrade` is `body`. In a folder that is not divided, `project` is an empty string."""
        folder = self.migrations / project
        folder.mkdir(exist_ok=True)
        file = folder / f"{id_}_{name}.py"
        file.write_text(
            f'"""{name}"""\n\nimport sqlalchemy as sa\nfrom alembic import op\n\n'
            f"revision = {id_!r}\ndown_revision = {after!r}\n\n\ndef upgrade():\n"
            + indent(dedent(body).strip(), "    ")
            + "\n"
        )
        return file

    def fruits(self, project: str = "fruits") -> None:
        """The first revision of the example: a table with four rows."""
        body = """
            items = op.create_table("items", sa.Column("name", sa.Text, primary_key=True))
            op.bulk_insert(items, [{"name": n} for n in ("apple", "another-apple", "banana", "carrot")])
        """
        self.revision(project, "0001", body, name="items")

    def colour(self, project: str = "fruits") -> None:
        """The second one: a column more."""
        self.revision(project, "0002", 'op.add_column("items", sa.Column("colour", sa.Text))', "0001", "colour")

    def large(self, tenant: str = "fruits") -> None:
        """Give the tenant a table whose archive is longer than what any pipe or list of an archive holds at once."""
        self.database.sql(
            "CREATE TABLE large AS SELECT n AS id, repeat(md5(n::text), 6) AS body FROM generate_series(1, 300000) n",
            url=self.url_of(tenant),
        )

    def deployed(self, *names: str) -> None:
        """Deploy, and it has to work."""
        done = self.tenants("deploy", *names)
        assert done.code == 0, done.said

    def url_of(self, tenant: str) -> str:
        """Make a login for the tenant and return its DATABASE_URL."""
        done = self.tenants("login", tenant, "--json")
        assert done.code == 0, done.said
        return str(done.json["url"])

    def snapshot(self, tenant: str = "fruits", **environment: str | None) -> str:
        """Take a snapshot, and it has to work. Returns its id."""
        done = self.tenants("snapshot", tenant, "--json", **environment)
        assert done.code == 0, done.said
        return str(done.json["id"])

    def key(self) -> str:
        """The fingerprint of the server's signing key, which its operator keeps somewhere else."""
        return str(self.database.sql("SELECT fingerprint FROM tenants.keys WHERE private IS NOT NULL")[0][0])

    def lose_server(self) -> None:
        """The server is lost: another one, empty, takes its place. `trust` are the words that trust its key."""
        self.trust = ("--trust", self.key())
        with psycopg.connect(self.database.server.url(), autocommit=True) as connection:
            remove_all(connection)
            connection.execute('CREATE DATABASE "db.main"')

    def stored(self) -> list[str]:
        """All files in the store, whatever they are."""
        return sorted(p.relative_to(self.store).as_posix() for p in self.store.rglob("*") if p.is_file())

    def snapshots(self) -> list[str]:
        """The ids of the snapshots in the store: there is one where there is a manifest."""
        return [Path(name).stem for name in self.stored() if name.endswith(".json")]

    def nothing_left(self) -> None:
        """No role, session or lock of a deploy is there any more, and nothing half done is in the store."""
        database = self.database
        assert [role for role in database.roles() if "~deploy~" in role] == []
        query = "SELECT usename, application_name FROM pg_stat_activity WHERE application_name LIKE 'tenants%'"
        assert database.sql(query) == []
        assert database.sql("SELECT * FROM pg_locks WHERE locktype = 'advisory'") == []
        assert database.sql("SELECT datname FROM pg_database WHERE oid >= 16384 AND datname <> %s", [NAME]) == []
        if database.sql("SELECT to_regclass('tenants.swaps')") != [(None,)]:
            assert database.sql("SELECT * FROM tenants.swaps") == []
        kept = [name.removesuffix(".age") for name in self.stored()]
        archives = {name.removesuffix(".dump.zst") for name in kept if name.endswith(".dump.zst")}
        manifests = {name.removesuffix(".json") for name in self.stored() if name.endswith(".json")}
        same = {name for name in manifests if json.loads((self.store / f"{name}.json").read_text()).get("archive")}
        assert archives == manifests - same  # what has not changed has no archive of its own
        ledgers = [name.rpartition("/")[0] for name in self.stored() if name.endswith(".ledger")]
        assert sorted(set(ledgers)) == sorted(ledgers), "the newest ledger of each tenant alone is kept"
        assert [name for name in self.stored() if name.endswith(".partial")] == []
