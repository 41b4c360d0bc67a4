"""Autogenerate: what a project's models have that its schema has not, as the body of a revision.

The models are project code: they run in the sandbox, and the session that they get is the tenant's own, and reads.
Where there is no such tenant, as on a laptop, all revisions run in a scratch database first, and that is compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tenants.core.errors import MigrationError, Pending, RevisionFailed, UsageError
from tenants.core.events import Event, Tell
from tenants.core.names import EXTENSIONS_SCHEMA
from tenants.core.newrevision import Body
from tenants.core.plan import Action, Plan
from tenants.core.settings import DatabaseUrl
from tenants.edges import folder, postgres
from tenants.edges.projectcode import Ran
from tenants.usecases import locks, planning, revisions, scratch
from tenants.usecases.access import Access
from tenants.usecases.revision import Place

SECONDS = 120.0
"""How long reading models and schema may take; and how long the revisions may in a scratch database."""
_LAPTOP = "local"
"""What the schema in a scratch database is called where the folder names no project."""


@dataclass(frozen=True)
class Difference:
    body: Body | None
    """None where there is no difference."""
    notes: tuple[str, ...]
    compared: str
    """With what, in words."""


def compare(access: Access, where: Place, models: str, tell: Tell, *, wait: float = locks.WAIT) -> Difference:
    """Compare the models with the tenant's schema, or with a copy that the revisions make. Writes nothing that stays.

    Raises Pending where the schema is not at the head of the folder, RevisionFailed where the models cannot be loaded,
    with their file and line, UsageError where it is not told which tenant is meant.
    """
    tenant = _tenant(access, where)
    if tenant is None:
        with _made_by_revisions(access, where, tell) as (plan, url):
            ran = revisions.compare(access, plan, url, models, owner=url.user, seconds=SECONDS)
        compared = "what the revisions make, in a scratch database"
    else:
        plan = planning.survey(access, [tenant]).plans[0]
        if plan.error:
            raise plan.error
        if plan.action is not Action.NOTHING:
            raise Pending(
                f"{tenant}: {plan}: what is compared has to be at the head of the folder",
                next=f"tenants deploy {tenant}, then the same again",
            )
        with locks.tenant_lock(access, tenant, "revision", tell, wait), access.acting_as(tenant) as url:
            ran = revisions.compare(access, plan, url, models, seconds=SECONDS)
        compared = f"schema {tenant}"
    return _difference(ran, models, compared)


def _tenant(access: Access, where: Place) -> str | None:
    """The one whose schema is compared: that of the project's name, or else the first that runs it."""
    entries = access.entries()
    if access.own:
        project = entries[access.own].project
        if where.project not in (None, project):
            raise UsageError(
                f"DATABASE_URL is that of tenant {access.own}, which runs project {project}, not {where.project}",
                next=f"tenants revision --autogenerate -m … {project}",
            )
        return access.own
    names = sorted(entry.name for entry in entries.values() if entry.project == where.project)
    return where.project if where.project in names else next(iter(names), None)


@contextmanager
def _made_by_revisions(access: Access, where: Place, tell: Tell) -> Iterator[tuple[Plan, DatabaseUrl]]:
    """A scratch database in which all revisions of the folder have run, and a URL of the role that owns it."""
    name = where.project or _LAPTOP
    history = folder.history(where.path) if where.path.is_dir() else None
    pending = tuple(history.revisions.values()) if history else ()
    head = history.head if history else None
    plan = Plan(name, name, Action.MIGRATE, target=head, pending=pending)
    extensions = {row["name"]: EXTENSIONS_SCHEMA for row in postgres.rows(access.connection, "extensions")}
    with (
        locks.tenant_lock(access, name, "revision", tell),
        scratch.database(access, name, extensions, needs=0, schema=name) as url,
    ):
        scratch.as_a_tenant(access, url)
        if pending:
            tell(Event(name, "rehearse", f"runs {len(pending)} in a scratch database, since there is no tenant {name}"))
            ran = revisions.upgrade(access, plan, where.path, url, owner=url.user, seconds=SECONDS)
            if ran.code != 0:
                raise _in_scratch(revisions.failure(ran, seconds=SECONDS))
            postgres.end_sessions(access.connection, [url.user])
        yield plan, url


def _in_scratch(error: MigrationError | Exception) -> MigrationError | Exception:
    if isinstance(error, MigrationError):
        error.message = f"in a scratch database: {error.message}"
    return error


def _difference(ran: Ran, models: str, compared: str) -> Difference:
    if ran.code != 0 or ran.script is None:
        said = ran.failure or {}
        text = said.get("text") or ran.output or f"took longer than {SECONDS:.0f} s, or ended without a word"
        raise RevisionFailed(
            f"the models cannot be compared: {said.get('where') or models}: {text}",
            next=f"mend {said['where']}"
            if said.get("where")
            else "say where they are: --models package.module:Base.metadata",
        )
    script = ran.script
    notes = tuple(filter(None, script["notes"].split("\n")))
    if not script["upgrade"]:
        return Difference(None, notes, compared)
    imports = tuple(filter(None, script["imports"].split("\n")))
    return Difference(Body(script["upgrade"], script["downgrade"], imports), notes, compared)
