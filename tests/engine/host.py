"""A Dokku host as far as a push goes, on a real Docker engine.

Real are the engine, images, containers, networks and names in them, PostgreSQL, the bucket, the plugin, plugn where
this machine has it, and the app. Not real is Dokku itself: its functions are the stand-ins of `tests/plugin/standin`,
what dokku-postgres leaves is written here, and `push` does in Dokku's order what Dokku does: extract, build, release,
start.
"""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from engine.engine import BASE, Engine
from support import REPOSITORY, Bucket, Done

PLUGIN = REPOSITORY / "hooks" / "plugin"
STANDIN = REPOSITORY / "tests" / "plugin" / "standin"
SUPERUSER = "superusers-password-that-must-not-show"
SERVE = """
set -e
initdb --pgdata=/tmp/data --username=postgres --auth=scram-sha-256 --pwfile=<(echo "$POSTGRES_PASSWORD") --no-sync
echo "host all all all scram-sha-256" >>/tmp/data/pg_hba.conf
exec postgres -D /tmp/data -c listen_addresses=* -c unix_socket_directories=/tmp -c fsync=off
"""


@dataclass
class Host:
    place: Path
    engine: Engine
    bucket: Bucket
    network: str
    """What containers are on that are on no other one, as Docker's own bridge is for Dokku."""

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
        (self.place / "bin" / "plugn").symlink_to(shutil.which("plugn") or STANDIN / "plugn")
        self.environment = {
            "PATH": f"{self.place / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.place),
            "TMPDIR": str(self.place),
            "TERM": "dumb",
            "LC_ALL": "C.UTF-8",
            "DOKKU_ROOT": str(self.apps),
            "DOKKU_LIB_ROOT": str(self.lib),
            "DOKKU_NOT_IMPLEMENTED_EXIT": "10",
            "DOKKU_SYSTEM_USER": "root",
            "DOKKU_SYSTEM_GROUP": "root",
            "PLUGIN_PATH": str(plugins),
            "PLUGIN_AVAILABLE_PATH": str(plugins / "available"),
            "PLUGIN_ENABLED_PATH": str(plugins / "enabled"),
            "PLUGIN_CORE_AVAILABLE_PATH": str(STANDIN),
            "DOCKER_BIN": "docker",
            "TENANTS_CRON_D": str(self.cron),
            **self.engine.environment,
        }

    def dokku(self, command: str, *words: str) -> Done:
        """`dokku COMMAND …`: a subcommand of a plugin."""
        plugin, _, name = command.partition(":")
        return self._run([str(self.lib / "plugins" / "enabled" / plugin / "subcommands" / name), command, *words])

    def trigger(self, *words: str) -> Done:
        return self._run(["plugn", "trigger", *words])

    def _run(self, command: list[str]) -> Done:
        done = subprocess.run(
            command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=self.place,
            timeout=120,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

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
        folder = self.lib / "services" / "postgres" / "db"
        (folder / "backup").mkdir(parents=True)
        told = self.bucket.environment
        for name, text in {
            "PASSWORD": SUPERUSER,
            "DATABASE_NAME": "db",
            "LINKS": "",
            "backup/AWS_ACCESS_KEY_ID": told["AWS_ACCESS_KEY_ID"],
            "backup/AWS_SECRET_ACCESS_KEY": told["AWS_SECRET_ACCESS_KEY"],
            "backup/AWS_DEFAULT_REGION": "us-east-1",
            "backup/AWS_SIGNATURE_VERSION": "s3v4",
            "backup/ENDPOINT_URL": self.bucket.endpoint,
        }.items():
            (folder / name).write_text(text and f"{text}\n")
        line = f"0 3 * * * dokku /usr/bin/dokku postgres:backup db {self.bucket.name} \n"
        (self.cron / "dokku-postgres-db").write_text(line)

    def sql(self, query: str, database: str = "db") -> str:
        """As the superuser, in the service's container."""
        words = [f"--env=PGPASSWORD={SUPERUSER}", "dokku.postgres.db", "psql", "--no-psqlrc", "--tuples-only"]
        words += ["--no-align", "--host=127.0.0.1", "--username=postgres", f"--dbname={database}", f"--command={query}"]
        return self.engine.docker("container", "exec", *words)

    def create(self, app: str) -> None:
        (self.apps / app).mkdir()
        (self.apps / app / "ENV.json").write_text("{}")
        (self.apps / app / "DOCKER_OPTIONS").touch()

    def config(self, app: str) -> dict[str, str]:
        return json.loads((self.apps / app / "ENV.json").read_text())  # type: ignore[no-any-return]

    def push(self, app: str, source: Path, rev: str) -> Done:
        """A push of what is in `source`, which has a Dockerfile. When a trigger fails, Dokku goes no further."""
        said = [self.trigger("post-extract", app, str(source), rev)]
        image, labels = f"dokku/{app}:latest", ("--label=dokku", f"--label=com.dokku.app-name={app}")
        self.engine.docker(
            "image", "build", *labels, "--label=com.dokku.image-stage=build", f"--tag={image}", str(source)
        )
        if said[-1].code == 0:
            said.append(self.trigger("post-build", "dockerfile", app, str(source)))
        if said[-1].code == 0:
            release = self.place / "release"
            release.mkdir(exist_ok=True)
            (release / "Dockerfile").write_text(f"FROM {image}\n")
            label = "--label=com.dokku.image-stage=release"
            self.engine.docker("image", "build", *labels, label, f"--tag={image}", str(release))
            self._start(app, image)
            said.append(self.trigger("post-deploy", app, "80", self.address(app), "latest"))
        return Done(said[-1].code, "".join(done.out for done in said), "".join(done.err for done in said))

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
