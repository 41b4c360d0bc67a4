"""The main job in a page: what a push does for a project, and what it does when a migration fails.

    make demo

It starts a PostgreSQL of its own, and a folder stands for the bucket; both are gone afterwards. Nothing else is
touched, and Dokku is not needed: the hook is called as Dokku calls it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
from throwaway_postgres import throwaway_postgres

HERE = Path(__file__).parent
REPOSITORY = HERE.parent
BOLD, DIM, RESET = (
    ("\x1b[1m", "\x1b[2m", "\x1b[0m") if sys.stdout.isatty() and "NO_COLOR" not in os.environ else ("",) * 3
)


class Story:
    """Somebody with a Dokku server, one shared PostgreSQL, and a bucket."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.repository = folder / "control"
        (self.repository / "migrations").mkdir(parents=True)
        shutil.copytree(REPOSITORY / "hooks", self.repository / "hooks")
        self.database_url = database_url
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "DATABASE_URL": database_url,
            "TENANTS_STORE": f"file://{folder}/bucket",
            "TENANTS_SANDBOX": "weak",  # the server is a throwaway one
            "TERM": os.environ.get("TERM", "dumb"),
            "LANG": os.environ.get("LANG", "C.UTF-8"),
        }
        self.step = 0

    def tell(self, text: str) -> None:
        self.step += 1
        print(f"\n{BOLD}{self.step}. {text}{RESET}", flush=True)

    def run(self, *command: str, expect: int = 0, shown: str | None = None) -> str:
        """Type a command. Its progress goes where it would go; what it answers is returned as well."""
        print(f"{DIM}$ {shown or ' '.join(command)}{RESET}", flush=True)
        done = subprocess.run(
            command,
            cwd=self.repository,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=None if sys.stderr.isatty() else subprocess.STDOUT,
            text=True,
            check=False,
        )
        print(done.stdout, end="", flush=True)
        if done.returncode != expect:
            raise SystemExit(f"the demo expected exit code {expect} of {command}, and got {done.returncode}")
        return done.stdout

    def push(self, *revisions: Path, expect: int = 0) -> None:
        """What Dokku does with a push, as far as we are concerned: the new code's predeploy decides."""
        folder = self.repository / "migrations" / "fruits"
        folder.mkdir(exist_ok=True)
        for revision in revisions:
            shutil.copy(revision, folder)
        self.run("hooks/predeploy", expect=expect, shown="git push dokku main")
        released = "the new release starts" if expect == 0 else "exit code 6: Dokku stops here"
        print(f"{DIM}  … {released}{RESET}", flush=True)

    def look(self, query: str) -> None:
        with psycopg.connect(self.app_url) as connection:
            rows = connection.execute(query.encode()).fetchall()
        print(f"{DIM}  the app sees:{RESET} {', '.join(str(row[0]) for row in rows)}", flush=True)

    @property
    def app_url(self) -> str:
        return self.environment["APP_URL"]


def main() -> None:
    print(
        f"{BOLD}One shared PostgreSQL, and a project named fruits.{RESET} (starting a throwaway server …)", flush=True
    )
    with tempfile.TemporaryDirectory(prefix="tenants-demo-") as name:
        folder = Path(name)
        (folder / "server").mkdir()
        with throwaway_postgres(folder / "server") as server:
            tell_it(Story(folder, server.url()))
        leftovers = [path.name for path in folder.iterdir() if path.name not in ("server", "control", "bucket")]
    print(f"\nThe server and the folder are gone{', but left: ' + ', '.join(leftovers) if leftovers else ''}.")
    print("Next: README.md, “Put it into your Dokku”.")


def tell_it(story: Story) -> None:
    story.tell("A tenant: a schema that its own role owns, and a login for the app")
    created = story.run("tenants", "create", "fruits")
    story.environment["APP_URL"] = created.partition("DATABASE_URL=")[2].split()[0]

    story.tell("A first push: its first migration, in its own schema, as its own role")
    story.push(REPOSITORY / "migrations" / "fruits" / "0001_items.py")
    story.look("SELECT name FROM items ORDER BY name")

    story.tell("A second push: one more revision. There is data now, so a snapshot is taken and read back first")
    story.push(HERE / "demo" / "0002_add_colour.py")

    story.tell("A third push, with a mistake: no row has a colour yet. It is stopped, and nothing has changed")
    story.push(HERE / "demo" / "0003_colour_needed.py", expect=6)
    story.look("SELECT count(*) || ' items, at ' || version_num FROM items, alembic_version GROUP BY version_num")

    story.tell("Somebody deletes what they should not have, and the snapshot brings it back, with the app running")
    with psycopg.connect(story.app_url) as connection:
        connection.execute("DELETE FROM items")
    story.look("SELECT count(*) || ' items' FROM items")
    story.run("tenants", "snapshots", "fruits")
    story.run("tenants", "restore", "fruits")
    story.look("SELECT count(*) || ' items' FROM items")


if __name__ == "__main__":
    main()
