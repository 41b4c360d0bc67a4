"""Run: the command of another migration tool, in the pipeline of a deploy.

Such a tool tells nobody what is pending, and what it has done cannot be rolled back for it. So it runs on a copy first,
in every case; what became of the schema is looked up and not taken from its word; and the way back is the snapshot.
"""

from __future__ import annotations

import shlex
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from tenants.core import confinement, results
from tenants.core.errors import CommandFailed, Refused, SnapshotError, StateError, TenantsError
from tenants.core.events import Event, Stage, Tell
from tenants.core.manifest import Manifest
from tenants.core.names import check_name, printable
from tenants.core.plan import Action, Plan
from tenants.core.rows import Rows
from tenants.core.settings import DatabaseUrl
from tenants.core.units import seconds
from tenants.edges import catalog, command, postgres, records, sandbox
from tenants.edges.command import Ended, Lines
from tenants.edges.records import Record
from tenants.edges.sql import catalog_steps
from tenants.usecases import inventory, rehearse, revisions, roles, rowcounts, surroundings
from tenants.usecases.access import Access
from tenants.usecases.pipeline import Pipeline
from tenants.usecases.waits import Waits

Where = Literal["copy", "live"]
ELSEWHERE = "(elsewhere)"


@dataclass(frozen=True)
class Answer:
    """What somebody else says of a command that he has run for us."""

    code: int | None
    output: bytes = b""
    why: str = ""
    """Why there is no code."""


Elsewhere = Callable[[Where, Mapping[str, str], float], Answer]
"""Has the command run by somebody else, with that environment, and waits for the answer for as many seconds."""


@dataclass(frozen=True)
class Options(results.Options):
    lock_seconds: float = 2.0
    """How long its sessions wait for a lock, while the app's queries queue up behind them."""
    schema_in_url: bool = False
    """Whether DATABASE_URL ends in `?schema=…`, as Prisma has it."""


@dataclass
class Result(results.Result):
    rehearsed: bool = False
    exit_code: int | None = None
    """Of the last run: the live one, or the one on the copy if that failed."""
    output: str = ""
    """The end of what it printed then."""
    definitions: bool | None = None
    """Whether those of the schema have changed; None where nobody could look."""
    rows: tuple[str, ...] | None = None
    """Tables and sequences that were written meanwhile, by the command or by the app; None where it is unknown."""

    @property
    def changed(self) -> bool | None:
        """Whether anything has changed, or might have; None where nobody could look."""
        return None if self.definitions is None else self.definitions or self.rows is None or bool(self.rows)


def run(
    access: Access,
    name: str | None,
    argv: Sequence[str],
    options: Options,
    tell: Tell,
    *,
    elsewhere: Elsewhere | None = None,
) -> Result:
    """Run the command for the tenant, or have it run `elsewhere`. What goes wrong with the tenant is in the result;
    raises UsageError where there is nothing to begin with: no such tenant, no such command."""
    name = _whose(access, name)
    if not access.own:
        catalog.ensure(access.connection)
    elif catalog.version(access.connection) < len(catalog_steps()):
        raise Refused("the catalog is older than this program", next="with the admin's URL: tenants apply")
    plan = _plan(access, name, from_scratch=options.from_scratch)
    found: tuple[str, ...] = ()
    if elsewhere is None:
        found = _found(access, argv)
    work = _Run(access, plan, options, tell, Result(name, plan.start, plan.start), found, shlex.join(argv), elsewhere)
    if plan.unserved:
        tell(Event(name, "plan", plan.unserved, warning=True))
    tell(Event(name, "plan", f"{work.called}: what is pending, that tool alone knows"))
    work.run()
    return work.result


