"""init, revision."""

from __future__ import annotations

import os
from pathlib import Path

import click

from tenants.cli import options, render
from tenants.core import models as modelling
from tenants.core.errors import UsageError
from tenants.core.newrevision import Body
from tenants.core.settings import read_migrations
from tenants.edges import worktree
from tenants.usecases import autogenerate as autogenerates
from tenants.usecases import init as inits
from tenants.usecases import revision as writing
from tenants.usecases.autogenerate import Difference
from tenants.usecases.init import Survey
from tenants.usecases.revision import Place, Written


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path())
@click.option(
    "--control/--app", default=None, help="What it is to be. [default: an app, if there is one in the folder]"
)
@click.option("--dry-run", is_flag=True, help="Show what would be written. Writes nothing.")
@options.as_json
def init(folder: Path, control: bool | None, dry_run: bool, as_json: bool) -> None:
    """Write what a repository lacks so that a push of it migrates.

    An app's repository, or a control repository: that is an empty folder, or one without an app in it. What is there
    is never overwritten; to app.json only keys are added that it does not have. A second call writes nothing. It needs
    no DATABASE_URL and no network.
    """
    found = inits.survey(folder, control=control)
    if not dry_run:
        inits.write(found)
    if as_json:
        render.answer(_document(found, written=not dry_run))
        return
    _show(found, dry_run=dry_run)


def _show(found: Survey, *, dry_run: bool) -> None:
    lines = [("kind", "a control repository" if found.control else "an app")]
    lines += [("found", f"{what}: {file}") for what, file in found.found]
    for step in found.steps:
        stage = "is there" if not step.what else "would write" if dry_run else "wrote"
        lines.append((stage, f"{step.file}: {step.what}" if step.what else step.file))
        if dry_run and step.what:
            lines += [("", line) for line in step.text.splitlines()]
    for stage, text in lines:
        render.say(render.folded(f"{stage:<12} {text}".rstrip(), " " * 13))
    if not found.writes:
        render.say("nothing is missing, and nothing was written")
    for note in found.notes:
        render.say(render.folded(f"Note:     {note}", render.INDENT), err=True, colour="yellow")
    render.say(render.folded("Next:     " + "\n".join(found.next), render.INDENT), err=True)


def _document(found: Survey, *, written: bool) -> dict[str, object]:
    return {
        "folder": str(found.folder.absolute()),
        "kind": "control" if found.control else "app",
        "found": [{"what": what, "file": file} for what, file in found.found],
        "files": [{"file": step.file, "adds": step.what or None} for step in found.steps],
        "written": [step.file for step in found.writes] if written else [],
        "notes": list(found.notes),
        "next": list(found.next),
    }


@click.command()
@click.argument("project", required=False)
@click.option("-m", "--message", required=True, help="What it does, in a few words.")
@click.option("--sql/--python", default=None, help="The language. [default: SQL, unless all of the folder is Python]")
@click.option("--autogenerate", is_flag=True, help="Write what SQLAlchemy's models have that the schema has not.")
@click.option(
    "--models", metavar="MODULE:METADATA", help="Where they are. [default: that of [tool.tenants] in pyproject.toml]"
)
@options.wait
@options.as_json
def revision(
    project: str | None,
    message: str,
    sql: bool | None,
    autogenerate: bool,
    models: str | None,
    wait: float,
    as_json: bool,
) -> None:
    """Write the next revision of a project, named as its folder has it.

    It needs no DATABASE_URL, but for --autogenerate: that compares the models with the tenant's schema, which has to be
    at the head of the folder. With an admin's URL and no such tenant, as on a laptop, the revisions run in a scratch
    database first.
    """
    if sql and autogenerate:
        raise UsageError("what is generated is Python", next="leave --sql out, or write the file yourself")
    if models and not autogenerate:
        raise UsageError("--models is for --autogenerate", next="add --autogenerate, or leave it out")
    where = writing.place(read_migrations(os.environ), project)
    found: Difference | None = None
    if autogenerate:
        named = modelling.which(models, worktree.read(Path(), "pyproject.toml"))
        with options.access("revision") as access:
            found = autogenerates.compare(access, where, named, render.Progress(), wait=wait)
    body: Body | None = found.body if found else None
    nothing = found is not None and body is None
    python = True if autogenerate else None if sql is None else not sql
    done = None if nothing else writing.write(where, message, python=python, body=body)
    if as_json:
        render.answer(_revision_document(where, done, found))
        return
    for note in found.notes if found else ():
        render.say(render.folded(f"Note:     {note}", render.INDENT), err=True)
    if done is None:
        assert found
        render.say(f"no difference between the models and {found.compared}; nothing was written")
        return
    render.say(_from_here(done.path))
    names = where.project or ""
    look = "look through it" if found else "write into it what is to be done"
    render.say(
        f"Next:     {look}; then commit and push; or, with a DATABASE_URL: tenants plan {names}".rstrip(), err=True
    )


def _from_here(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _revision_document(where: Place, done: Written | None, found: Difference | None) -> dict[str, object]:
    return {
        "project": where.project,
        "revision": done.made.id if done else None,
        "follows": done.made.follows if done else None,
        "file": str(done.path) if done else None,
        "notes": list(found.notes) if found else [],
    }


COMMANDS = (init, revision)
