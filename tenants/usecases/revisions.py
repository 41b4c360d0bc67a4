"""Running a plan's revisions, as SQL text or for real, through the one way in which project code runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tenants.core import confinement, effects
from tenants.core.effects import Effects
from tenants.core.errors import Locked, MigrationError, RevisionFailed
from tenants.core.plan import Plan
from tenants.core.settings import IDENTITY, DatabaseUrl
from tenants.edges import postgres, projectcode, sandbox
from tenants.edges.projectcode import Notice, Ran, Surroundings, Warm
from tenants.usecases import roles
from tenants.usecases.access import Access

_FILES = ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "PGPASSFILE", IDENTITY)

LOCK_SECONDS = 60.0
"""How long the whole migration is tried again and again when a lock is not to be had."""


def as_sql(access: Access, plan: Plan, folder: Path) -> str:
    """The SQL of the pending revisions, made without a database. Raises RevisionFailed if one needs it."""
    text, error = render(access, plan, folder, seconds=120)
    if error:
        raise error
    return text


def render(access: Access, plan: Plan, folder: Path, *, seconds: float) -> tuple[str, MigrationError | Locked | None]:
    """The same as far as it can be made, and why it breaks off."""
    if not plan.pending:
        return "", None
    ran = _run(access, plan, folder, {"do": "sql", "start": plan.start, "target": plan.target}, seconds=seconds)
    return ran.sql, failure(ran, seconds=seconds) if ran.code != 0 else None


def upgrade(
    access: Access,
    plan: Plan,
    folder: Path,
    url: DatabaseUrl,
    *,
    owner: str | None = None,
    seconds: float,
    notice: Notice = lambda *_: None,
    now_and_then: Callable[[], None] = lambda: None,
    seen: Sequence[Effects] = (),
) -> Ran:
    """Run the pending revisions in the tenant's schema, as `url`, whose sessions are to act as the tenant, or as the
    `owner` of a copy: then it is watched what they do to the tables that are there. Of the locks that were `seen` so,
    those that are taken early are taken first. What it answers is what project code says; what became of the schema has
    to be looked up."""
    return _migrate(access, plan, folder, url, "upgrade", plan.target, owner, seconds, notice, now_and_then, seen)


def compare(
    access: Access, plan: Plan, url: DatabaseUrl, models: str, *, owner: str | None = None, seconds: float
) -> Ran:
    """What the models have that the schema has not, and the other way about. They are the app's own code: it lies where
    we are, and sees the environment of an app, in which DATABASE_URL is `url`."""
    here = Path.cwd()
    request = {
        "do": "compare",
        "url": url.text,
        "owner": owner or plan.tenant,
        "search_path": roles.search_path(plan.tenant),
        "key": postgres.lock_key(f"migrates {plan.tenant}"),
        "lock_ms": postgres.LOCK_MS,
        "models": models,
        "path": [str(path) for path in (here, here / "src") if path.is_dir()],
    }
    return _run(access, plan, here, request, seconds=seconds, secrets=url.secrets, url=url)


def downgrade(
    access: Access,
    plan: Plan,
    folder: Path,
    url: DatabaseUrl,
    target: str | None,
    *,
    owner: str | None = None,
    seconds: float,
) -> Ran:
    """The way back: to the revision `target`, or to before the first one, by the revisions' own downgrades."""
    return _migrate(access, plan, folder, url, "downgrade", target or "base", owner, seconds)


def _migrate(
    access: Access,
    plan: Plan,
    folder: Path,
    url: DatabaseUrl,
    do: str,
    target: str | None,
    owner: str | None,
    seconds: float,
    notice: Notice = lambda *_: None,
    now_and_then: Callable[[], None] = lambda: None,
    seen: Sequence[Effects] = (),
) -> Ran:
    request = {
        "do": do,
        "url": url.text,
        "owner": owner or plan.tenant,
        "search_path": roles.search_path(plan.tenant),
        "target": target,
        "key": postgres.lock_key(f"migrates {plan.tenant}"),
        "lock_ms": postgres.LOCK_MS,
        "lock_seconds": LOCK_SECONDS,
        "locks": (effects.to_take_first(seen), effects.to_take_first(seen, effects.NOT_LATE)),
        "watch": owner is not None,
    }
    return _run(
        access, plan, folder, request, seconds=seconds, secrets=url.secrets, notice=notice, now_and_then=now_and_then
    )


