"""Migration tools of others, as they are: each is stopped on the copy by today's rows, and gets through otherwise."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import Done, Place

PACKAGES = ("knex@3", "pg@8", "dbmate@2")

SETTINGS = """
import os
from urllib.parse import urlsplit, unquote

url = urlsplit(os.environ["DATABASE_URL"])
DATABASES = {"default": {
    "ENGINE": "django.db.backends.postgresql", "NAME": unquote(url.path[1:]), "USER": unquote(url.username),
    "PASSWORD": unquote(url.password), "HOST": url.hostname, "PORT": url.port,
}}
INSTALLED_APPS = ["shop"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
SECRET_KEY = "x"
USE_TZ = True
"""
MANAGE = """
import os, sys
from django.core.management import execute_from_command_line

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
execute_from_command_line(sys.argv)
"""
FIRST = """
from django.db import migrations, models

def fill(apps, editor):
    apps.get_model("shop", "Item").objects.create(name="apple")

class Migration(migrations.Migration):
    operations = [
        migrations.CreateModel("Item", [("id", models.AutoField(primary_key=True)), ("name", models.TextField())]),
        migrations.RunPython(fill),
    ]
"""
SECOND = """
from django.db import migrations, models

class Migration(migrations.Migration):
    dependencies = [("shop", "0001_items")]
    atomic = False
    operations = [
        migrations.AddField("Item", "colour", models.TextField(null=True)),
        migrations.RunSQL("ALTER TABLE shop_item ADD CHECK (name <> 'apple')"),
    ]
"""


@pytest.fixture
def shop(place: Place) -> Place:
    """A tenant without a table, and rehearsals, as by default."""
    del place.environment["TENANTS_REHEARSAL"]
    place.store_outside()
    assert place.tenants("create", "fruits").code == 0
    return place


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder node_modules, fetched once for all workers."""
    if not (shutil.which("npm") and shutil.which("node")):
        pytest.skip("npm is missing: knex and dbmate are not tried")
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "npm"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            command = ["npm", "install", "--no-audit", "--no-fund", "--no-save", "--prefix", str(folder), *PACKAGES]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder, check=False)
            except subprocess.TimeoutExpired:
                pytest.skip("npm does not get its packages here: knex and dbmate are not tried")
            if done.returncode:
                pytest.skip(f"npm does not get its packages here: knex and dbmate are not tried ({done.stderr[:200]})")
            (folder / "done").touch()
    return folder / "node_modules"


@pytest.fixture
def modules(shop: Place, installed: Path) -> Place:
    """The same with the packages in its folder, as `npm ci` leaves them."""
    shutil.copytree(installed, shop.folder / "node_modules", copy_function=os.link, symlinks=True)
    return shop


def write(place: Place, **files: str) -> None:
    for name, text in files.items():
        path = place.folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def tables(place: Place) -> list[str]:
    query = "SELECT relname FROM pg_class WHERE relnamespace = 'fruits'::regnamespace AND relkind = 'r' ORDER BY 1"
    return [row[0] for row in place.database.sql(query)]


def stopped_on_the_copy(place: Place, before: str, done: Done) -> None:
    assert done.code == 6 and "FAILED: on a copy of today's data" in done.err, done.said
    assert "Data:     untouched" in done.err and place.database.dump("fruits") == before
    place.nothing_left()


def test_django_migrates(shop: Place) -> None:
    """A migration that is not atomic would have left its column: it never reaches the live schema."""
    (shop.folder / "shop" / "migrations").mkdir(parents=True)
    for folder in ("shop", "shop/migrations"):
        (shop.folder / folder / "__init__.py").touch()
    (shop.folder / "settings.py").write_text(SETTINGS)
    (shop.folder / "manage.py").write_text(MANAGE)
    (shop.folder / "shop/migrations/0001_items.py").write_text(FIRST)
    command = ("run", "fruits", "--", sys.executable, "manage.py", "migrate", "--no-input")
    done = shop.tenants(*command)
    assert done.code == 0 and "Applying shop.0001_items... OK" in done.err, done.said
    assert tables(shop) == ["django_migrations", "shop_item"]
    again = shop.tenants(*command)
    assert again.code == 0 and "No migrations to apply" in again.err and "nothing has changed" in again.out, again.said
    second = shop.folder / "shop/migrations/0002_colour.py"
    second.write_text(SECOND)
    before = shop.database.dump("fruits")
    failed = shop.tenants(*command)
    stopped_on_the_copy(shop, before, failed)
    assert "is violated by some row" in failed.err and "Applying shop.0002_colour" in failed.err
    second.write_text(SECOND.replace("'apple'", "'pear'"))
    assert shop.tenants(*command).code == 0
    back = shop.tenants("undo", "fruits", "--yes")
    assert back.code == 0 and shop.database.dump("fruits") == before, back.said


KNEX = """
module.exports = { client: "pg", connection: process.env.DATABASE_URL, migrations: { directory: "./steps" } }
"""
ITEMS = """
exports.up = async (knex) => {
  await knex.schema.createTable("items", (table) => table.text("name").primary())
  await knex("items").insert({ name: "apple" })
}
exports.down = (knex) => knex.schema.dropTable("items")
"""
COLOUR = """
exports.up = (knex) => knex.raw("ALTER TABLE items ADD colour text NOT NULL DEFAULT_VALUE")
exports.down = (knex) => knex.raw("ALTER TABLE items DROP colour")
"""


def test_knex_migrates(modules: Place) -> None:
    write(modules, knexfile_dot_js=KNEX, steps__001_items_dot_js=ITEMS)
    command = ("run", "fruits", "--", "node_modules/.bin/knex", "migrate:latest")
    done = modules.tenants(*command)
    assert done.code == 0 and "Batch 1 run: 1 migrations" in done.err, done.said
    assert tables(modules) == ["items", "knex_migrations", "knex_migrations_lock"]
    before = modules.database.dump("fruits")
    write(modules, steps__002_colour_dot_js=COLOUR.replace("DEFAULT_VALUE", ""))
    failed = modules.tenants(*command)
    stopped_on_the_copy(modules, before, failed)
    assert 'column "colour" of relation "items" contains null values' in failed.err
    write(modules, steps__002_colour_dot_js=COLOUR.replace("DEFAULT_VALUE", "DEFAULT 'red'"))
    assert modules.tenants(*command).code == 0
    back = modules.tenants("undo", "fruits", "--yes")
    assert back.code == 0 and modules.database.dump("fruits") == before, back.said


def test_dbmate_migrates(modules: Place) -> None:
    step = "-- migrate:up\n{};\n-- migrate:down\n"
    write(modules, db__migrations__1_items_dot_sql=step.format("CREATE TABLE items AS SELECT 'apple' AS name"))
    modules.environment["DATABASE_URL"] += "?sslmode=disable"  # lib/pq insists on TLS
    command = ("run", "fruits", "--", "node_modules/.bin/dbmate", "--no-dump-schema", "migrate")
    done = modules.tenants(*command)
    assert done.code == 0 and "Applied: 1_items.sql" in done.err, done.said
    assert tables(modules) == ["items", "schema_migrations"]
    before = modules.database.dump("fruits")
    write(modules, db__migrations__2_check_dot_sql=step.format("ALTER TABLE items ADD CHECK (name <> 'apple')"))
    failed = modules.tenants(*command)
    stopped_on_the_copy(modules, before, failed)
    assert "is violated by some row" in failed.err
