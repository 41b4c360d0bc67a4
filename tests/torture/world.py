"""Saved games: a server whose files are copied for each kill, the store and the migrations beside it, and the wires
between the command and both of them, which can be cut."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import psycopg
import throwaway_postgres
from support import NAME, Bucket, Database, Place
from throwaway_postgres import Server
from torture.wire import Wire

GRANTS = """
    SELECT c.oid::regclass::text, acl.grantee::regrole::text, acl.privilege_type
    FROM pg_class c, aclexplode(c.relacl) acl
    WHERE relnamespace::regnamespace::text = ANY(%s) AND acl.grantee <> c.relowner
      AND acl.grantee::regrole::text !~ '~deploy~' ORDER BY 1, 2, 3"""


class World(Place):
    """A place of one's own: a server, a store, and nobody else in it."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.wire = Wire(server.port)
        (folder / "home").mkdir(exist_ok=True)
        super().__init__(folder / "home", Database(server), own_process=False)
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self.temporary.chmod(0o1777)
        self.environment |= {"TMPDIR": str(self.temporary), "DATABASE_URL": self.through_wire(server.url(NAME))}
        del self.environment["TENANTS_REHEARSAL"]
        self.bucket: Bucket | None = None
        self.store_wire: Wire | None = None
        self.login = ""
        """The app's DATABASE_URL."""
        self.oldest = ""
        """The id of its oldest snapshot, if there is one."""
        self._watch: psycopg.Connection[tuple[object, ...]] | None = None
        self.postmaster = throwaway_postgres.start(server)

    def through_wire(self, url: str) -> str:
        return re.sub(r":\d+/", f":{self.wire.port}/", url)

    def restart(self) -> None:
        """On the same files and port, after a hard end."""
        self.postmaster.wait(30)
        for _ in range(20):
            try:
                self.postmaster = throwaway_postgres.start(self.database.server)
                return
            except RuntimeError as error:  # a backend that was born as it died notices within moments
                if "pre-existing shared memory block" not in str(error):
                    raise
                time.sleep(0.5)
        raise AssertionError("PostgreSQL does not start again")

    def save(self) -> None:
        """Stop; the folder is a game to begin from."""
        self.wire.close()
        throwaway_postgres.stop(self.postmaster)

    def keep_in(self, bucket: Bucket) -> None:
        """The store is a bucket from now on, with what is in the folder."""
        for name in self.stored():
            bucket.client().put_object(Bucket=bucket.name, Key=f"backups/{name}", Body=(self.store / name).read_bytes())
        self.bucket, self.store_wire = bucket, Wire(int(bucket.endpoint.rpartition(":")[2]))
        self.environment |= {**bucket.environment, "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{self.store_wire.port}"}

    def look_into_store(self) -> None:
        """What is in the bucket, if there is one, as files; and no manifest is without its data, wherever it is."""
        if self.bucket:
            shutil.rmtree(self.store, ignore_errors=True)
            keys = self.bucket.keys()
            for key in keys:
                file = self.store / key.removeprefix("backups/")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(self.bucket.client().get_object(Bucket=self.bucket.name, Key=key)["Body"].read())
        for name in self.stored():
            if name.endswith(".json"):
                manifest = json.loads((self.store / name).read_text())
                archive = self.store / Path(name).with_name(f"{manifest.get('archive') or manifest['id']}.dump.zst")
                assert archive.is_file(), f"{name} is a manifest without an archive"
                assert sha256(archive.read_bytes()).hexdigest() == manifest["sha256"], f"{archive} is another one"

    def count(self, ending: str) -> int:
        """How many files in the store have a name that ends so."""
        return sum(name.endswith(ending) for name in (self.bucket.keys() if self.bucket else self.stored()))

    def says(self, query: str) -> bool:
        """Whether the query says true; where it cannot be asked, it does not. Asked often, so its session is kept."""
        try:
            if self._watch is None or self._watch.closed:
                self._watch = psycopg.connect(self.database.url, autocommit=True)
            return self._watch.execute(query.encode()).fetchone() == (True,)
        except psycopg.Error:
            return False

    def look_away(self) -> None:
        if self._watch:
            self._watch.close()

    def nothing_left(self) -> None:
        super().nothing_left()
        assert self.bucket is None or self.bucket.unfinished() == 0, "an upload is unfinished"
        roles = [role for role in self.database.roles() if "~scratch~" in role]
        assert roles == [], f"roles are left: {roles}"
        assert list(self.temporary.iterdir()) == [], "something is left in the temporary folder"

    def state(self, *schemas: str) -> str:
        """What there is, as text: schemas with all rows but those that the app writes, tenants, and whose roles."""
        database, texts = self.database, list[str]()
        there = database.schemas()
        for schema in schemas:
            text = database.dump(schema) if schema in there else f"no schema {schema}"
            text = re.sub(r"(?s)(COPY \S+\.log .*? FROM stdin;\n).*?(?<=\n)\\\.\n", r"\1", text)
            text = re.sub(r"(?s)(FROM stdin;\n)(.*?)(?=^\\\.$)", _sorted, text, flags=re.MULTILINE)
            texts.append(re.sub(r"--\n-- .*; Type: ACL;.*\n--\n\n(?:(?:GRANT|REVOKE).*\n)+\n\n", "", text))
        tenants = database.sql("SELECT name FROM tenants.tenants ORDER BY 1") if "tenants" in there else []
        roles = {role.partition("~")[0] for role in database.roles() if not re.search("~(deploy|scratch)~", role)}
        granted = database.sql(GRANTS, [list(schemas)])
        return "\n".join([*texts, f"{granted=}", f"{tenants=}", f"roles={sorted(roles - {'tenants'})}"])

    def logged(self) -> set[str]:
        """All that is in a table of the app's log, wherever a command has put it."""
        query = "SELECT c.oid::regclass::text FROM pg_class c WHERE relname = 'log' AND relkind = 'r'"
        return {row[0] for (t,) in self.database.sql(query) for row in self.database.sql(f"SELECT line FROM {t}")}

    def sessions(self) -> list[tuple[int, str]]:
        query = "SELECT pid, application_name FROM pg_stat_activity WHERE application_name LIKE 'tenants%'"
        with psycopg.connect(self.database.url, autocommit=True) as connection:
            return [(int(pid), str(name)) for pid, name in connection.execute(query)]


