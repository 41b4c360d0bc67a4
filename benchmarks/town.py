"""A town: a database with many tenants of one project, made in a moment, and a folder with as many revisions as wanted.

The tenants are those that `tenants create` makes, less their logins: roles, schemas and entries in the catalog, by SQL.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from support import REPOSITORY, Database, Done, Place, ending
from throwaway_postgres import PASSWORD, Server, wheel_binaries

ALEMBIC = str(Path(sys.executable).parent / "alembic")
LOOP = str(Path(__file__).with_name("loop.py"))
LONGEST = 1800.0
TABLE = """
op.create_table("t{n}", sa.Column("id", sa.BigInteger, primary_key=True), sa.Column("name", sa.Text))
op.create_index("t{n}_name", "t{n}", ["name"])
"""
COLUMN = 'op.add_column("t1", sa.Column("c{n}", sa.Text))'
DBMATE_STEP = """
-- migrate:up
CREATE TABLE t{n} (id bigserial PRIMARY KEY, name text);
CREATE INDEX t{n}_name ON t{n} (name);
-- migrate:down
DROP TABLE t{n};
"""
MANY = """
DO $$
DECLARE name text;
BEGIN
    FOR i IN {first}..{last} LOOP
        name := format('%s-%s', {prefix}, i);
        EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        EXECUTE format('GRANT "tenants~members" TO %I', name);
        EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO %I', current_database(), name);
        EXECUTE format('CREATE SCHEMA %I AUTHORIZATION %I', name, name);
        INSERT INTO tenants.tenants (name, project) VALUES (name, 'fruits');
    END LOOP;
END $$
"""
AT = """
DO $$
DECLARE name text;
BEGIN
    FOR name IN SELECT t.name FROM tenants.tenants t LOOP
        EXECUTE format('SET LOCAL ROLE %I', name);
        EXECUTE format('CREATE TABLE %I.alembic_version (version_num varchar(32) PRIMARY KEY)', name);
        EXECUTE format('INSERT INTO %I.alembic_version VALUES (%L)', name, {head});
        RESET ROLE;
        INSERT INTO tenants.deploys (tenant, project, kind, from_heads, to_heads, applied, outcome, stages)
        SELECT name, 'fruits', 'deploy', '{{}}', ARRAY[{head}], '{{}}', 'migrated', '{{}}' FROM generate_series(1, 10);
    END LOOP;
END $$
"""


@dataclass(frozen=True)
class Town(Database):
    name: str

    @property
    def url(self) -> str:
        return self.server.url(self.name)


class Project(Place):
    """Somebody's machine, with the revisions of one project."""

    def __init__(self, folder: Path, town: Town) -> None:
        folder.mkdir()
        super().__init__(folder, town)
        self.prefix = town.name
        self.last = 0
        (self.migrations / "fruits").mkdir()
        shutil.copy(REPOSITORY / "pyproject.toml", folder)
        shutil.copy(REPOSITORY / "migrations" / "env.py", self.migrations)
        self.environment["TENANTS_INCOMPATIBLE"] = "warn"
        del self.environment["TENANTS_REHEARSAL"]

    def write(self, count: int, body: str) -> None:
        """So many further revisions; `{n}` in the body is their number."""
        for n in range(self.last + 1, self.last + count + 1):
            self.revision("fruits", f"{n:04}", body.replace("{n}", str(n)), f"{n - 1:04}" if n > 1 else None)
        self.last += count

    def settle(self, count: int, *, migrated: bool = True) -> None:
        """So many tenants, at the head, or with nothing in them."""
        assert self.run("create", f"{self.prefix}-1", "--project", "fruits").code == 0
        self.database.sql(MANY.format(first=2, last=count, prefix=f"'{self.prefix}'"))
        if migrated:
            self.database.sql(AT.format(head=f"'{self.last:04}'"))

    @property
    def tenants_(self) -> list[str]:
        return [row[0] for row in self.database.sql("SELECT name FROM tenants.tenants ORDER BY name")]

    def run(self, *arguments: str) -> Done:
        with ending(self.start(*arguments)) as process:
            out, err = process.communicate(timeout=LONGEST)
        return Done(process.returncode, out, err)

    def does(self, *arguments: str) -> None:
        done = self.run(*arguments)
        assert done.code == 0, done.said

    def login(self, tenant: str) -> str:
        done = self.run("login", tenant, "--json")
        assert done.code == 0, done.said
        return str(json.loads(done.out)["url"])

    def url_as(self, tenant: str) -> str:
        """The superuser's, whose sessions become the tenant."""
        options = f'-c role={tenant} -c search_path="{tenant}"'
        return f"{self.database.url}?options={quote(options)}"

    def alembic_loops(self, tenants: Sequence[str], at_once: int = 1) -> None:
        """Alembic's API in a loop, in one process, or in several with a part of the tenants each."""
        parts = ["\n".join(map(self.url_as, tenants[n::at_once])) for n in range(at_once)]
        with ThreadPoolExecutor(at_once) as threads:
            list(threads.map(lambda urls: call([sys.executable, LOOP, "fruits"], self.folder, said=urls), parts))

    def alembic(self, url: str) -> None:
        call([ALEMBIC, "-x", "project=fruits", "upgrade", "head"], self.folder, DATABASE_URL=url)

    def write_for_dbmate(self, count: int) -> None:
        (self.folder / "dbmate").mkdir()
        for n in range(1, count + 1):
            (self.folder / "dbmate" / f"{n:04}_step.sql").write_text(DBMATE_STEP.replace("{n}", str(n)))

    def dbmate(self, program: str, tenant: str) -> None:
        url = f"{self.database.url}?sslmode=disable&search_path={tenant}"
        call([program, "--no-dump-schema", "--migrations-dir=dbmate", f"--url={url}", "up"], self.folder)

    def psql(self, file: Path) -> None:
        command = [str(wheel_binaries() / "psql"), "-Xq", "-v", "ON_ERROR_STOP=1", "-f", str(file), self.database.url]
        call(command, self.folder, PGPASSWORD=PASSWORD)

    def same_sql(self, tenants: Sequence[str]) -> Path:
        """What is pending, as SQL for all of them: each a transaction, as its owner, in its schema."""
        done = self.run("plan", tenants[0], "--sql", "--json")
        assert done.code == 0, done.said
        (text,) = (plan["sql"] for plan in json.loads(done.out)["plans"])
        file = self.folder / "same.sql"
        with file.open("w") as out:
            for name in tenants:
                out.write(f'SET ROLE "{name}";\nSET search_path = "{name}";\n')
                out.write(text.replace(f'"{tenants[0]}"', f'"{name}"') + "\nRESET ROLE;\n")
        return file


def call(command: Sequence[str], folder: Path, *, said: str = "", **environment: str) -> None:
    path = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", **environment}
    done = subprocess.run(
        command, input=said, cwd=folder, env=path, capture_output=True, text=True, timeout=LONGEST, check=False
    )
    assert done.returncode == 0, done.stderr


@contextmanager
def project(server: Server, folder: Path, name: str) -> Iterator[Project]:
    """A town of that name, gone when the block is left."""
    town = Town(server, name)
    admin = Town(server, "postgres")
    admin.sql(f'CREATE DATABASE "{name}"')
    try:
        yield Project(folder / name, town)
    finally:
        admin.sql(f'DROP DATABASE "{name}" WITH (FORCE)')
        for (role,) in admin.sql("SELECT rolname FROM pg_roles WHERE rolname LIKE %s", [f"{name}-%"]):
            admin.sql(f'DROP ROLE "{role}"')
