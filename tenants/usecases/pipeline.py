"""What every change of a tenant goes through: lock, snapshot, rehearsal, the change itself, proof, record.

`deploy` runs revisions in it, `run` the command of another tool. The order is here, and only here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

from tenants.core.errors import MigrationError, Refused, SnapshotError, TenantsError
from tenants.core.events import Event, Stage, Tell
from tenants.core.manifest import Manifest
from tenants.core.names import printable, quoted
from tenants.core.plan import Plan
from tenants.core.results import Options, Result
from tenants.core.settings import DatabaseUrl
from tenants.core.units import size
from tenants.edges import postgres, records
from tenants.edges.records import Record
from tenants.usecases import adopt, audit, locks, snapshots
from tenants.usecases.access import Access


class Pipeline:
    """The way of one tenant. Who inherits from it says what is run, and how it is judged."""

    kind: Literal["deploy", "run"]
    access: Access
    plan: Plan
    options: Options
    tell: Tell
    result: Result
    stages: dict[str, float]
    stage: Stage
    mend: bool = True
    """Whether grants are looked after here: for what is new in the schema."""

    def run(self) -> None:
        """Go it. Never raises for what is wrong with this tenant: the result has it."""
        began = time.monotonic()
        try:
            with locks.tenant_lock(self.access, self.plan.tenant, self.kind, self.tell, self.options.wait) as lock:
                self._again()
                if self.plan.to_do:
                    try:
                        with self._prepared():
                            self._work(lock)
                    except BaseException as cause:
                        with suppress(postgres.DatabaseError):
                            self._record(cause)
                        raise
                    self._record(None)
        except (TenantsError, postgres.DatabaseError) as cause:
            error = postgres.failed(cause)
            self.result.outcome, self.result.error = "failed", error
            error.data = error.data or self._left()
            self.tell(Event(self.plan.tenant, self.stage, f"FAILED: {error.message}", failed=True))
        finally:
            self.result.seconds = round(time.monotonic() - began, 3)

    def _again(self) -> None:
        """Under the lock the plan is made once more: who held it before us may have done the work."""
        raise NotImplementedError

    @contextmanager
    def _prepared(self) -> Iterator[None]:
        """What is there for all of the work."""
        yield

    def _begin(self) -> None:
        """What comes before anything of the tenant is touched."""

    def _on_a_copy(self, url: DatabaseUrl, manifest: Manifest | None, timeout: float) -> None:
        """Raises Refused where no copy may be made."""
        raise NotImplementedError

    def _migrate(self, url: DatabaseUrl) -> None:
        """Run what is to be run, and look from a fresh connection what has become of it."""
        raise NotImplementedError

    def _arrived(self) -> str:
        """Where the schema is now, in words."""
        raise NotImplementedError

    def _left(self) -> str:
        """What is to be said of the schema where nobody could look: its connection ended, say."""
        raise NotImplementedError

    def _untouched(self) -> str:
        return "untouched"

    def _work(self, lock: locks.Lock) -> None:
        access, name = self.access, self.plan.tenant
        adopt.finish_if_served(access, name, self.tell)
        self._begin()
        with access.acting_as(name, quick=self.kind == "deploy") as url:
            manifest = None
            if self._takes_snapshot:
                with self._stage("snapshot"):
                    manifest = self._snapshot(url)
            if self.options.rehearse and self._can_rehearse(manifest):
                with self._stage("rehearse"):
                    self._rehearse(url, manifest)
            lock.check()
            elsewhere = self._elsewhere()
            with self._stage("migrate"):
                self._migrate(url)
            with self._stage("prove"):
                self._prove(elsewhere)
            if self.plan.empty and self.options.from_scratch and not access.own:
                snapshots.say_alive(access, url, access.entry(name), self.tell)
        if self.mend and not access.own:  # grants for the app's own role and for readers, on what is new
            audit.mend(access, name)

    @property
    def _takes_snapshot(self) -> bool:
        return not self.plan.empty and not self.options.no_snapshot

    @contextmanager
    def _stage(self, stage: Stage) -> Iterator[None]:
        self.stage, began = stage, time.monotonic()
        self.tell(Event(self.plan.tenant, stage, "…", live=True))
        try:
            yield
        finally:
            self.stages[stage] = time.monotonic() - began

    def _snapshot(self, url: DatabaseUrl) -> Manifest:
        try:
            entry = self.access.entry(self.plan.tenant)
            manifest = snapshots.take(self.access, url, entry, self.kind, self.tell)
        except TenantsError as error:
            error.data = f"{self._untouched()}: not migrated without a snapshot"
            if not isinstance(error, SnapshotError):  # no store is set, say
                raise SnapshotError(error.message, next=error.next, data=error.data) from None
            raise
        self.result.snapshot = manifest.id
        return manifest

    def _can_rehearse(self, manifest: Manifest | None) -> bool:
        return manifest is not None

    def _rehearse(self, url: DatabaseUrl, manifest: Manifest | None) -> None:
        limit = self.options.rehearsal_limit
        held = manifest.raw_size if manifest else 0
        if limit is not None and held > limit:
            why = f"the snapshot holds {size(held)}, and the limit is {size(limit)}"
        else:
            try:
                self._on_a_copy(url, manifest, self.options.rehearsal_timeout or self.options.timeout)
                return
            except Refused as error:  # no right to make a database, no room for one, none that was prepared
                why = error.message
        self.tell(Event(self.plan.tenant, "rehearse", f"skipped: {why}"))

    def _fingerprint(self) -> str:
        """A digest of all definitions in the schema."""
        return str(postgres.scalar(self.access.connection, "fingerprint", schema=quoted(self.plan.tenant)))

    def _elsewhere(self) -> set[str]:
        found = postgres.rows(self.access.connection, "owned_elsewhere", tenant=self.plan.tenant)
        return {printable(f"{row['type']} {row['identity']}") for row in found}

    def _prove(self, known: set[str]) -> None:
        """It is where it ought to be, and nothing new of it lies elsewhere."""
        where = self._arrived()
        if strays := sorted(self._elsewhere() - known):
            raise MigrationError(
                f"the migration made something outside of schema {self.plan.tenant}: {', '.join(strays[:5])}",
                data=self._left(),
                next=f"drop it, as the tenant: {strays[0]}",
            )
        self.tell(Event(self.plan.tenant, "prove", f"{where}, nothing elsewhere"))

    def _record(self, failure: BaseException | None) -> None:
        """Into the catalog, whatever became of it. Where nothing was tried there is nothing to record."""
        if self.stages:
            records.add(self.access.connection, self._as_record(failure))

    def _as_record(self, failure: BaseException | None) -> Record:
        result = self.result
        return Record(
            self.plan.tenant,
            self.plan.project,
            self.kind,
            self.plan.current,
            tuple(result.end.split("+")) if result.end else (),
            result.applied,
            "failed" if failure else result.outcome,
            self.stages,
            git_rev=self.access.settings.git_rev,
            snapshot=result.snapshot,
            error=str(failure)[:2000] if failure else None,
        )
