"""adopt."""

from __future__ import annotations

import click

from tenants.cli import options, render
from tenants.core.adoption import Adoption
from tenants.core.errors import Refused, UsageError
from tenants.core.names import printable
from tenants.usecases import adopt as adopts
from tenants.usecases.adopt import Adopted, Wanted


@click.command()
@click.argument("name")
@click.option("--from", "source", metavar="SCHEMA", help="Where the tables are: public, as a rule.")
@click.option("--table", "tables", multiple=True, help="This table only, and what goes with it; may be repeated.")
@click.option("--project", help="The folder of migrations that the tenant runs (default: its own name).")
@click.option("--at", metavar="REVISION", help="The revision that the tables are at, if no alembic_version says so.")
@click.option("--dry-run", is_flag=True, help="Show every step, and what is in the way. Changes nothing.")
@click.option("--no-snapshot", is_flag=True, help="Take no snapshot before; one is taken right after.")
@click.option("--finish", is_flag=True, help="Take down the views that stand in the place of the tables.")
@click.option("--undo", is_flag=True, help="Give everything back to where it was adopted from.")
@options.wait
@options.as_json
def adopt(
    name: str,
    source: str | None,
    tables: tuple[str, ...],
    project: str | None,
    at: str | None,
    dry_run: bool,
    no_snapshot: bool,
    finish: bool,
    undo: bool,
    wait: float,
    as_json: bool,
) -> int:
    """Give tables that are there already a tenant, with the app running.

    They move to the tenant's own schema in one transaction, with all that goes with them; a snapshot goes first. Views
    stay in their place, so that the app goes on until it has the tenant's DATABASE_URL, which is shown once.
    """
    if (source is not None) + finish + undo != 1:
        raise UsageError(f"adopt {name} from where?", next=f"tenants adopt {name} --from public (or --finish, --undo)")
    tell = render.Progress([name])
    with options.access("adopt") as access:
        if finish:
            gone = adopts.finish(access, name, tell)
            if as_json:
                render.answer({"tenant": name, "taken_down": gone})
            elif not gone:
                render.say(f"{name}   no view stands in the place of its tables")
            return 0
        if undo:
            back = adopts.undo(access, name, tell, wait=wait)
            if as_json:
                render.answer(_document(back))
            else:
                render.say(f"{name}   has given it back. To be rid of the tenant: tenants drop {name}")
            return 0
        assert source is not None
        wanted = Wanted(name, source, tables, project, at, no_snapshot)
        if dry_run:
            return _show(adopts.survey(access, wanted), name, as_json=as_json)
        done = adopts.adopt(access, wanted, tell, wait=wait)
    _answer(done, as_json=as_json)
    return 0


def _show(found: Adoption, name: str, *, as_json: bool) -> int:
    if as_json:
        render.answer(_document(found))
    else:
        for step in found.steps:
            render.say(f"{printable(step)};")
        for note in found.notes:
            render.say(f"Note:     {printable(note)}", err=True, colour="yellow")
    if not found.problems:
        return 0
    in_the_way = Refused("in the way:\n" + "\n".join(found.problems), next=f"mend that: tenants adopt {name} --help")
    render.fail(in_the_way)
    return in_the_way.exit_code


def _answer(done: Adopted, *, as_json: bool) -> None:
    created = done.created
    if as_json:
        url = created.url.text if created.url else None
        render.answer({**_document(done.plan), "snapshot": done.snapshot, "login": created.login, "url": url})
        return
    for note in done.plan.notes:
        render.say(f"Note:     {printable(note)}", err=True, colour="yellow")
    if created.url:
        render.say(f"DATABASE_URL={created.url.text}")
        render.say("This is shown once. For the app: dokku config:set APP '<the line>'", err=True)
    if done.plan.bridges:
        render.say(
            f"Until then the app goes on through views in schema {done.plan.source}."
            f" A minute after it has restarted with its own URL: tenants adopt {created.tenant} --finish",
            err=True,
        )
    render.say(f"Undo:     tenants adopt {created.tenant} --undo", err=True)


def _document(found: Adoption) -> dict[str, object]:
    return {
        "tenant": found.target,
        "source": found.source,
        "moved": [str(thing) for thing in found.moves],
        "bridges": [thing.identity for thing in found.bridges],
        "steps": list(found.steps),
        "problems": list(found.problems),
        "notes": list(found.notes),
    }


COMMANDS = (adopt,)
