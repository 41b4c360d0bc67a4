"""Deploy: plan, lock, snapshot, rehearse, migrate, prove, record. What happens on every push."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tenants.core.effects import Effects
from tenants.core.errors import Refused, TenantsError
from tenants.core.events import Event, Stage, Tell
from tenants.core.manifest import Manifest
from tenants.core.names import printable, quoted
from tenants.core.plan import Action, Plan
from tenants.core.results import DeployOptions, DeployResult
from tenants.core.rows import Rows
from tenants.core.settings import DatabaseUrl
from tenants.core.units import counted, seconds
from tenants.edges import catalog, postgres, records, sandbox
from tenants.edges.projectcode import Ran
from tenants.edges.records import Record
from tenants.usecases import (
    compatibility,
    fleet,
    glance,
    planning,
    provision,
    rehearse,
    revisions,
    rowcounts,
    snapshots,
    tidy,
)
from tenants.usecases.access import Access
from tenants.usecases.pipeline import Pipeline
from tenants.usecases.waits import Waits

LOCK_NOT_AVAILABLE = "55P03"


def deploy(access: Access, names: Sequence[str], options: DeployOptions, tell: Tell) -> list[DeployResult]:
    """Bring the tenants named, or all that the folder is about, to the head of their project.

    One after the other, or, where a project has many tenants, several at once (`tenants.usecases.fleet`). A tenant
    whose own state cannot be read fails by itself and the others go on; when as many migrations have failed as may,
    those that come after them are not tried. Never raises for what is wrong with one tenant: its result has it.
    """
    found = planning.survey(access, names, from_scratch=options.from_scratch)
    results, failed = dict[str, DeployResult](), list[str]()
    if not access.own and any(plan.to_do for plan in found.plans):
        sandbox.require_sound(access.settings.environment)
        catalog.ensure(access.connection)
    for plan in found.plans:
        if plan.unserved:
            tell(Event(plan.tenant, "plan", plan.unserved, warning=True))
    fleets = fleet.fleets(found.plans, options)
    for plan in found.plans:
        together, folder = fleets.get(plan.project, ()), found.folders.get(plan.project)
        if plan in together and folder:
            if plan.tenant not in results:
                results |= fleet.deploy(access, together, folder, options, tell, failed, _run)
        else:
            results[plan.tenant] = _deploy(access, plan, folder, options, tell, failed)
    return [results[plan.tenant] for plan in found.plans]


def _deploy(
    access: Access, plan: Plan, folder: Path | None, options: DeployOptions, tell: Tell, failed: list[str]
) -> DeployResult:
    result = DeployResult(plan.tenant, plan.start, plan.start)
    if plan.action in glance.QUIET:
        result = glance.result_of(plan, tell)
    else:
        tell(Event(plan.tenant, "plan", str(plan), failed=plan.action is Action.STOP))
    if plan.action is Action.STOP:
        result.outcome, result.error = "failed", plan.error
    elif plan.action is Action.NOTHING:
        try:
            tidy.tidy(access, plan.tenant, tell)
        except (TenantsError, postgres.DatabaseError) as error:  # nobody else is to wait for that
            words = f"what a killed run has left could not be removed: {postgres.failed(error).message}"
            tell(Event(plan.tenant, "clean", words, failed=True))
    elif plan.to_do and len(failed) >= options.max_failures:
        result.outcome, result.why = "skipped", f"not tried, because {failed[-1]} failed"
    elif plan.to_do:
        assert folder
        _run(access, plan, folder, options, tell, result)
        failed += [plan.tenant] if result.outcome == "failed" else []
    return result


def _run(
    access: Access,
    plan: Plan,
    folder: Path,
    options: DeployOptions,
    tell: Tell,
    result: DeployResult,
    mend: bool = True,
) -> None:
    _Deploy(access, plan, folder, options, tell, result, mend).run()


@dataclass
class _Deploy(Pipeline):
    """The deploy of one tenant."""

    kind = "deploy"
    access: Access
    plan: Plan
    folder: Path
    options: DeployOptions
    tell: Tell
    result: DeployResult
    mend: bool = True
    stages: dict[str, float] = field(default_factory=dict)
    stage: Stage = "lock"
    before: str = ""
    """A digest of all definitions in the schema, as they were before project code ran."""
    rows: Rows | None = None
    """The counters of its rows then."""
    changed: bool | None = None
    """Whether the schema was changed by a deploy that failed, or might have been; None if no project code could reach
    it."""
    seen: list[Effects] = field(default_factory=list)
    """What the rehearsal has seen."""

    def __post_init__(self) -> None:
        self.waits = Waits(self.access, self.plan.tenant, self.tell)

    @contextmanager
    def _prepared(self) -> Iterator[None]:
        with revisions.loaded(self.access, self.folder) as self.access:
            if self._takes_snapshot:  # boto3 takes as long to be read as the revisions do
                snapshots.prepare(self.access)
            yield

    def _left(self) -> str:
        """What is to be said of the schema where nobody could look: its connection ended, say."""
        if self.result.applied:
            return f"migrated to {self.result.end}"
        at = self.result.end or "nothing yet"
        if self.stage == "rehearse" and self.access.own:
            return f"at {at}; whether definitions and rows are unchanged is unknown"
        if self.stage != "migrate":
            return f"untouched, at {at}"
        return (
            f"it was at {at}, and may have been migrated since; that is all or nothing: tenants plan {self.plan.tenant}"
        )

    def _again(self) -> None:
        """Under the lock the plan is made once more: who held it before us may have done the work."""
        found = planning.survey(self.access, [self.plan.tenant], from_scratch=self.options.from_scratch).plans[0]
        if found.error:
            raise found.error
        self.plan = found
        self.result.start = self.result.end = found.start

    def _begin(self) -> None:
        self._look()
        if self.plan.action is Action.CREATE:
            with self._stage("create"):
                provision.create(self.access, self.plan.tenant, self.plan.project, self.tell, with_login=False)
                self.result.created = True

    def _look(self) -> None:
        self.stage, policy = "plan", self.options.incompatible
        found = self.result.incompatible = compatibility.look(self.access, self.plan, self.folder, policy)
        compatibility.tell_of(self.plan, policy, found, self.tell)
        if refusal := compatibility.refusal(self.plan, policy, found):
            raise refusal

    def _untouched(self) -> str:
        return f"untouched, at {self.plan.start or 'nothing yet'}"

    def _on_a_copy(self, url: DatabaseUrl, manifest: Manifest | None, timeout: float) -> None:
        self._look_before()  # project code may know a way into the live schema, whatever it is given here
        try:
            self.seen = rehearse.rehearse(
                self.access, self.plan, self.folder, url, manifest, self.tell, timeout=timeout
            )
        except Refused:
            raise
        except TenantsError as error:
            error.data = self._what_is_left()
            raise

    def _look_before(self) -> None:
        self.before, self.rows = self._fingerprint(), rowcounts.look(self.access, self.plan.tenant)

    def _what_is_left(self) -> str:
        """What has become of the schema, in words. "Untouched" is said where both looks say so: the digest of all
        definitions, and the counters of its rows. To be called when no session of the migration is open any more."""
        assert self.rows
        where, name = self.plan.start or "nothing yet", self.plan.tenant
        definitions = self._fingerprint() != self.before
        rows = rowcounts.since(self.access, name, self.rows, rolled_back=True)
        self.changed = definitions or not rows.same
        if not self.changed:
            words = f"untouched, at {where}"
        elif definitions:
            words = (
                f"at {where}, but definitions in its schema have changed: by a revision that committed, or by the app"
            )
        else:
            words = f"at {where}; no definition has changed"
        if rows.written:
            some = f"{', '.join(rows.written[:5])}{' …' if len(rows.written) > 5 else ''}"
            words += f"\nrows were written meanwhile, by the app or by another connection of a revision: {some}"
        if rows.unknown:
            words += f"\nwhether rows have changed is unknown: {rows.unknown}"
        if rows.moved:
            words += f"\nsequences have moved, which a rollback does not take back: {', '.join(rows.moved[:5])}"
        return words

    def _notice(self, kind: str, text: str) -> None:
        name = self.plan.tenant
        if kind == "waits":
            self.waits.tell_again(text)
        elif kind == "dropped":
            words = f"index {text}, which a CREATE INDEX CONCURRENTLY left unfinished, is dropped"
            self.tell(Event(name, "migrate", words))
        else:
            self.tell(Event(name, "migrate", f"{text} applied", live=True))

    def _migrate(self, url: DatabaseUrl) -> None:
        if self.rows is None:
            self._look_before()
        self.changed, began = True, time.monotonic()  # until a look says that it is not
        ran = revisions.upgrade(
            self.access,
            self.plan,
            self.folder,
            url,
            seconds=self.options.timeout,
            notice=self._notice,
            now_and_then=self.waits.look,
            seen=self.seen,
        )
        self._end_sessions(url)
        heads = self.access.heads(self.plan.tenant)
        self.result.end = "+".join(heads) or None
        if heads != (self.plan.target,) or ran.code != 0:
            raise self._unfinished(ran, heads)
        self.result.outcome = "migrated"
        self.result.applied = tuple(revision.id for revision in self.plan.pending)
        again = f", after {counted(ran.attempts - 1, 'pause')} for locks" if ran.attempts > 1 else ""
        took = seconds(time.monotonic() - began)
        self.tell(Event(self.plan.tenant, "migrate", f"{counted(len(self.plan.pending), 'revision')} in {took}{again}"))

    def _unfinished(self, ran: Ran, heads: tuple[str, ...]) -> TenantsError:
        """What a migration that did not get to its head has left: looked up, not taken from its word."""
        error = revisions.failure(ran, seconds=self.options.timeout, busy=self._migrating())
        if (
            not self.access.own
            and "depend" in error.message
            and catalog.bridges(self.access.connection, self.plan.tenant)
        ):
            error.next = (
                f"if what depends on it is a view that its adoption left: tenants adopt {self.plan.tenant} --finish"
            )
        if ran.failure and ran.failure["sqlstate"] == LOCK_NOT_AVAILABLE:
            error.message += self.waits.holders()
            error.next = "wait until that session lets go, or end it, and push again"
        moved = heads != self.plan.current
        where = self.result.end or "nothing yet"
        if moved:
            left = {revision.id for revision in self.plan.pending if revision.id in ran.applied}
            self.result.applied = tuple(r.id for r in self.plan.pending if r.id in left)
        if heads == (self.plan.target,):
            error.data = f"at {where} all the same: something committed, though the migration did not end well"
        elif moved:
            error.data = f"at {where}; what ran in an autocommit_block stays, and what was committed before it"
        else:
            error.data = self._what_is_left()
        error.data += "".join(f"\nstays: {statement}" for statement in ran.stays)
        for row in postgres.rows(self.access.connection, "invalid_indexes", schema=quoted(self.plan.tenant)):
            error.data += (
                f"\nindex {printable(row['name'])} is unfinished, and no query uses it: the next push drops it"
            )
        if self.changed and self.result.snapshot:
            error.data += f"\nas it was before: tenants restore {self.plan.tenant} {self.result.snapshot}"
        return error

    def _end_sessions(self, url: DatabaseUrl) -> None:
        """Nothing is judged while a session of the migration is open. With the admin's URL those are all sessions of
        the deploy role; with a tenant's own it is the one that holds the key of the migration while it is at work."""
        if not self.access.own:
            postgres.end_sessions(self.access.connection, [url.user])
            return
        postgres.poll(
            lambda: not self._migrating(), seconds=60, what=f"a session that migrates {self.plan.tenant} does not end"
        )

    def _migrating(self) -> bool:
        key = postgres.lock_key(f"migrates {self.plan.tenant}")
        return bool(postgres.rows(self.access.connection, "lock_holder", key=key))

    def _as_record(self, failure: BaseException | None) -> Record:
        record = super()._as_record(failure)
        if failure is None or self.changed is None or catalog.version(self.access.connection) < records.WITH_COMMANDS:
            return record
        return replace(record, changed=self.changed)

    def _arrived(self) -> str:
        return f"{self.plan.target} in schema {self.plan.tenant}"
