"""A Dokku as the plugin sees one: what it calls, and who calls it.

Docker, and those functions of Dokku that the plugin calls, are stand-ins (the folder `standin`, which says of each what
it does). The plugin, plugn where this machine has it, and the command `tenants` with its PostgreSQL and its bucket are
real, so what a person reads is what they would read. The order of triggers is that of Dokku's source.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import forked
from support import NAME, REPOSITORY, TENANTS, Bucket, Database, Done

PLUGIN = REPOSITORY / "hooks" / "plugin"
STANDIN = Path(__file__).parent / "standin"
COMMIT = "a1b2c3d4e5f6a7b8c9d0a1b2c3d4e5f6a7b8c9d0"


@functools.cache
def plugn() -> str | None:
    """The real one: on the PATH, or built by Go, once in a session; None where there is none."""
    if found := shutil.which("plugn"):
        return found
    place = Path.home() / ".cache" / "dokku-tenants-tests"
    if not (place / "plugn").exists() and shutil.which("go"):
        command = ["go", "install", "github.com/dokku/plugn@latest"]
        subprocess.run(command, env={**os.environ, "GOBIN": str(place)}, capture_output=True, timeout=120, check=False)
    return str(place / "plugn") if (place / "plugn").exists() else None


@dataclass
class Dokku:
    """A host with one service of dokku-postgres, `db`."""

    place: Path
    database: Database
    bucket: Bucket

    def __post_init__(self) -> None:
        self.lib, self.apps, self.cron = (self.place / name for name in ("lib", "apps", "cron.d"))
        plugins = self.lib / "plugins"
        for folder in (self.apps, self.cron, plugins / "available", plugins / "enabled", self.place / "bin"):
            folder.mkdir(parents=True)
        (plugins / "config.toml").touch()
        for name, source in {"tenants": PLUGIN, "others": STANDIN / "others"}.items():
            (plugins / "available" / name).symlink_to(source)
            (plugins / "enabled" / name).symlink_to(source)
        for name in ("config", "docker-options"):
            (plugins / "available" / name).symlink_to(STANDIN / name)
        self.use_plugn(str(STANDIN / "plugn"))
        docker = self.place / "bin" / "docker"
        docker.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {STANDIN / "docker"} "$@"\n')
        docker.chmod(0o755)
        self.service = self.lib / "services" / "postgres" / "db"
        (self.service / "backup").mkdir(parents=True)
        for name, text in {"PASSWORD": "throwaway", "DATABASE_NAME": NAME, "LINKS": ""}.items():
            (self.service / name).write_text(text and f"{text}\n")
        self.write_state({"networks": {}, "containers": {}, "images": {}, "tags": {}})
        self.environment = {
            "PATH": f"{self.place / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.place),
            "TMPDIR": str(self.place),
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
            "DOCKER_BIN": str(self.place / "bin" / "docker"),
            "TENANTS_CRON_D": str(self.cron),
            "STANDIN_PLACE": str(self.place),
            "STANDIN_POSTGRES": f"127.0.0.1:{self.database.server.port}",
            "STANDIN_TENANTS": TENANTS,
            "STANDIN_TESTS": str(REPOSITORY / "tests"),
            "STANDIN_FORKED": forked.server(),
        }

    def use_plugn(self, program: str) -> None:
        (self.place / "bin" / "plugn").unlink(missing_ok=True)
        (self.place / "bin" / "plugn").symlink_to(program)

    # What Dokku does

    def dokku(self, command: str, *words: str, stdin: str = "", **environment: str) -> Done:
        """`dokku COMMAND …`, as Dokku finds what is to be run."""
        plugin, _, name = command.partition(":")
        subcommand = self.lib / "plugins" / "enabled" / plugin / "subcommands" / name
        if name and os.access(subcommand, os.X_OK):
            return self._run([str(subcommand), command, *words], stdin, environment)
        return self._run(
            [str(self.lib / "plugins" / "enabled" / "tenants" / "commands"), command, *words], stdin, environment
        )

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

    def create(self, app: str, **config: str) -> None:
        (self.apps / app).mkdir()
        (self.apps / app / "ENV.json").write_text(json.dumps(config))
        (self.apps / app / "DOCKER_OPTIONS").touch()

    def postgres_link(self, app: str) -> None:
        """What dokku-postgres does, in its way: a link, the superuser's URL, and another for good measure."""
        url = f"postgres://postgres:throwaway@dokku-postgres-db:5432/{NAME}"
        self.create(app, DATABASE_URL=url, DOKKU_POSTGRES_AQUA_URL=url, GREETING="hello")
        (self.apps / app / "DOCKER_OPTIONS").write_text("--link dokku.postgres.db:dokku-postgres-db\n--init\n")
        (self.service / "LINKS").write_text(f"{app}\n")

    def push(self, app: str, source: Path, rev: str = COMMIT) -> Done:
        """A push of what is in `source`: extract, build, release, deploy. When a build fails, Dokku retags."""
        state = self.state()
        released = [id_ for id_, image in state["images"].items() if image == {"app": app, "stage": "release"}]
        said = [self.trigger("post-extract", app, str(source), rev)]
        new = f"sha256:{app}{len(state['images'])}"
        state["images"][new] = {"app": app, "stage": "build"}
        state["tags"][f"dokku/{app}:latest"] = new
        self.write_state(state)
        for name in ("pre-build", "post-build"):  # that of post-extract is not heeded
            if name == "pre-build" or said[-1].code == 0:
                said.append(self.trigger(name, "dockerfile", app, str(source)))
        state = self.state()
        if said[-1].code == 0:
            state["images"][new]["stage"] = "release"
            state["containers"][f"{app}.web.1"] = new
            self.write_state(state)
            said.append(self.trigger("post-deploy", app, "5000", "172.17.0.2", "latest"))
        elif len(released) == 1:
            state["tags"][f"dokku/{app}:latest"] = released[0]
        elif not released:
            del state["tags"][f"dokku/{app}:latest"]
        if said[-1].code:
            self.write_state(state)
        return Done(said[-1].code, "".join(done.out for done in said), "".join(done.err for done in said))

    # What is there

    def state(self) -> Any:
        return json.loads((self.place / "docker.json").read_text())

    def write_state(self, state: object) -> None:
        (self.place / "docker.json").write_text(json.dumps(state))

    def config(self, app: str) -> dict[str, str]:
        return json.loads((self.apps / app / "ENV.json").read_text())  # type: ignore[no-any-return]

    def url(self, app: str) -> str:
        """The app's DATABASE_URL, as it can be used from here."""
        return self.config(app)["DATABASE_URL"].replace("dokku-postgres-db:5432", self.environment["STANDIN_POSTGRES"])

    def property(self, plugin: str, app: str, key: str) -> str | None:
        file = self.lib / "config" / plugin / app / key
        return file.read_text().strip() if file.exists() else None

    def links(self) -> list[str]:
        return (self.service / "LINKS").read_text().split()

    def restarts(self) -> list[str]:
        file = self.lib / "restarts"
        return file.read_text().split() if file.exists() else []

    def said_to_docker(self) -> str:
        return (self.place / "docker.log").read_text()

    def backup_auth(self) -> None:
        """What somebody told postgres:backup-auth and postgres:backup-schedule long ago."""
        told = self.bucket.environment
        names = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
        for name, text in {
            **{name: told[name] for name in names},
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_SIGNATURE_VERSION": "s3v4",
            "ENDPOINT_URL": self.bucket.endpoint,
        }.items():
            (self.service / "backup" / name).write_text(f"{text}\n")
        (self.cron / "dokku-postgres-db").write_text(
            f"0 3 * * * dokku /usr/bin/dokku postgres:backup db {self.bucket.name} \n"
        )

    def ready(self, **more: str) -> Dokku:
        """Installed and set up, with the app `fruits` linked. Pushes do not rehearse, if `more` does not say so."""
        self.backup_auth()
        for done in (self.trigger("install"), self.dokku("tenants:setup", "db")):
            assert done.code == 0, done.said
        more = {"TENANTS_REHEARSAL": "off", "TENANTS_INCOMPATIBLE": "off", **more}
        with (self.lib / "data/tenants/services/db/env").open("a") as env:
            env.writelines(f"{name}={value}\n" for name, value in more.items())
        self.create("fruits")
        done = self.dokku("tenants:link", "db", "fruits")
        assert done.code == 0, done.said
        return self


def source(folder: Path, **files: str) -> Path:
    """A folder that is pushed: `migrations__0001_items` is migrations/0001_items.sql."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, text in files.items():
        file = folder / f"{name.replace('__', '/')}.sql"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder
