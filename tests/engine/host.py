"""A Dokku host as far as a push goes, on a real Docker engine.

Real are the engine, images, containers, networks and names in them, PostgreSQL, the bucket, the plugin, plugn where
this machine has it, and the app. Not real is Dokku itself: its functions are the stand-ins of `tests/plugin/standin`,
what dokku-postgres leaves is written here, and `push` does in Dokku's order what Dokku does: extract, build, release,
start.
"""

from __future__ import annotations

import ipaddress
import json
import shutil
import time
import urllib.request
from pathlib import Path

from engine.engine import BASE, Engine
from plugin.host import PLUGIN as PLUGIN
from plugin.host import STANDIN, PluginHost, output
from support import Bucket, Done

SUPERUSER = "superusers-password-that-must-not-show"
SERVE = """
set -e
initdb --pgdata=/tmp/data --username=postgres --auth=scram-sha-256 --pwfile=<(echo "$POSTGRES_PASSWORD") --no-sync
echo "host all all all scram-sha-256" >>/tmp/data/pg_hba.conf
exec postgres -D /tmp/data -c listen_addresses=* -c unix_socket_directories=/tmp -c fsync=off
"""


class Host(PluginHost):
    def __init__(self, place: Path, engine: Engine, bucket: Bucket, network: str) -> None:
        """`network` is what containers are on that are on no other one, as Docker's own bridge is for Dokku."""
        super().__init__(place, "docker", shutil.which("plugn") or str(STANDIN / "plugn"))
        self.engine, self.bucket, self.network = engine, bucket, network
        self.environment |= engine.environment

    def service(self) -> None:
        """What `postgres:create db` leaves, with what postgres:backup-auth and postgres:backup-schedule were told."""
        words = ["--name=dokku.postgres.db", f"--network={self.network}", "--user=65534", "--label=dokku"]
        self.engine.docker(
            "container", "run", "--detach", *words, f"--env=POSTGRES_PASSWORD={SUPERUSER}", BASE, "bash", "-c", SERVE
        )
        for _ in range(300):
            argv = ("container", "exec", "dokku.postgres.db", "pg_isready", "--quiet", "--host=127.0.0.1")
            if self.engine.attempt(*argv).returncode == 0:
                break
            time.sleep(0.1)
        self.sql("CREATE DATABASE db", database="postgres")
        self.service_is(PASSWORD=SUPERUSER, DATABASE_NAME="db")
        self.left_by_postgres(self.bucket.environment, self.bucket.endpoint, self.bucket.name)

    def sql(self, query: str, database: str = "db") -> str:
        """As the superuser, in the service's container."""
        words = [f"--env=PGPASSWORD={SUPERUSER}", "dokku.postgres.db", "psql", "--no-psqlrc", "--tuples-only"]
        words += ["--no-align", "--host=127.0.0.1", "--username=postgres", f"--dbname={database}", f"--command={query}"]
        return self.engine.docker("container", "exec", *words)

    def push(self, app: str, source: Path, rev: str) -> Done:
        """A push of what is in `source`, which has a Dockerfile."""
        image, labels = f"dokku/{app}:latest", ("--label=dokku", f"--label=com.dokku.app-name={app}")
        build = ("image", "build", *labels, "--label=com.dokku.image-stage=build", f"--tag={image}", str(source))
        said = self.built(app, source, rev, lambda: self.engine.docker(*build))
        if said[-1].code == 0:
            release = self.place / "release"
            release.mkdir(exist_ok=True)
            (release / "Dockerfile").write_text(f"FROM {image}\n")
            label = "--label=com.dokku.image-stage=release"
            self.engine.docker("image", "build", *labels, label, f"--tag={image}", str(release))
            self._start(app, image)
            said.append(self.trigger("post-deploy", app, "80", self.address(app), "latest"))
        return output(said)

    def _start(self, app: str, image: str) -> None:
        """The new container beside the old one; when it answers, it takes its place."""
        name = f"{app}.web.1"
        words = ["--detach", f"--name={name}.upcoming", f"--label=com.dokku.app-name={app}", "--label=dokku"]
        words += [f"--network={(self.lib / 'config/network' / app / 'attach-post-create').read_text().strip()}"]
        words += [f"--env={key}={value}" for key, value in self.config(app).items()]
        self.engine.docker("container", "run", *words, image)
        self.get(f"{name}.upcoming", "/")
        self.engine.attempt("container", "rm", "--force", name)
        self.engine.docker("container", "rename", f"{name}.upcoming", name)

    def address(self, app: str) -> str:
        return self._address(f"{app}.web.1")

    def _address(self, container: str) -> str:
        """In the network that it is on: the engine's own answer, and an address of this machine's networks alone."""
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        found = ipaddress.ip_address(self.engine.docker("container", "inspect", f"--format={template}", container))
        assert found.is_private
        return str(found)

    def get(self, container: str, path: str) -> object:
        """What the app in that container answers, when it does."""
        for _ in range(200):
            try:
                with urllib.request.urlopen(f"http://{self._address(container)}{path}", timeout=10) as answer:
                    return json.load(answer)
            except OSError:
                time.sleep(0.1)
        logs = self.engine.attempt("container", "logs", container)
        raise AssertionError(f"{container} never answered: {logs.stdout}{logs.stderr}")