def _whose(access: Access, name: str | None) -> str:
    if access.own:
        if name not in (None, access.own):
            raise Refused(
                f"DATABASE_URL is that of tenant {access.own}, and not of {name}", next="leave the tenant's name out"
            )
        return access.own
    if name is None:
        known = ", ".join(access.entries()) or "none yet"
        raise Refused(f"whose? DATABASE_URL is the admin's (tenants: {known})", next="tenants run NAME -- COMMAND")
    check_name(name)
    if name not in access.entries() and (taken := access.taken(name)):
        raise taken
    access.entry(name)
    return name


def _found(access: Access, argv: Sequence[str]) -> tuple[str, ...]:
    """The command with its place. What can be known to fail is told before anything is done."""
    own, here = access.own is not None, str(Path.cwd())
    if not own:
        sandbox.require_sound(access.settings.environment)
        if here == "/":
            raise Refused("the current folder is /: all files would be the command's", next="cd into the project's")
    for kept in revisions.hidden(access):
        if Path(kept).absolute().is_relative_to(here):
            raise Refused(
                f"{kept} lies in the current folder and is not for the command, which could not list the folder then",
                next="let snapshots and credentials lie outside of the project",
            )
    path = access.settings.environment.get("PATH", "/usr/bin:/bin")
    unseen = [*revisions.hidden(access), *revisions.secrets_in(access, Path(here))]
    return (command.find(argv[0], path, [here], unseen), *argv[1:])


def _plan(access: Access, name: str, *, from_scratch: bool) -> Plan:
    """Where the tenant is. Raises what keeps anything from being run for it."""
    entry = access.entry(name)
    seen = access.observe([entry])[0]
    if seen.suspended:
        raise Refused(f"{name} is suspended: nothing of it runs", next=f"to let it in again: tenants resume {name}")
    if seen.trouble:
        raise seen.trouble
    lost = None
    if not from_scratch and (seen.empty or not seen.exists) and not seen.current:
        when = records.last_run(access.connection, name)
        lost = seen.remembered or (f"a command has changed it on {when:%Y-%m-%d %H:%M}" if when else None)
        lost = lost or (inventory.known_in_storage(access, name) or (None, False))[0]
    if lost or not seen.exists:
        raise StateError(
            f"schema {name} is {'empty' if seen.exists else 'gone'}{f', but {lost}' if lost else ''}: nothing was run",
            data="nothing was changed; what is in the bucket stays there",
            next=f"tenants restore {name}"
            + (f"   (or, to begin anew: tenants run {name} --from-scratch -- …)" if seen.exists else ""),
        )
    return Plan(name, entry.project, Action.MIGRATE, current=seen.current, empty=seen.empty, unserved=seen.unserved)


