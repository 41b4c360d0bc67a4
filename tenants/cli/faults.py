"""Faults that are nobody's: a bug of ours, a machine that has run out of something, streams that are not there.

Of a bug everything that is needed to find it is said in a few lines, and nothing is written to disk: Dokku makes an
image of the container in which a push is migrated. The values that were at work are not shown, nor secrets in what is.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from contextlib import suppress
from pathlib import Path

from tenants import __version__
from tenants.cli import screen
from tenants.core.errors import TenantsError
from tenants.core.names import redacted
from tenants.core.settings import DatabaseUrl

VARIABLE = "TENANTS_TRACEBACK"
PACKAGE = Path(__file__).parents[1]
_SHORT = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)
_SECRET = re.compile(r"SECRET|PASSWORD|PASSWD|TOKEN|_KEY|_URL$|_URLS$|_TO$")
"""What is in the names of variables that nobody is to see."""
_STEPS = 12


def have_streams() -> None:
    """Standard streams that were closed lead nowhere, instead of to the next file that is opened; and what a terminal's
    alphabet has no letters for is written in the letters that it has."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def close_answer() -> None:
    """What is still to be written goes nowhere where it cannot be written, so that Python does not complain as it
    ends."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def shortage(error: Exception) -> TenantsError | None:
    """What is to be said where this machine has run out of something: no bug of ours. None if it has not."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _SHORT):
        why = getattr(error, "strerror", None) or "there is no memory left"
        return TenantsError(
            f"this machine does not let us go on: {why}",
            data="each change is one transaction, done or not done at all",
            next="make room, and type the same command again",
        )
    return None


def bug(error: Exception) -> TenantsError:
    """What is to be said of a bug: what it is, where, in which version. TENANTS_TRACEBACK=1 says the rest."""
    import traceback  # as good as never

    text = "".join(traceback.format_exception(error))
    if os.environ.get(VARIABLE):
        screen.say(without_secrets(text).rstrip(), err=True)
    what = " ".join(without_secrets(f"{type(error).__name__}: {error}").split())
    return TenantsError(
        f"this is a bug in dokku-tenants {__version__}: {what[:500]}\n"
        f"at {_trail(error)}, with Python {sys.version.split()[0]}",
        data="each change is one transaction, done or not done at all; to see where things are: tenants status",
        next=f"report these lines; with {VARIABLE}=1 in the environment the command says more",
    )


def _trail(error: BaseException) -> str:
    """Where it came from, the innermost step first: files of ours by their place in the package, others by name."""
    import traceback

    steps = []
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        ours = file.is_relative_to(PACKAGE)
        steps.append(f"{file.relative_to(PACKAGE) if ours else file.name}:{frame.lineno}")
    return " < ".join(steps[:_STEPS]) or "an unknown place"


def without_secrets(text: str) -> str:
    """The text without what the environment holds of passwords, and the passwords within URLs."""
    secrets = {value for name, value in os.environ.items() if _SECRET.search(name) and len(value) > 3}
    for url in list(secrets):
        with suppress(TenantsError):
            secrets.update(DatabaseUrl.parse(url).secrets)
    return redacted(text, secrets)
