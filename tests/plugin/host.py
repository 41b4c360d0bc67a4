"""What the plugin meets on every Dokku host of the tests, whatever Docker is there: folders, variables, triggers.

Dokku's own functions are the stand-ins of the folder `standin`, which says of each what it does. The order of triggers
is that of Dokku's source, and stands here alone.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from support import REPOSITORY, Done

PLUGIN = REPOSITORY / "hooks" / "plugin"
STANDIN = Path(__file__).parent / "standin"


class PluginHost:
    """A host that has the plugin, below a folder of its own."""

    def __init__(self, place: Path, docker: str, plugn: str) -> None:
        self.place = place
        self.lib, self.apps, self.cron = (place / name for name in ("lib", "apps", "cron.d"))
        plugins = self.lib / "plugins"
        for folder in (self.apps, self.cron, plugins / "available", plugins / "enabled", place / "bin"):
            folder.mkdir(parents=True)
        (plugins / "config.toml").touch()
        for name, source in {"tenants": PLUGIN, "others": STANDIN / "others"}.items():
            (plugins / "available" / name).symlink_to(source)
            (plugins / "enabled" / name).symlink_to(source)
        for name in ("config", "docker-options"):
            (plugins / "available" / name).symlink_to(STANDIN / name)
        self.use_plugn(plugn)
        self.environment = {
            "PATH": f"{place / 'bin'}:{os.environ['PATH']}",
            "HOME": str(place),
            "TMPDIR": str(place),
            "TERM": "dumb",
            "LC_ALL": "C.UTF-8",
            "DOKKU_ROOT": str(self.apps),
            "DOKKU_LIB_ROOT": str(self.lib),
            "DOKKU_NOT_IMPLEMENTED_EXIT": "10",
            "DOKKU_SYSTEM_USER": "root" if os.geteuid() == 0 else str(os.geteuid()),
            "DOKKU_SYSTEM_GROUP": "root" if os.geteuid() == 0 else str(os.getegid()),
            "PLUGIN_PATH": str(plugins),
            "PLUGIN_AVAILABLE_PATH": str(plugins / "available"),
            "PLUGIN_ENABLED_PATH": str(plugins / "enabled"),
            "PLUGIN_CORE_AVAILABLE_PATH": str(STANDIN),
            "DOCKER_BIN": docker,
            "TENANTS_CRON_D": str(self.cron),
        }

    def use_plugn(self, program: str) -> None:
        (self.place / "bin" / "plugn").unlink(missing_ok=True)
        (self.place / "bin" / "plugn").symlink_to(program)

    def dokku(self, command: str, *words: str, stdin: str = "", **environment: str) -> Done:
        """`dokku COMMAND …`, as Dokku finds what is to be run."""
        plugin, _, name = command.partition(":")
        enabled = self.lib / "plugins" / "enabled"
        subcommand = enabled / plugin / "subcommands" / name
        program = subcommand if name and os.access(subcommand, os.X_OK) else enabled / "tenants" / "commands"
        return self._run([str(program), command, *words], stdin, environment)

    def trigger(self, *words: str, **environment: str) -> Done:
        return self._run(["plugn", "trigger", *words], "", environment)

    def _run(self, command: list[str], stdin: str, environment: Mapping[str, str]) -> Done:
        done = subprocess.run(
            command,
            env={**self.environment, **environment},
            input=stdin,
            capture_output=True,
            text=True,
            cwd=self.place,
            timeout=120,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def built(self, app: str, source: Path, rev: str, build: Callable[[], object]) -> list[Done]:
        """The triggers of a push up to where the image is built, by `build`, and nothing of it is released. The last
        one says whether Dokku goes on: a failing post-extract is not heeded."""
        said = [self.trigger("post-extract", app, str(source), rev)]
        said.append(self.trigger("pre-build", "dockerfile", app, str(source)))
        build()
        if said[-1].code == 0:
            said.append(self.trigger("post-build", "dockerfile", app, str(source)))
        return said

    def create(self, app: str, **config: str) -> None:
        (self.apps / app).mkdir()
        (self.apps / app / "ENV.json").write_text(json.dumps(config))
        (self.apps / app / "DOCKER_OPTIONS").touch()

    def config(self, app: str) -> dict[str, str]:
        return json.loads((self.apps / app / "ENV.json").read_text())  # type: ignore[no-any-return]

    def left_by_postgres(self, told: Mapping[str, str], endpoint: str, bucket: str) -> None:
        """What somebody told postgres:backup-auth and postgres:backup-schedule long ago."""
        folder = self.lib / "services" / "postgres" / "db" / "backup"
        for name, text in {
            "AWS_ACCESS_KEY_ID": told["AWS_ACCESS_KEY_ID"],
            "AWS_SECRET_ACCESS_KEY": told["AWS_SECRET_ACCESS_KEY"],
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_SIGNATURE_VERSION": "s3v4",
            "ENDPOINT_URL": endpoint,
        }.items():
            (folder / name).write_text(f"{text}\n")
        line = f"0 3 * * * dokku /usr/bin/dokku postgres:backup db {bucket} \n"
        (self.cron / "dokku-postgres-db").write_text(line)

    def service_is(self, **said: str) -> Path:
        """The folder in which dokku-postgres keeps what it knows of the service `db`."""
        folder = self.lib / "services" / "postgres" / "db"
        (folder / "backup").mkdir(parents=True)
        for name, text in {**said, "LINKS": ""}.items():
            (folder / name).write_text(text and f"{text}\n")
        return folder


def output(said: list[Done]) -> Done:
    """What a person sees of them all; it ended as the last one did."""
    return Done(said[-1].code, "".join(done.out for done in said), "".join(done.err for done in said))
