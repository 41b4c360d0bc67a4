"""README and docs/ are walked: what they tell to type works, in their order, and prints what they say."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from support import REPOSITORY, Bucket, Database, Place
from throwaway_postgres import wheel_binaries
from walks.walk import Walk

DOCS = REPOSITORY / "docs"

pytestmark = [
    pytest.mark.skipif(not shutil.which("git") or not shutil.which("curl"), reason="git or curl is not installed"),
    pytest.mark.skipif(not (REPOSITORY / ".git").exists(), reason="this is no clone, and the pages clone it"),
]


def test_the_tutorial_leads_where_it_says(tmp_path: Path, database: Database, bucket: Bucket, bun: str) -> None:
    Walk(tmp_path, database, bucket, path=[bun]).type((DOCS / "tutorial.md").read_text())


def test_what_the_readme_says_puts_it_into_a_dokku(tmp_path: Path, database: Database, bucket: Bucket) -> None:
    (tmp_path / "server.json").write_text(NOTHING_BUT_POSTGRES)
    Walk(tmp_path, database, bucket).type((REPOSITORY / "README.md").read_text())


NOTHING_BUT_POSTGRES = """
{"apps": {}, "networks": [], "plugins": ["dokku-postgres"], "services": {"db": {"networks": [], "ever": []}}}
"""

AT_ONCE = ("backups-r2", "limits", "restore", "encryption", "managed", "backups-hetzner")
"""How-tos that begin with a control app and a tenant `fruits`, and leave it in order."""


@pytest.fixture
def walk(tmp_path: Path, place: Place, bucket: Bucket) -> Walk:
    """With a control app that has the migrations of the place, and an app `fruits` that is linked."""
    place.environment |= bucket.environment | {"TENANTS_STORE": f"s3://{bucket.name}/dokku"}
    place.fruits()
    home = tmp_path / "walk"
    home.mkdir()
    made = Walk(home, place.database, bucket)
    made.serving("fruits")
    (home / "apps" / "control" / "migrations").symlink_to(place.migrations)
    return made


def test_how_tos_work_on_a_server_that_is_set_up(walk: Walk, place: Place) -> None:
    pyrage = pytest.importorskip("pyrage", reason="the extra 'age' is what one of them is about")
    place.deployed()
    place.colour()
    place.deployed()
    walk.replacements["<the URL>"] = place.database.url
    walk.replacements["<age1…>"] = str(pyrage.x25519.Identity.generate().to_public())
    for name in AT_ONCE:
        walk.type((DOCS / "howto" / f"{name}.md").read_text())


def test_what_is_there_already_becomes_a_tenant_as_the_how_tos_say(walk: Walk, place: Place) -> None:
    place.database.sql("CREATE TABLE public.items (name text PRIMARY KEY); INSERT INTO public.items VALUES ('apple')")
    dump = [str(wheel_binaries() / "pg_dump"), "-Fc", "--no-acl", "--no-owner", f"--dbname={place.database.url}"]
    (walk.folder / "export").write_bytes(subprocess.run(dump, capture_output=True, check=True).stdout)
    with tarfile.open(walk.home / "backup.tgz", "w:gz") as tar:
        tar.add(walk.folder / "export", "backup/export")
    for name in ("adopt", "from-dokku-postgres-backups"):
        walk.type((DOCS / "howto" / f"{name}.md").read_text())
    for schema in ("fruits", "old"):
        assert place.database.sql(f"SELECT name FROM {schema}.items") == [("apple",)]
    assert place.tenants("audit").code == 0, place.tenants("audit").said
