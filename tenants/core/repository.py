"""What a repository is, told from the names and texts of its files: an app, in which language, with which migrations;
or a control repository."""

from __future__ import annotations

import configparser
import re
import tomllib
from collections.abc import Mapping, Set
from dataclasses import dataclass


@dataclass(frozen=True)
class Tool:
    """Another way to migrate, and the command that does it in a container: that of docs/howto/other-tools.md."""

    name: str
    command: str


_LANGUAGES = {
    "Python": ("requirements.txt", "pyproject.toml", "Pipfile", "setup.py", "requirements.in", "uv.lock"),
    "Bun": ("bun.lock", "bun.lockb"),
    "Node": ("package.json",),
    "Deno": ("deno.json",),
    "Go": ("go.mod",),
    "Ruby": ("Gemfile",),
    "PHP": ("composer.json",),
    "Rust": ("Cargo.toml",),
    "Elixir": ("mix.exs",),
    "Java": ("pom.xml", "build.gradle"),
}
_BUILDS = ("Dockerfile", "Procfile", ".buildpacks", "project.toml", "nixpacks.toml")
_SOURCES = (
    ".py",
    ".js",
    ".mjs",
    ".ts",
    ".tsx",
    ".go",
    ".rb",
    ".php",
    ".rs",
    ".ex",
    ".exs",
    ".java",
    ".kt",
    ".jar",
    ".html",
)
_TOOLS = (
    (("prisma/schema.prisma", "schema.prisma"), Tool("Prisma", "node_modules/.bin/prisma migrate deploy")),
    (("manage.py",), Tool("Django", "python manage.py migrate --no-input")),
    (
        ("knexfile.js", "knexfile.ts", "knexfile.mjs", "knexfile.cjs"),
        Tool("Knex", "node_modules/.bin/knex migrate:latest"),
    ),
    (
        ("drizzle.config.ts", "drizzle.config.js", "drizzle.config.mjs", "drizzle.config.json"),
        Tool("Drizzle", "node migrate.js"),
    ),
    (("bin/rails",), Tool("Rails", "bin/rails db:migrate")),
)
_FOLDERS = ("migrations", "db/migrations", "alembic")

LOOKED_AT = (
    *(name for names, _ in _TOOLS for name in names),
    *("hooks/predeploy", "hooks/postdeploy", "bin/predeploy", "bin/postdeploy", "scripts/predeploy"),
)
"""Paths below the folder itself that tell something."""

READ = (
    *("app.json", "Procfile", "Dockerfile", "requirements.txt", "pyproject.toml", "Pipfile", "setup.py", "alembic.ini"),
    *("hooks/predeploy", "hooks/postdeploy", "bin/predeploy", "bin/postdeploy", "scripts/predeploy"),
)
"""Files whose text tells something."""


@dataclass(frozen=True)
class Tree:
    """What was found in a folder."""

    names: Set[str]
    """Of what lies in it, and of those in LOOKED_AT that are there."""
    texts: Mapping[str, str]
    """Of those in READ that are there."""
    filled: Set[str] = frozenset()
    """Of the folders that migrations may be in, those that hold anything."""
    versioned: Set[str] = frozenset()
    """Those that hold revisions, be it of several projects."""
    told: bool | None = None
    """Whether somebody has said that it is a control repository, or that it is not."""

    @property
    def control(self) -> bool:
        """Whether it is a control repository: it has our agent, or no app in it."""
        if self.told is not None:
            return self.told
        return "tenants agent" in self.texts.get("Procfile", "") or not self._app

    @property
    def _app(self) -> bool:
        marks = {*_BUILDS, *(name for names in _LANGUAGES.values() for name in names)}
        return bool(self.names & marks or self.tool or any(name.endswith(_SOURCES) for name in self.names))

    @property
    def languages(self) -> dict[str, str]:
        """Each with the file that says so."""
        found = {language: next(filter(self.names.__contains__, files), "") for language, files in _LANGUAGES.items()}
        if found["Bun"]:
            found["Node"] = ""
        return {language: file for language, file in found.items() if file}

    @property
    def python(self) -> bool:
        """Whether the app's image will have Python in it: then `tenants` can be there, too."""
        image = self.texts.get("Dockerfile")
        return "Python" in self.languages and (image is None or bool(re.search(r"\b(python|pip|uv|poetry)", image)))

    @property
    def tool(self) -> Tool | None:
        """The other tool that migrates here, if there is one."""
        return next((tool for files, tool in _TOOLS if self.names & set(files)), None)

    @property
    def alembic(self) -> str | None:
        """The folder of Alembic's environment, as its configuration names it."""
        place = _of_ini(self.texts.get("alembic.ini", "")) or _of_toml(self.texts.get("pyproject.toml", ""))
        place = re.sub(r"^%\(here\)s/", "", place or "").strip("/").removeprefix("./")
        return place or None

    @property
    def candidates(self) -> tuple[str, ...]:
        """The folders that migrations may be in, the likeliest first."""
        return tuple(dict.fromkeys((*([self.alembic] if self.alembic else []), *_FOLDERS)))

    @property
    def migrations(self) -> str | None:
        """The folder that has revisions for us."""
        return next((place for place in self.candidates if place in self.versioned), None)

    def found(self) -> list[tuple[str, str]]:
        """What there is, in words, and the file or folder that says so."""
        told = [(language, file) for language, file in self.languages.items()]
        told += [("Docker" if n == "Dockerfile" else "processes" if n == "Procfile" else "buildpacks", n)
                 for n in _BUILDS if n in self.names]  # fmt: skip
        if self.tool:
            told += [(self.tool.name, name) for names, tool in _TOOLS if tool is self.tool
                     for name in names if name in self.names][:1]  # fmt: skip
        if self.migrations:
            words = "Alembic's revisions" if self.migrations == self.alembic else "revisions"
            told.append((words, self.migrations))
        return told


def _of_ini(text: str) -> str | None:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(text)
        return parser.get("alembic", "script_location", fallback=None)
    except configparser.Error:
        return None  # Alembic says it to whoever runs it


def _of_toml(text: str) -> str | None:
    try:
        found = tomllib.loads(text).get("tool", {}).get("alembic", {}).get("script_location")
    except (tomllib.TOMLDecodeError, AttributeError, RecursionError):
        return None
    return found if isinstance(found, str) else None
