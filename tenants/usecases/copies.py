"""Copies: what a snapshot or a file holds is brought into a scratch database first, and from there to where it is
wanted: under another tenant's name, out of another schema, or one table alone.

In the scratch database it can be changed as needed, by somebody who owns nothing else; what is dumped there is then put
back as a snapshot is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tenants.core.errors import ProgramError, Refused, SnapshotError, UsageError
from tenants.core.events import Event, Tell
from tenants.core.manifest import Manifest
from tenants.core.names import EXTENSIONS_SCHEMA, check_name, printable, quoted, restored_name
from tenants.core.near import did_you_mean
from tenants.core.settings import DatabaseUrl
from tenants.core.units import seconds
from tenants.edges import archivefile, postgres, programs
from tenants.edges.postgres import run
from tenants.edges.store import require_store
from tenants.usecases import (
    archives,
    audit,
    drill,
    inventory,
    locks,
    provision,
    recover,
    restore,
    scratch,
    sharing,
)
from tenants.usecases.access import Access
from tenants.usecases.restore import Restored, Source


@dataclass(frozen=True)
class Tables:
    """Tables that came back one by one."""

    tenant: str
    snapshot: str
    tables: Mapping[str, str]
    """The name that each has now."""
    seconds: float


def into(
    access: Access, name: str, id_: str | None, other: str, tell: Tell, *, at: datetime | None, wait: float
) -> Restored:
    """Put a snapshot of the tenant into another one, which is made, or is there and empty. Raises Refused if it holds
    something."""
    access.require_admin(f"tenants restore {name} --into {other}")
    check_name(name)
    check_name(other)
    store = require_store(access.settings)
    manifest = inventory.find(access, store, name, id_, at=at)
    restore.require_own(manifest, name)
    _require_empty(access, other)
    with locks.tenant_lock(access, other, "restore", tell, wait) as lock:
        _require_empty(access, other)
        source = restore.of_snapshot(access, store, manifest)
        extensions = dict.fromkeys(manifest.extensions, EXTENSIONS_SCHEMA)
        with _copy(access, other, source.pieces(), extensions, manifest.raw_size, source.what) as url:
            if other not in access.entries():
                wishes = recover.limits_of(manifest)
                provision.create(
                    access, other, manifest.project, tell, limits=wishes, app_role=manifest.app_role, with_login=False
                )
            for extension in manifest.extensions:
                sharing.extension(access, other, extension, asked=False)
            _rename(url, name, other, tell)
            copied = _source(access, url, other, f"{source.what} of {name}", manifest.heads)
            return restore.put_back(access, access.entry(other), lock, copied, tell)


def from_file(access: Access, name: str, path: Path, schema: str | None, tell: Tell, *, wait: float) -> Restored:
    """Put what an archive of pg_dump holds into the tenant's schema: its schema of the tenant's name, the one that is
    named, or the only one there is. Grants are left out. What is there now is kept, as with any restore."""
    access.require_admin(f"tenants restore {name} --file {path}")
    entry = access.entry(name)
    client = programs.find(os.environ.get("PATH", ""), access.me.version // 10000)
    tell(Event(name, "restore", f"checking {path.name}"))
    found = archives.contents(client, path.name, archivefile.pieces(path))
    there = {schema_of(table) for table in found.done() if "." in table}
    chosen = schema or (name if name in there else there.pop() if len(there) == 1 else None)
    if chosen is None or (schema and schema not in there):
        raise UsageError(
            f"{path.name} has tables in {', '.join(sorted(there)) or 'no schema at all'}",
            next=f"say which it is to be: tenants restore {name} --file {path.name} --from SCHEMA",
        )
    extensions = {extension: where for extension, where in found.extensions.items() if extension != "plpgsql"}
    for extension in extensions:
        sharing.extension(access, name, extension, asked=False)
    with locks.tenant_lock(access, name, "restore", tell, wait) as lock:
        pieces, needs = archivefile.pieces(path), sum(table.bytes for table in found.done().values())
        with _copy(access, name, pieces, extensions, needs, path.name, chosen) as url:
            with postgres.connect(access.settings.database.in_database(url.database), "tenants restore") as admin:
                for extension, where in extensions.items():
                    if where != EXTENSIONS_SCHEMA:
                        run(admin, "ALTER EXTENSION {e} SET SCHEMA {schema}", e=extension, schema=EXTENSIONS_SCHEMA)
            if chosen != name:
                _rename(url, chosen, name, tell)
            with postgres.connect(url, "tenants restore") as connection:
                versioned = postgres.rows(connection, "tables", schema=quoted(name), names=["alembic_version"])
                heads = postgres.read_heads(connection, name) if versioned else ()
            return restore.put_back(access, entry, lock, _source(access, url, name, path.name, heads), tell)


def tables(
    access: Access,
    name: str,
    id_: str | None,
    names: Sequence[str],
    tell: Tell,
    *,
    at: datetime | None,
    wait: float,
) -> Tables:
    """Bring single tables back. One that is gone comes back as it was, with its indexes, constraints and triggers; the
    rows of one that is there come into a table beside it. Nothing that is there is changed."""
    access.require_admin(f"tenants restore {name} --table {names[0]}")
    access.entry(name)
    store, began = require_store(access.settings), time.monotonic()
    client = programs.find(os.environ.get("PATH", ""), access.me.version // 10000)
    with locks.tenant_lock(access, name, "restore", tell, wait) as lock:
        manifest = inventory.find(access, store, name, id_, at=at)
        restore.require_own(manifest, name)
        source = restore.of_snapshot(access, store, manifest)
        extensions = dict.fromkeys(manifest.extensions, EXTENSIONS_SCHEMA)
        with _copy(access, name, source.pieces(), extensions, manifest.raw_size, source.what) as url:
            called = _beside(access, url, name, names, manifest)
            lock.check()
            with access.acting_as(name) as acting:
                pieces = archives.dumping(client, url, name, tables=list(called.values()))
                options = ["--no-owner", "--no-acl"]
                try:
                    archives.replay(client, pieces, acting, access.me.version, options=options, seconds=drill.TIMEOUT)
                except ProgramError as error:
                    raise ProgramError(
                        f"{', '.join(names)} of {source.what} could not be brought back: {error.message}",
                        data=f"{name} is as it was",
                        next=f"all of it, as another tenant: tenants restore {name} {manifest.id} --into COPY",
                    ) from None
    audit.mend(access, name)
    took = time.monotonic() - began
    for table, now in called.items():
        words = f"{table} is back" if table == now else f"the rows that {table} had are in table {now}"
        tell(Event(name, "restore", f"{words}, as of {manifest.id}, in {seconds(took)}"))
    return Tables(name, manifest.id, called, round(took, 3))


def _beside(access: Access, url: DatabaseUrl, name: str, names: Sequence[str], manifest: Manifest) -> dict[str, str]:
    """What each of the tables is to be called, after those that are in the tenant's schema still have been copied in
    the scratch database, without what would meet its like there."""
    live = {
        row["name"]: row["kind"]
        for row in postgres.rows(access.connection, "tables", schema=quoted(name), names=list(names))
    }
    called = {}
    with postgres.connect(url, "tenants restore") as connection:
        connection.execute("SET row_security = off")  # a policy that hides a row is an error then
        copies = postgres.rows(connection, "tables", schema=quoted(name), names=list(names))
        there = {row["name"]: row["kind"] for row in copies}
        for table in names:
            if table not in there:
                tables = [known.partition(".")[2] for known in manifest.tables]
                raise UsageError(
                    f"snapshot {manifest.id} has no table {printable(table)}{did_you_mean(table, tables)}",
                    next="it has " + ", ".join(printable(known) for known in manifest.tables if "." in known),
                )
            if table not in live and there[table] != "r":
                raise Refused(
                    f"{printable(table)} is no plain table, and cannot come back alone",
                    next=f"all of it, as another tenant: tenants restore {name} {manifest.id} --into COPY",
                )
            called[table] = restored_name(table, datetime.now(UTC)) if table in live else table
            if table in live:
                words = "CREATE TABLE {schema}.{copy} AS TABLE {schema}.{table}"
                run(connection, words, schema=name, copy=called[table], table=table)
    return called


def schema_of(table: str) -> str:
    """The schema of a name as pg_dump writes it: quoted where it has to be."""
    if not table.startswith('"'):
        return table.partition(".")[0]
    return table[1:].replace('""', "\0").partition('"')[0].replace("\0", '"')


def _require_empty(access: Access, name: str) -> None:
    found = postgres.schemas(access.connection, [name])[0]
    if found["exists"] and not found["empty"]:
        raise Refused(f"tenant {name} holds something already", next="name a new one, or drop this one first")


@contextmanager
def _copy(
    access: Access,
    name: str,
    pieces: Iterator[bytes],
    extensions: Mapping[str, str],
    size: int,
    what: str,
    schema: str | None = None,
) -> Iterator[DatabaseUrl]:
    """The archive in a scratch database, for as long as the block lasts; of an archive that holds more, one schema."""
    client = programs.find(os.environ.get("PATH", ""), access.me.version // 10000)
    options = ["--no-owner", "--no-acl", *([f"--schema={schema}"] if schema else [])]
    with scratch.database(access, name, extensions, needs=size * scratch.ROOM, schema=schema) as url:
        try:
            archives.replay(client, pieces, url, access.me.version, options=options, seconds=drill.TIMEOUT)
        except ProgramError as error:
            raise SnapshotError(f"{what} does not restore: {error.message}", data=f"{name} is untouched") from None
        yield url


def _rename(url: DatabaseUrl, schema: str, to: str, tell: Tell) -> None:
    """In the scratch database, as the role that owns it there. PostgreSQL renames it wherever it knows of it, and that
    is not the text of functions."""
    with postgres.connect(url, "tenants restore") as connection:
        run(connection, "ALTER SCHEMA {schema} RENAME TO {to}", schema=schema, to=to)
        for row in postgres.rows(connection, "routines_naming", schema=quoted(to), text=schema):
            words = f"{printable(row['routine'])} has {schema} in its text still: look at it"
            tell(Event(to, "restore", words))


def _source(access: Access, url: DatabaseUrl, name: str, what: str, heads: tuple[str, ...]) -> Source:
    client = programs.find(os.environ.get("PATH", ""), access.me.version // 10000)
    return Source(what, lambda: archives.dumping(client, url, name), heads)
