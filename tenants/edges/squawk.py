"""The linter squawk (https://squawkhq.com), a program of its own: finding it, and asking it about a text of SQL.

It parses, and does nothing else: it starts confined, with an environment of its own, without a configuration, so that
no file that lies about can silence it, and gets the text through its standard input.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tenants.core.errors import ProgramError
from tenants.edges import programs, sandbox

HOW_TO_GET_IT = "pip install 'dokku-tenants[lint]'"

_SECONDS = 30.0
_MOST = 16 << 20


def find(environment_path: str) -> Path | None:
    """Where the extra `lint` has put it, beside Python; else on PATH; None where there is none."""
    folders = [Path(sys.executable).parent, *(Path(folder) for folder in environment_path.split(os.pathsep) if folder)]
    found = (folder / "squawk" for folder in folders)
    return next((path for path in found if path.is_file() and os.access(path, os.X_OK)), None)


def ask(program: Path, text: str, *, include: Sequence[str], server_major: int) -> str:
    """Its answer, in JSON, about text that may be hostile. Raises ProgramError if it gives none, takes longer than half
    a minute, or says more than one can listen to."""
    argv = [str(program), "--reporter=json", "--config=/dev/null", f"--pg-version={server_major}.0"]
    argv += [f"--include={rule}" for rule in include]
    with sandbox.start(
        argv,
        environment=sandbox.clean_environment(os.environ),
        readable=[str(program.resolve())],
        stdin=subprocess.PIPE,
    ) as process:
        timer = threading.Timer(_SECONDS, process.kill)
        timer.start()
        try:
            answer = b""
            for piece in programs.through(process, [text.encode("utf-8", "replace")]):
                answer += piece
                if len(answer) > _MOST:
                    raise ProgramError("squawk has too much to say of it")
            assert process.stderr
            said = programs.complaint(process.stderr.read())
            if process.wait() not in (0, 1):  # 1: it has found something
                raise ProgramError(f"squawk failed: {said or f'exit code {process.returncode}'}")
        finally:
            timer.cancel()
            with suppress(OSError):
                process.kill()
    return answer.decode("utf-8", "replace")
