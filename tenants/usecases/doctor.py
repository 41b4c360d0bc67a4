"""Doctor: every precondition of the other commands, looked at one by one, and what to do for those that do not hold.

It works with anything missing. Each check stands on its own, and one that cannot be made says so. Nothing is changed,
but for a small object in storage, which is written, read and removed, and no secret is ever told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

from tenants.core import checkup, confinement, settings
from tenants.core import schedule as schedules
from tenants.core.checkup import Check, ok, unknown, warning, wrong
from tenants.core.errors import SettingsError, TenantsError
from tenants.core.ledger import fingerprint
from tenants.core.names import printable
from tenants.core.plan import Action
from tenants.core.policy import Policy
from tenants.core.settings import DatabaseUrl, Settings, StoreUrl
from tenants.core.units import counted
from tenants.edges import age, catalog, folder, heartbeat, machine, notify, postgres, programs, sandbox, shelf, squawk
from tenants.edges.postgres import Connection
from tenants.usecases import access as ways
from tenants.usecases import inventory, planning, prune
from tenants.usecases import nightly as nights
from tenants.usecases.access import Access
from tenants.usecases.probe import probe

Found = Iterable[Check]


@dataclass
class _Patient:
    """What has been found out on the way, for the checks that come later."""

    environment: Mapping[str, str]
    names: Sequence[str]
    stack: ExitStack
    url: DatabaseUrl | None = None
    connection: Connection | None = None
    access: Access | None = None

    def value(self, variable: str) -> str:
        return self.environment.get(variable, "").strip()

    @property
    def own(self) -> str | None:
        return self.access.own if self.access else None


def doctor(environment: Mapping[str, str], names: Sequence[str] = ()) -> Iterator[Check]:
    """All checks, in the order in which they are best mended; of the tenants named, or of all, whether they can be
    deployed. Never raises."""
    with ExitStack() as stack:
        patient = _Patient(environment, names, stack)
        for name, check in CHECKS.items():
            yield from _made(name, check, patient)


def _made(name: str, check: Callable[[_Patient], Found], patient: _Patient) -> Iterator[Check]:
    try:
        yield from check(patient)
    except (TenantsError, postgres.DatabaseError) as error:
        found = postgres.failed(error)
        yield wrong(name, found.message, found.next or "see docs/contract.md")
    except Exception as error:  # noqa: BLE001  # a doctor that faints helps nobody; the others are looked at still
        yield unknown(name, f"this could not be looked at: {type(error).__name__}")


def _database(patient: _Patient) -> Found:
    url = patient.url = settings.read_database(patient.environment)
    connection = patient.connection = patient.stack.enter_context(postgres.connect(url, "tenants doctor"))
    yield ok("database", f"PostgreSQL answers at {url.where}, database {url.database}")
    if postgres.behind_pooler(connection):
        yield wrong(
            "database",
            "a pooler stands between us and PostgreSQL: it does not keep sessions, and locks are theirs",
            "let DATABASE_URL lead to PostgreSQL itself",
        )


def _server(patient: _Patient) -> Found:
    if patient.connection:
        yield checkup.server(patient.connection.info.server_version)
        before = datetime.now(UTC)
        row = patient.connection.execute("SELECT clock_timestamp()").fetchone()
        assert row
        yield checkup.clock("PostgreSQL", row[0], before + (datetime.now(UTC) - before) / 2)


def _login(patient: _Patient) -> Found:
    """Whom DATABASE_URL makes us. Later checks need no more of the settings than what has been found to be in order."""
    if not patient.connection or not patient.url:
        return [unknown("login", "whose it is cannot be told: there is no connection")]
    known = Settings(
        database=patient.url,
        store=_store_or_none(patient.environment),
        migrations=settings.read_migrations(patient.environment),
        git_rev=None,
        recipients=settings.read_recipients(patient.environment),
        identity=None,
        rehearsal=None,
        environment=patient.environment,
    )
    patient.access = ways.recognise(known, patient.connection)
    me = patient.access.me
    catalog.version(patient.connection)  # Refused, if it is not for us
    if patient.own:
        return [ok("login", f"{me.login} is a login of tenant {patient.own}: this app deploys that tenant alone")]
    rights = "a superuser" if me.superuser else "no superuser, with CREATEROLE and the right to make schemas"
    return [ok("login", f"{me.login} is the admin: {rights}")]


def _store_or_none(environment: Mapping[str, str]) -> StoreUrl | None:
    try:
        return settings.read_store(environment)
    except SettingsError:  # told by the check that is about it
        return None


def _trust(patient: _Patient) -> Found:
    url, access = patient.url, patient.access
    if not url or not access:
        return
    for user in dict.fromkeys(["postgres", url.user] if access.own else [url.user]):
        if postgres.trusted(url, user):
            yield wrong(
                "passwords",
                f"PostgreSQL lets {user} in from here without a password: so does it any project's code",
                "in its pg_hba.conf, write scram-sha-256 in the place of trust; then: SELECT pg_reload_conf()",
            )
            return
    if access.me.superuser:
        for row in postgres.rows(access.connection, "trusting_rules"):
            yield wrong(
                "passwords",
                f"line {row['line']} of pg_hba.conf lets {printable(row['users'])} in without a password from"
                f" {printable(row['address'])}",
                "write scram-sha-256 in the place of trust there; then: SELECT pg_reload_conf()",
            )
            return
    yield ok("passwords", "PostgreSQL lets nobody in from here without one")


def _leaks(patient: _Patient) -> Found:
    return checkup.leaks(patient.environment, patient.own, known=patient.access is not None)


def _programs(patient: _Patient) -> Found:
    major = patient.connection.info.server_version // 10000 if patient.connection else 0
    found = programs.find(patient.value("PATH"), major)
    yield ok("programs", f"pg_dump, pg_restore and psql {found.version} in {found.folder}")


def _sandbox(patient: _Patient) -> Found:
    how = machine.confinement()
    on_top = "a Landlock domain" if how.landlock else ""
    if how.strong:
        words = " and ".join(filter(None, ("a seccomp filter", on_top)))
        yield ok("sandbox", f"strong: each run has a uid of its own, {words}")
        if not how.landlock:
            words = "this kernel has no Landlock: project code can read the files that every user may read"
            yield warning("sandbox", words, "run on Linux 5.13 or later")
        return
    if not patient.own:
        sandbox.require_sound(patient.environment)
    kept = " and ".join(filter(None, ("a seccomp filter" if how.filtered else "", on_top))) or "nothing"
    secrets = "" if how.landlock else "read what this app's environment holds, TENANTS_STORE's keys included, "
    yield warning(
        "sandbox",
        f"weak: {how.lacks}; {kept} confines project code. It could still {secrets}{', '.join(confinement.WEAK)}",
        how.remedy or "run as root, with Python where all users can reach it, to give each run a uid of its own",
    )


def _store(patient: _Patient) -> Found:
    target = settings.read_store(patient.environment)
    if target is None:
        yield wrong("store", "TENANTS_STORE is not set: no deploy without a snapshot", "set TENANTS_STORE=s3://…")
    else:
        yield from probe(target)


def _encryption(patient: _Patient) -> Found:
    if keys := age.check(settings.read_recipients(patient.environment)) if patient.value(settings.RECIPIENTS) else []:
        yield ok("encryption", f"snapshots are encrypted for {counted(len(keys), 'key')}")
    else:
        yield ok("encryption", "off: whoever can read the bucket can read the snapshots")


def _signing(patient: _Patient) -> Found:
    access = patient.access
    if access is None or access.own or catalog.version(access.connection) < shelf.STEP:
        return
    if key := shelf.private_key(access.connection):
        words = f"snapshots are signed with key {fingerprint(key[1])}; keep this fingerprint outside of the server"
        yield ok("signing", words)


def _rehearsal(patient: _Patient) -> Found:
    access, off = patient.access, patient.value("TENANTS_REHEARSAL").lower() in ("off", "no", "false", "0")
    if off or not access:
        return (
            [ok("rehearsal", "off")]
            if off
            else [unknown("rehearsal", "whether one can be made takes a connection to tell")]
        )
    if access.own:
        if text := patient.value(settings.REHEARSAL_URL):
            room = DatabaseUrl.parse(text, settings.REHEARSAL_URL)
            with postgres.connect(room, "tenants doctor"):
                return [ok("rehearsal", f"in database {room.database}")]
        return [warning("rehearsal", "none: there is no place for it", f"tenants create {access.own} --rehearsal")]
    if access.me.superuser or postgres.scalar(access.connection, "may_make_databases"):
        return [ok("rehearsal", "the admin may make databases to rehearse and drill in")]
    return [
        warning(
            "rehearsal", "none, and no drills: the admin may make no database", f"ALTER ROLE {access.me.role} CREATEDB"
        )
    ]


def _migrations(patient: _Patient) -> Found:
    found = folder.look(settings.read_migrations(patient.environment))
    places = [found.own] if found.own else list(found.projects.values())
    count = sum(len(folder.history(path, found.folder).revisions) for path in places)
    yield ok("migrations", f"{counted(len(places), 'project')} with {counted(count, 'revision')} in {found.folder}")


def _linter(patient: _Patient) -> Found:
    policy, there = patient.value("TENANTS_INCOMPATIBLE").lower() or Policy.WARN, squawk.find(patient.value("PATH"))
    if policy not in list(Policy):
        known = ", ".join(Policy)
        yield wrong("linter", f"TENANTS_INCOMPATIBLE is none of {known}", f"set TENANTS_INCOMPATIBLE={Policy.WARN}")
    elif there or policy == Policy.OFF:
        yield ok("linter", f"TENANTS_INCOMPATIBLE is {policy}")
    else:
        say = wrong if policy == Policy.STOP else warning
        words = (
            "every push will stop" if policy == Policy.STOP else "nobody looks whether the old release is in trouble"
        )
        yield say("linter", f"squawk is not installed: {words}", squawk.HOW_TO_GET_IT)


def _notifications(patient: _Patient) -> Found:
    notify.Notifier(patient.value(notify.VARIABLE))
    if beat := patient.value(nights.HEARTBEAT):
        heartbeat.check(beat, nights.HEARTBEAT)
    told = [name for name in (notify.VARIABLE, nights.HEARTBEAT) if patient.value(name)]
    if told or patient.own:
        yield ok("notify", " and ".join(told) or "nights are the control app's")
    else:
        yield warning("notify", "nobody is told of a bad night", f"set {nights.HEARTBEAT}, or {notify.VARIABLE}")


def _nightly(patient: _Patient) -> Found:
    schedule = patient.value("TENANTS_SCHEDULE") or schedules.DEFAULT
    schedules.check(schedule)
    access = patient.access
    if not access or access.own:
        yield unknown("nightly", "whether nights go well takes the admin's URL to tell")
        return
    prune.policies(access)
    entries = access.entries()
    last = catalog.last_nightly(access.connection) if entries else None
    first = min((entry.created_at for entry in entries.values()), default=None)
    yield checkup.nights(last, first, datetime.now(UTC))


def _tenants(patient: _Patient) -> Found:
    if not patient.access:
        yield unknown("tenants", "how they are takes a connection to tell")
        return
    if new := inventory.of_another_server(patient.access):
        yield wrong("tenants", new, "tenants recover")
        return
    plans = planning.survey(patient.access, patient.names).plans
    for plan in plans:
        if plan.action is Action.STOP:
            next_ = plan.error.next if plan.error else None
            yield wrong("tenants", f"{plan.tenant}: {plan}", next_ or f"tenants show {plan.tenant}")
        elif patient.names:
            yield ok("tenants", f"{plan.tenant}: {plan}")
    if not patient.names:
        fine = sum(plan.action is not Action.STOP for plan in plans)
        yield ok("tenants", f"{counted(fine, 'tenant')} can be deployed")


def _dokku(patient: _Patient) -> Found:
    yield checkup.dokku(patient.environment)


CHECKS: Mapping[str, Callable[[_Patient], Found]] = {
    "database": _database,
    "server": _server,
    "login": _login,
    "passwords": _trust,
    "environment": _leaks,
    "programs": _programs,
    "sandbox": _sandbox,
    "store": _store,
    "encryption": _encryption,
    "signing": _signing,
    "migrations": _migrations,
    "rehearsal": _rehearsal,
    "linter": _linter,
    "notify": _notifications,
    "nightly": _nightly,
    "tenants": _tenants,
    "dokku": _dokku,
}
"""By the name that their lines begin with."""
