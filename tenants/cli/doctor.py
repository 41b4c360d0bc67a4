"""doctor."""

from __future__ import annotations

import os
from dataclasses import asdict

import click

from tenants.cli import options, render
from tenants.core.checkup import Check, State
from tenants.core.errors import Pending
from tenants.core.names import check_name
from tenants.core.units import counted
from tenants.usecases import doctor as doctors

COLOURS = {State.OK: "green", State.WARNING: "yellow", State.WRONG: "red"}


@click.command()
@click.argument("tenant", nargs=-1, shell_complete=options.names)
@options.as_json
def doctor(tenant: tuple[str, ...], as_json: bool) -> int:
    """Look at everything that the other commands need, and say what to do where something is missing.

    Of the tenants named, it also says where each is. It changes nothing, but for a small object in the store, which it
    writes, reads and removes. Exits with 3 if something is wrong; warnings are no reason for that.
    """
    for name in tenant:
        check_name(name)
    found = []
    for check in doctors.doctor(dict(os.environ), tenant):
        found.append(check)
        if not as_json:
            _show(check)
    wrong = [check for check in found if check.state is State.WRONG]
    if as_json:
        render.answer({"sound": not wrong, "checks": [asdict(check) for check in found]})
    if not wrong:
        return 0
    error = Pending(
        f"{counted(len(wrong), 'thing')} to be mended", next="each line above says how; then: tenants doctor"
    )
    render.fail(error)
    return error.exit_code


def _show(check: Check) -> None:
    told = "\n".join(filter(None, (check.message, check.next)))
    text = render.folded(f"{check.state:<8}  {check.name:<12} {told}", " " * 23)
    render.say(text, colour=COLOURS.get(check.state), upto=8)


COMMANDS = (doctor,)