@dataclass
class _Run(Pipeline):
    """The run of one command."""

    kind = "run"
    access: Access
    plan: Plan
    options: Options
    tell: Tell
    result: Result
    argv: tuple[str, ...]
    words: str
    """The command as a person would type it; empty if it runs elsewhere."""
    elsewhere: Elsewhere | None
    stages: dict[str, float] = field(default_factory=dict)
    stage: Stage = "lock"
    gone: bool = False
    """Whether the schema is."""
    unknown: str = ""
    """Why it is unknown whether rows have changed, in words."""

    @property
    def called(self) -> str:
        words = printable(self.words)
        return (words if len(words) <= 60 else words[:60] + "…") or "a command elsewhere"

    def _again(self) -> None:
        self.plan = _plan(self.access, self.plan.tenant, from_scratch=self.options.from_scratch)

    def _can_rehearse(self, manifest: Manifest | None) -> bool:  # noqa: ARG002  # on what is there now, if need be
        return True

    def _on_a_copy(self, url: DatabaseUrl, manifest: Manifest | None, timeout: float) -> None:
        access, name, began, before = self.access, self.plan.tenant, time.monotonic(), self._fingerprint()
        without = f"tenants run {name} {rehearse.WITHOUT} -- …"
        try:
            with rehearse.copied(access, self.plan, url, manifest, timeout, self.tell, without=without) as copy:
                made = time.monotonic() - began
                if access.own:  # the role of a room may do so for itself
                    with postgres.connect(copy, "tenants rehearse") as there:
                        roles.settle(there, copy.user, copy.database, name, self.options.lock_seconds)
                else:
                    roles.settle(access.connection, copy.user, copy.database, name, self.options.lock_seconds)
                ended = self._start("copy", copy, timeout)
                rehearse.end_sessions(access, copy)
        except SnapshotError as error:
            error.data = self._untouched()
            raise
        fault = _fault(ended, timeout)
        if self._fingerprint() != before:
            self.result.definitions = True
            raise CommandFailed(
                "while it ran on the copy, definitions of the live schema have changed: it does not go by DATABASE_URL,"
                " or the app has changed them",
                data=self._told(),
                next=self._way_back(),
            )
        if fault:
            raise CommandFailed(
                f"on a copy of today's data: {self.called} {fault}",
                data=self._untouched(),
                next="mend what it says above, and push again",
            )
        self.result.rehearsed = True
        took = seconds(time.monotonic() - began - made)
        self.tell(Event(name, "rehearse", f"passed on a copy in {took}, made in {seconds(made)}"))

    def _start(self, where: Where, url: DatabaseUrl, timeout: float) -> Ended:
        """Have it run to its end. Nothing of it runs after that, but for sessions that it has left."""
        stage: Stage = "rehearse" if where == "copy" else "migrate"

        def hear(line: str) -> None:
            self.tell(Event(self.plan.tenant, stage, f"| {line}"))

        text = url.with_parameter("schema", self.plan.tenant).text if self.options.schema_in_url else url.text
        secret = {*url.secrets, *self.access.settings.database.secrets}
        if self.elsewhere:
            answer, lines = self.elsewhere(where, {"DATABASE_URL": text}, timeout), Lines([*secret], hear)
            lines.feed(answer.output)
            ended = Ended(answer.code, lines.done(), answer.why)
        else:
            ended = command.run(
                self.argv,
                environment=surroundings.environment(self.access, url, text, lock_seconds=self.options.lock_seconds),
                readable=[str(Path.cwd())],
                hidden=[*revisions.hidden(self.access), *revisions.secrets_in(self.access, Path.cwd())],
                listed=[str(Path.cwd())],
                unix_sockets=self.access.settings.database.behind_unix_socket,
                seconds=timeout,
                secrets=[*secret],
                hear=hear,
            )
        self.result.exit_code, self.result.output = ended.code, ended.output
        return ended

    def _migrate(self, url: DatabaseUrl) -> None:
        access, name, began = self.access, self.plan.tenant, time.monotonic()
        if not access.own:
            roles.settle(access.connection, url.user, url.database, name, self.options.lock_seconds)
        before, sessions = (self._fingerprint(), rowcounts.look(access, name)), self._transactions()
        if (
            self.result.snapshot
        ):  # should we be killed, undo finds it; the record of its end, with this snapshot, follows
            begun = replace(self._as_record(None), outcome="failed", changed=True, error="its end is not on record")
            records.add(access.connection, begun)
        try:
            ended = self._start("live", url, self.options.timeout)
        finally:
            self._end_sessions(url, {pid for pid, _ in sessions})
            self._judge(*before)
        if fault := _fault(ended, self.options.timeout):
            raise self._failed(fault)
        if self.gone:
            raise self._failed("has dropped the schema itself")
        self.result.outcome = "migrated" if self.result.changed else "unchanged"
        took = seconds(time.monotonic() - began)
        self.tell(Event(name, "migrate", f"{self.called} ended well in {took}; {self._told()}"))

    def _end_sessions(self, url: DatabaseUrl, known: set[int]) -> None:
        """Nothing is judged while a session of the command is at work. With the admin's URL all sessions of the deploy
        role are its. With a tenant's own, whose app has the same login, what is waited for is that each transaction has
        ended which goes on now in a session that was not there before."""
        if not self.access.own:
            postgres.end_sessions(self.access.connection, [url.user])
            return
        going_on = {(pid, transaction) for pid, transaction in self._transactions() if pid not in known and transaction}
        postgres.poll(
            lambda: not going_on & self._transactions(),
            seconds=60,
            what=f"a session that may be the command's does not end (pid {', '.join(str(pid) for pid, _ in going_on)})",
        )

    def _transactions(self) -> set[tuple[int, str | None]]:
        return {(row["pid"], row["transaction"]) for row in postgres.rows(self.access.connection, "transactions")}

    def _judge(self, fingerprint: str, before: Rows) -> None:
        seen = self.access.observe([self.access.entry(self.plan.tenant)])[0]
        self.result.end = "+".join(seen.current) or None
        self.gone = not seen.exists
        if self.gone:
            self.result.definitions, self.result.rows = True, ()
            return
        rows = rowcounts.since(self.access, self.plan.tenant, before, rolled_back=False)
        written = tuple(sorted({*rows.written, *rows.moved}))
        self.unknown, self.result.rows = rows.unknown, written or (None if rows.unknown else ())
        self.result.definitions = self._fingerprint() != fingerprint

    def _failed(self, fault: str) -> TenantsError:
        error = CommandFailed(f"{self.called} {fault}", data=self._told())
        error.next = self._way_back() if self.result.changed else "mend what it says above, and push again"
        if "lock timeout" in self.result.output:
            error.message += Waits(self.access, self.plan.tenant, self.tell).holders()
            if not self.result.changed:
                error.next = "wait until that session lets go, and push again   (or longer: --lock-timeout 10)"
        return error

    def _told(self) -> str:
        """What was seen of the live schema, in words."""
        name, rows = self.plan.tenant, self.result.rows or ()
        meanwhile = f"{', '.join(rows[:5])}{' …' if len(rows) > 5 else ''}, by the command or by the app"
        if self.gone:
            return f"schema {name} is gone"
        if self.result.definitions:
            return f"definitions in schema {name} have changed{f', and rows: {meanwhile}' if rows else ''}"
        if rows:
            return f"no definition has changed; rows were written: {meanwhile}"
        if self.unknown:
            return f"no definition has changed; whether rows have is unknown: {self.unknown}"
        return "nothing has changed: no definition, and no row"

    def _way_back(self) -> str:
        if not self.result.snapshot:
            return "there is no snapshot from before: mend in place what it has left, and push again"
        name, snapshot = self.plan.tenant, self.result.snapshot
        undo = f"tenants restore {name} {snapshot}" if self.gone else f"tenants undo {name}"
        return f"where DATABASE_URL is the admin's: {undo}" if self.access.own else undo

    def _left(self) -> str:
        if self.stage in ("migrate", "prove"):
            return "it may have been changed by the command" if self.result.changed is None else self._told()
        return self._untouched()

    def _arrived(self) -> str:
        return f"all that it made is in schema {self.plan.tenant}"

    def _as_record(self, failure: BaseException | None) -> Record:
        return replace(
            super()._as_record(failure),
            command=(printable(self.words) or ELSEWHERE)[:1000],
            output=self.result.output,
            changed=bool(self.result.changed),
        )


def _fault(ended: Ended, timeout: float) -> str:
    """What is wrong with how it ended, in words that follow its name; empty if nothing is."""
    code = ended.code
    if ended.why:
        return f"did not end well: {ended.why}"
    if code is None:
        return f"was stopped, because it took longer than {timeout:.0f} s"
    if code < 0:
        known = {int(number): number.name for number in signal.Signals}
        return f"was killed by signal {-code} ({known.get(-code, 'unknown')})"
    if code == 126 and ended.output.startswith("cannot confine"):
        return f"could not be started: {ended.output.partition(': ')[2]}"
    limit = confinement.explain(code, ended.output) if code else ""
    return f"ended with exit code {code}{f': {limit}' if limit else ''}" if code else ""