def _sorted(rows: re.Match[str]) -> str:
    """The rows of a table in an order of their own: PostgreSQL keeps none."""
    return rows[1] + "".join(sorted(rows[2].splitlines(keepends=True)))


def new_game(folder: Path) -> World:
    """A server with an empty database."""
    world = World(folder, throwaway_postgres.create(folder))
    with psycopg.connect(world.database.server.url(), autocommit=True) as connection:
        connection.execute('CREATE DATABASE "db.main"')
    return world


@contextmanager
def loaded(saved: World, folder: Path, *, megabytes: int = 0, keep: bool = False) -> Iterator[World]:
    """A copy of a saved game, running; gone after the block unless it is to be kept. With `megabytes` its store is a
    disk of that size."""
    with ExitStack() as stack:
        (folder / "home").mkdir(parents=True)
        server = saved.database.server
        subprocess.run(["cp", "-a", "--reflink=auto", str(server.data), str(folder / "data")], check=True)
        throwaway_postgres.let_through(folder)
        if server.user:
            shutil.chown(folder, server.user)
        world = World(folder, replace(server, port=throwaway_postgres.free_port(), data=folder / "data"))
        stack.callback(lambda: throwaway_postgres.stop(world.postmaster))
        stack.callback(world.wire.close)
        stack.callback(world.look_away)
        stack.callback(lambda: world.store_wire.close() if world.store_wire else None)
        shutil.copytree(saved.migrations, world.migrations, dirs_exist_ok=True)
        if megabytes:
            world.store.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(world.store)], check=True)
            stack.callback(lambda: subprocess.run(["umount", "-l", str(world.store)], check=True))
        if saved.store.is_dir():
            shutil.copytree(saved.store, world.store, dirs_exist_ok=True)
        world.login = re.sub(r":\d+/", f":{world.database.server.port}/", saved.login)
        world.oldest = min(world.snapshots(), default="")
        yield world
    if not keep:
        shutil.rmtree(folder)


def may_mount(folder: Path) -> bool:
    """Whether a small disk can be made here."""
    folder.mkdir(exist_ok=True)
    if os.geteuid() != 0:
        return False
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], capture_output=True)
    return done.returncode == 0 and subprocess.run(["umount", str(folder)], capture_output=True).returncode == 0
