"""Stamp: the revision that adopted tables are at comes along with them, so that nobody starts over.

It is what Alembic's own table says, or the list of what dbmate has run, or a person. Those tables are somebody's own:
their rows are read as those of tenants are, by COPY, when the catalogs have found nothing wrong with them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tenants.core.adoption import Adoption
from tenants.core.applied import applied
from tenants.core.errors import StateError
from tenants.core.history import MAX_ID, History
from tenants.core.names import printable, quoted
from tenants.core.near import did_you_mean
from tenants.core.units import counted
from tenants.edges import folder, postgres
from tenants.usecases.access import Access


@dataclass
class Stamp:
    """What it adds to an adoption."""

    steps: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def stamp(access: Access, found: Adoption, project: str | None, at: str | None) -> Stamp:
    """Tell from what comes along, or from what was said, which revision of the project the tables are at. `project` is
    None where nobody has named one. Writes nothing, and raises nothing for what those tables hold."""
    made = Stamp()
    tenant, names = found.target, {thing.name for thing in found.tables}
    versioned = postgres.ALEMBIC.name in names
    entries = access.entries()
    project = project or (entries[tenant].project if tenant in entries else tenant)
    history = _history(access, project)
    if tenant in entries and (current := access.observe([entries[tenant]])[0].current):
        if versioned or at:
            made.problems.append(f"{tenant} is at {'+'.join(current)} already, and has one alembic_version")
    elif versioned:
        _alembics(access, found, history, at, made)
    elif at is not None:
        _said(tenant, project, history, at, made)
    elif postgres.DBMATE.name in names and (versions := _dbmates(access, found, made)) is not None:
        _ran(tenant, project, history, versions, made)
    else:
        _unknown(access, found, project, history, made)
    return made


def _history(access: Access, project: str) -> History | None:
    place = access.settings.migrations
    path = folder.look(place).projects.get(project) if place.is_dir() else None
    return folder.history(path) if path else None


def _alembics(access: Access, found: Adoption, history: History | None, at: str | None, made: Stamp) -> None:
    if at is not None:
        made.problems.append("an alembic_version comes along, which says the revision: leave --at out")
    heads = _rows(access, found.source, postgres.ALEMBIC, made.problems)
    if heads and history and history.head:
        try:
            history.pending(heads)
        except StateError as error:
            made.problems.append(f"by the alembic_version that comes along {printable(error.message)}")


def _said(tenant: str, project: str, history: History | None, at: str, made: Stamp) -> None:
    if at == "base":
        return
    if history and at not in history.revisions:
        made.problems.append(f"{project} has no revision {at!a}{did_you_mean(at, history.revisions)}")
    _write(tenant, at, made)


def _dbmates(access: Access, found: Adoption, made: Stamp) -> tuple[str, ...] | None:
    """What has run, if the table is one that dbmate makes."""
    faults: list[str] = []
    versions = _rows(access, found.source, postgres.DBMATE, faults)
    if faults:
        made.notes += [f"{fault}; it moves along as a table" for fault in faults]
        return None
    return versions


def _ran(tenant: str, project: str, history: History | None, versions: tuple[str, ...], made: Stamp) -> None:
    if history is None or not history.head:
        if versions:
            made.problems.append(
                f"schema_migrations has {counted(len(versions), 'version')}, and there is no folder of {project} to"
                " find them in: put dbmate's files into it first, or say where the tables are: --at REVISION"
            )
        return
    seen = applied(versions, history)
    made.problems += seen.problems
    if seen.problems:
        return
    what = counted(len(set(versions)), "version")
    made.notes.append(
        f"dbmate has run {what}, up to {seen.head or 'none'}: the next push goes on there. Its schema_migrations moves"
        " along, and is not kept up from then on"
    )
    if seen.head:
        _write(tenant, seen.head, made)


def _unknown(access: Access, found: Adoption, project: str, history: History | None, made: Stamp) -> None:
    if not history or not history.head:
        made.notes.append("no alembic_version comes along: the first push will begin with the first revision")
        return
    moving, stays = {thing.name for thing in found.tables}, list[str]()
    for table in (postgres.ALEMBIC, postgres.DBMATE):
        row = postgres.schemas(access.connection, [found.source], table, owned=False)[0]
        if row["versioned"] and not row["version_fault"] and table.name not in moving:
            stays.append(table.name)
    also = f"; or --table {stays[0]}, which says it, too, if it is that of these tables" if stays else ""
    made.problems.append(
        f"nothing says which revision of {project} the tables are at: --at REVISION does (--at base: none){also}"
    )


def _rows(access: Access, source: str, table: postgres.VersionTable, problems: list[str]) -> tuple[str, ...]:
    fault = postgres.schemas(access.connection, [source], table, owned=False)[0]["version_fault"]
    if fault:
        problems.append(f"{source}.{table.name} is not the table that its tool makes: {fault}")
        return ()
    try:
        return postgres.read_heads(access.connection, source, table)
    except StateError as error:
        problems.append(error.message)
        return ()


def _write(tenant: str, revision: str, made: Stamp) -> None:
    if len(revision) > MAX_ID or not revision.replace("_", "").replace("-", "").replace(".", "").isalnum():
        made.problems.append(f"{revision!a} is no revision")
        return
    table = f"{quoted(tenant)}.alembic_version"
    made.steps.append(f"CREATE TABLE {table} (version_num varchar(32) CONSTRAINT alembic_version_pkc PRIMARY KEY)")
    made.steps.append(f"INSERT INTO {table} VALUES ('{revision}')")  # noqa: S608
