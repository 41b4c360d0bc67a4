"""Pages of documentation are walked: what they tell to type is typed, and what they say is printed has to be printed.

A block that is fenced as `shell` is run, all of a page's in one bash, in their order. One that is fenced as `text` and
follows it is what it prints: each of its lines, in that order; `…` alone on a line leaves lines out. Ids, times, sizes
and passwords are other ones each time, and are not compared. A comment before a block says more:

    <!-- fails -->            the last command of the block exits with another code than 0
    <!-- not run: why -->     it is not run here

`dokku`, `docker`, `sudo` and `ssh` are those of the stand-in (dokku.py). To a question (`undo`, `drop`) the answer is
yes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import forked
from support import REPOSITORY, TENANTS, Bucket, Database

HERE = Path(__file__).parent
FENCE = re.compile(r"(?:<!-- (?P<note>[^>]*) -->\n+)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
ID = r"[0-9]{8}T[0-9]{6}Z-[a-z0-9]{6}"

OF_THE_MACHINE = re.compile("_proxy$|^npm_config_|CA_CERTS$|CA_BUNDLE$|^SSL_CERT_", re.IGNORECASE)
"""Variables without which npm and bun do not reach the network, where there is a way to it that is not everybody's."""

VARIABLE = (
    (ID, "ID"),
    (r"[0-9]{8}T[0-9]{6}Z?", "TIME"),
    (r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{5}", "TIME"),
    (r"~[a-z0-9]{6}\b", "~LOGIN"),
    (r"postgres://\S+", "URL"),
    (r"s3://\S+|file://\S+", "STORE"),
    (r"\b[0-9.]+ (ms|s|B|kB|MB)\b", "FIGURE"),
    (r" +", " "),
)


@dataclass(frozen=True)
class Block:
    kind: str
    text: str
    note: str

    @property
    def is_typed(self) -> bool:
        return self.kind == "shell" and not self.note.startswith("not run: ")


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page."""
    return [Block(found["kind"], found["text"], found["note"] or "") for found in FENCE.finditer(page)]


def same(line: str) -> str:
    """The line, less what is another one each time."""
    for pattern, word in VARIABLE:
        line = re.sub(pattern, word, line)
    return line.strip()


class Walk:
    """A person with a machine, a server, a bucket, and a page to read."""

    def __init__(self, folder: Path, database: Database, bucket: Bucket, path: Sequence[str] = ()) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.programs = folder / "bin"
        self.home.mkdir()
        self.programs.mkdir()
        self.bucket = bucket
        for program in ("dokku", "docker", "sudo", "ssh"):
            self._program(program, f"dokku.py {program}")
        self._program("tenants", "tenants.py")
        (folder / "forked").write_text(forked.server())
        where = os.pathsep.join([str(self.programs), *path, str(Path(TENANTS).parent), os.environ["PATH"]])
        self.environment = {
            **{name: value for name, value in os.environ.items() if OF_THE_MACHINE.search(name)},
            "PATH": where,
            "WALK_PATH": where,
            "WALK": str(folder),
            "HOME": str(folder),
            "LC_ALL": "C.UTF-8",
            "WALK_ADMIN": database.url,
            "WALK_TENANTS": TENANTS,
            "GIT_SSH": str(self.programs / "ssh"),
            **{f"GIT_{who}_{what}": "somebody" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(folder / ".gitconfig"),
        }
        (folder / ".gitconfig").write_text("[init]\n\tdefaultBranch = main\n[advice]\n\tdetachedHead = false\n")
        self.admin = {"DATABASE_URL": database.url, "TENANTS_SANDBOX": "weak"}
        self.replacements = {
            "https://<account>.r2.cloudflarestorage.com": bucket.endpoint,
            "https://<location>.your-objectstorage.com": bucket.endpoint,
            "<location>": "auto",
            "db-backups": bucket.name,
            "https://fruits.example.com": '$(cat "$WALK/fruits.url")',
            "https://github.com/dokku-tenants/dokku-tenants": str(REPOSITORY),
            "https://hc-ping.com/<uuid>": bucket.endpoint,
            "<ip>": "server",
            "<key>": bucket.environment["AWS_ACCESS_KEY_ID"],
            "<secret>": bucket.environment["AWS_SECRET_ACCESS_KEY"],
            "'<the line it printed>'": '"$(cat "$WALK/url")"',
            "20261123T072214Z-kx3p9a": '"$(cat "$WALK/id")"',
        }

    def _program(self, name: str, script: str) -> None:
        (self.programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -I {HERE}/{script} "$@"\n')
        (self.programs / name).chmod(0o755)

    def serving(self, *linked: str) -> None:
        """It begins with a control app that serves, and apps of these names that are linked, as superusers."""
        (self.folder / "apps" / "control").mkdir(parents=True)
        shutil.copy(REPOSITORY / "Procfile", self.folder / "apps" / "control")
        config = {**self.admin, **self.bucket.environment}
        app = {"config": self.admin, "network": None, "link": "db", "pid": None, "port": None}
        apps = {**dict.fromkeys(linked, app), "control": app | {"config": config}}
        services = {"db": {"networks": ["tenants"], "ever": ["tenants"]}}
        state = {"apps": apps, "services": services, "networks": ["tenants"], "plugins": ["dokku-postgres"]}
        (self.folder / "server.json").write_text(json.dumps(state))

    def type(self, page: str, more: Mapping[str, str] | None = None) -> None:
        """Type all that the page tells to type; it has to do and to print what the page says."""
        found = blocks(page)
        script = ["set -e", "exec 2>&1"]
        for number, block in enumerate(found):
            if block.is_typed:
                script += [f"echo; echo @@{number}", self._typed(block)]
        file = self.folder / "script"
        file.write_text("\n".join([*script, "echo; echo @@end"]))
        out = self._bash(file, more or {})
        printed = {int(n): text for n, text in re.findall(r"^@@(\d+)\n(.*?)(?=^@@)", out, re.MULTILINE | re.DOTALL)}
        assert out.endswith("@@end\n"), out
        typed = [number for number, block in enumerate(found) if block.is_typed]
        assert sorted(printed) == typed, out
        for number in typed:
            if number + 1 < len(found) and found[number + 1].kind == "text":
                self._said(found[number + 1], printed[number])

    def _typed(self, block: Block) -> str:
        text = block.text
        for placeholder, value in self.replacements.items():
            text = text.replace(placeholder, value)
        assert not re.search(r"<[a-z][\w -]*>", text), f"what to put there is not known: {text}"
        if block.note != "fails":
            return text
        return f"set +e\n{text}\ncode=$?\nset -e\n[ $code -ne 0 ] || {{ echo 'this was to fail'; exit 1; }}"

    def _bash(self, file: Path, more: Mapping[str, str]) -> str:
        with subprocess.Popen(
            ["bash", str(file)],
            cwd=self.home,
            env={**self.environment, **more},
            stdin=subprocess.DEVNULL,
            stdout=(output := (self.folder / "output").open("w")),
            start_new_session=True,
        ) as bash:
            try:
                bash.wait(240)
            finally:
                output.close()
                with suppress(ProcessLookupError):
                    os.killpg(bash.pid, signal.SIGKILL)
        return (self.folder / "output").read_text()

    @staticmethod
    def _said(block: Block, printed: str) -> None:
        lines = iter([same(line) for line in printed.splitlines()])
        for line in block.text.splitlines():
            wanted = same(line)
            if wanted in ("", "…"):
                continue
            assert any(wanted in line for line in lines), f"it does not say “{line}”:\n{printed}"