def _run(
    access: Access,
    plan: Plan,
    folder: Path,
    request: Mapping[str, Any],
    *,
    seconds: float,
    secrets: Sequence[str] = (),
    notice: Notice = lambda *_: None,
    now_and_then: Callable[[], None] = lambda: None,
    url: DatabaseUrl | None = None,
) -> Ran:
    surroundings, path = _surroundings(access, folder, url, request.get("path", ()))
    return projectcode.run(
        {"path": path, **request, "schema": plan.tenant, "folder": str(folder)},
        surroundings=surroundings,
        warm=None if url else access.warm,
        seconds=seconds,
        secrets=secrets,
        notice=notice,
        now_and_then=now_and_then,
    )


def _surroundings(
    access: Access, folder: Path, url: DatabaseUrl | None = None, listed: Sequence[str] = ()
) -> tuple[Surroundings, list[str]]:
    """With a tenant's own URL project code is the app's, and sees the app: its folder and its environment, less the
    storage's secrets. With the admin's URL it sees its own folder and nothing else, but for the `url` that is its."""
    own = access.own is not None
    if not own:
        sandbox.require_sound(access.settings.environment)
    here = str(Path.cwd())
    environment = projectcode.environment_for(access.settings.environment, own=own)
    if url:
        environment["DATABASE_URL"] = url.text
    unseen = secrets_in(access, folder)
    names = [*(listed if url else ()), *([str(folder)] if unseen else [])]  # Python looks for modules by their names
    seen = Surroundings(
        environment=environment,
        readable=[str(folder), *([here] if own else [])],
        hidden=[*hidden(access), *unseen],
        folder=here if own or url else None,
        listed=names,
        unix_sockets=access.settings.database.behind_unix_socket,
    )
    return seen, [here] if own else []


@contextmanager
def loaded(access: Access, folder: Path) -> Iterator[Access]:
    """The same access, with a process that loads the folder's revisions while others are at work, and runs each request
    of the block in a fork of itself."""
    if access.warm:
        yield access
        return
    surroundings, path = _surroundings(access, folder)
    warm = Warm(surroundings, {"schema": "public", "folder": str(folder), "path": path})
    try:
        yield replace(access, warm=warm)
    finally:
        warm.close()


def hidden(access: Access) -> list[str]:
    """What project code must not read, wherever it lies: snapshots in a folder, and the files in which boto3, libpq
    and age find secrets."""
    store = access.settings.store
    files = [access.settings.environment.get(name, "").strip() for name in _FILES]
    kept = [store.prefix] if store and store.scheme == "file" else []
    home = [str(Path(path).expanduser()) for path in ("~/.aws", "~/.pgpass")]
    return [*kept, *home, *(file for file in files if file not in ("", "-"))]


def secrets_in(access: Access, folder: Path) -> list[str]:
    """What looks like a secret below the folder, by its name. With a tenant's own URL the folder is the app's, and so
    are its secrets."""
    return [] if access.own else sandbox.named(str(folder), confinement.is_hidden, confinement.PASSED_OVER)


def failure(ran: Ran, *, seconds: float = 0, busy: bool = False) -> MigrationError | Locked:
    """What went wrong, as project code has it, in words for its author."""
    said = ran.failure or {}
    text, where = said.get("text"), said.get("where")
    if busy and said.get("kind") == "Busy":
        return Locked(text or "", next="wait a minute, then push again")
    if text is None:
        took = f"it was stopped, because {ran.stopped or f'it took longer than {seconds:.0f} s'}"
        killed = f"its process was killed by signal {-(ran.code or 0)}, maybe because memory ran out"
        ending = (
            took if ran.code is None else killed if ran.code < 0 else f"its process ended with exit code {ran.code}"
        )
        text = "\n".join(filter(None, (ending, ran.output)))
    statement = " ".join((said.get("statement") or "").split())
    limit = confinement.explain(ran.code, f"{text}\n{ran.output}")
    lines = [f"{where or 'a revision'}: {text}" if where or "\n" not in text else text]
    if limit:
        lines.append(limit)
    if statement:
        lines.append(f"in: {statement[:300]}{'…' if len(statement) > 300 else ''}")
    what = where or ("the revision" if said or ran.applied else "what it says above")
    return RevisionFailed("\n".join(lines), next="push again" if _hit(ran) else f"mend {what} and push again")


def _hit(ran: Ran) -> bool:
    """Whether something from outside ended it: its process was killed, the server stopped, the connection was cut."""
    said = ran.failure or {}
    state = said.get("sqlstate") or ""
    return (ran.code or 0) < 0 or state.startswith("57P") or (said.get("kind") == "OperationalError" and not state)
