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
from pathlib import Path
from typing import Any

import forked
from plugin.host import PLUGIN as PLUGIN
from plugin.host import STANDIN, PluginHost, output
from support import NAME, REPOSITORY, TENANTS, Bucket, Database, Done

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


class Dokku(PluginHost):
    """A host with one service of dokku-postgres, `db`."""

    def __init__(self, place: Path, database: Database, bucket: Bucket) -> None:
        docker = place / "bin" / "docker"
        super().__init__(place, str(docker), str(STANDIN / "plugn"))
        self.database, self.bucket = database, bucket
        docker.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {STANDIN / "docker"} "$@"\n')
        docker.chmod(0o755)
        self.service = self.service_is(PASSWORD="throwaway", DATABASE_NAME=NAME)
        self.write_state({"networks": {}, "containers": {}, "images": {}, "tags": {}})
        self.environment |= {
            "STANDIN_PLACE": str(place),
            "STANDIN_POSTGRES": f"127.0.0.1:{database.server.port}",
            "STANDIN_TENANTS": TENANTS,
            "STANDIN_TESTS": str(REPOSITORY / "tests"),
            "STANDIN_FORKED": forked.server(),
        }

    # What Dokku does

    def postgres_link(self, app: str) -> None:
        """What dokku-postgres does, in its way: a link, the superuser's URL, and another for good measure."""
        url = f"postgres://postgres:throwaway@dokku-postgres-db:5432/{NAME}"
        self.create(app, DATABASE_URL=url, DOKKU_POSTGRES_AQUA_URL=url, GREETING="hello")
        (self.apps / app / "DOCKER_OPTIONS").write_text("--link dokku.postgres.db:dokku-postgres-db\n--init\n")
        (self.service / "LINKS").write_text(f"{app}\n")

    def push(self, app: str, source: Path, rev: str = COMMIT) -> Done:
        """A push of what is in `source`: extract, build, release, deploy. When a build fails, Dokku retags."""
        released = [id_ for id_, image in self.state()["images"].items() if image == {"app": app, "stage": "release"}]
        new = f"sha256:{app}{len(self.state()['images'])}"

        def build() -> None:
            state = self.state()
            state["images"][new] = {"app": app, "stage": "build"}
            state["tags"][f"dokku/{app}:latest"] = new
            self.write_state(state)

        said = self.built(app, source, rev, build)
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
        return output(said)

    # What is there

    def state(self) -> Any:
        return json.loads((self.place / "docker.json").read_text())

    def write_state(self, state: object) -> None:
        (self.place / "docker.json").write_text(json.dumps(state))

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
        self.left_by_postgres(self.bucket.environment, self.bucket.endpoint, self.bucket.name)

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
