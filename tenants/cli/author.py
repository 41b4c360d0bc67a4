"""init."""

from __future__ import annotations

from pathlib import Path

import click

from tenants.cli import options, render
from tenants.usecases import init as inits
from tenants.usecases.init import Survey


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


COMMANDS = (init,)
