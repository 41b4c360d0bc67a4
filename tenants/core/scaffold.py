"""What a repository lacks so that a push of it migrates: decided here from what lies in it, and written by `init`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tenants.core import appjson, templates
from tenants.core.errors import Refused
from tenants.core.repository import Tree

_DEPLOYS = re.compile(r"\btenants (deploy|run)\b")
_LIVE = re.compile(r"\btenants live\b")
_SIMPLE = re.compile(r"\s*(#.*|[A-Za-z0-9][\w.-]*(\[[\w,. -]+\])?\s*([<>=!~]=?=?[^;\\]*)?(;[^\\]*)?)?")
REQUIREMENT = "dokku-tenants[client]"


@dataclass(frozen=True)
class Step:
    """What one file lacks, or has."""

    file: str
    what: str
    """What is put into it; empty where nothing is, because it is there."""
    text: str = ""
    """All of the file, as it is to be."""
    before: str | None = None
    """All of it as it was read; None if it was not there."""


def steps(tree: Tree) -> tuple[Step, ...]:
    """What is to be written, file by file, and what is there already. Raises Refused, before anything is written, where
    something else stands in the place of what is needed."""
    return _control(tree) if tree.control else _app(tree)


def _control(tree: Tree) -> tuple[Step, ...]:
    wanted: list[tuple[appjson.Keys, object]] = [
        (("scripts", "dokku", "predeploy"), "tenants deploy"),
        (("scripts", "dokku", "postdeploy"), "tenants live"),
        (("formation", "agent", "quantity"), 1),
    ]
    made = [_app_json(tree, wanted)]
    for file, text, sign in (
        ("Procfile", templates.PROCFILE, "tenants agent"),
        ("Dockerfile", templates.DOCKERFILE, "tenants"),
    ):
        there = tree.texts.get(file)
        if there is not None and sign not in there:
            raise Refused(
                f"{file} is there and says nothing of `{sign}`: a control repository is one of its own, without an app",
                next="in a folder of its own: mkdir control && tenants init control --control",
                data="nothing was written",
            )
        made.append(Step(file, "" if there is not None else "a new file", there or text))
    if not tree.filled & {"migrations"}:
        made.append(Step("migrations/README.md", "a new file", templates.MIGRATIONS))
    return tuple(made)


def _app(tree: Tree) -> tuple[Step, ...]:
    made = []
    if tree.python:
        place = tree.migrations or "migrations"
        tell = "" if place == "migrations" else f"env TENANTS_MIGRATIONS={place} "
        deploys = f"tenants run -- {tree.tool.command}" if tree.tool else f"{tell}tenants deploy"
        wanted: list[tuple[appjson.Keys, object]] = [
            (("scripts", "dokku", "predeploy"), deploys),
            (("scripts", "dokku", "postdeploy"), "tenants live"),
        ]
        made.append(_app_json(tree, wanted))
        if plain := plain_requirements(tree):
            made.append(plain)
    if not tree.tool:
        first = "migrations/0001_first.sql"
        made.append(Step(tree.migrations, "") if tree.migrations else Step(first, "a new file", templates.FIRST))
    return tuple(made)


def _app_json(tree: Tree, wanted: Sequence[tuple[appjson.Keys, object]]) -> Step:
    file, text = "app.json", tree.texts.get("app.json")
    if text is None:
        text = "{}\n"
    else:
        appjson.check(file, text)
    added = []
    for keys, value in wanted:
        found = appjson.find(file, text, keys)
        if found is None:
            text = appjson.add(text, keys, value)
            added.append(".".join(keys))
        elif found.value != value and not _does_it(tree, keys[-1], found.value):
            name = ".".join(keys)
            raise Refused(
                f"{file}:{found.line}: {name} is {found.value!a} already, and has to be {value!a}",
                next=f"let it do both ({value} && …), or name a script that does; then: tenants init"
                if isinstance(value, str)
                else f"set {name} to {value} in {file}; then: tenants init",
                data="nothing was written",
            )
    return Step(file, ", ".join(added), text, tree.texts.get(file))


def _does_it(tree: Tree, key: str, value: object) -> bool:
    """Whether the command there, or the script that it names, calls us."""
    calls = {"predeploy": _DEPLOYS, "postdeploy": _LIVE}.get(key)
    if calls is None or not isinstance(value, str):
        return False
    script = tree.texts.get((value.split() or [""])[0].removeprefix("./"), "")
    return bool(calls.search(value) or calls.search(script))


def plain_requirements(tree: Tree) -> Step | None:
    """The requirements with ours, where a person keeps them by hand: no lock, no hashes, no file that they are made
    from. None where they are another program's, or there are none."""
    text = tree.texts.get("requirements.txt")
    if text is None:
        return None
    if re.search(r"^dokku[-_.]tenants\b", text, re.MULTILINE | re.IGNORECASE):
        return Step("requirements.txt", "")
    made = tree.names & {"requirements.in", "Pipfile", "uv.lock", "poetry.lock", "pdm.lock"}
    plain = all(_SIMPLE.fullmatch(line) and " --" not in line for line in text.splitlines())
    if made or "autogenerated" in text or not plain:
        return None
    newline = "\r\n" if "\r\n" in text else "\n"
    gap = newline if text and not text.endswith("\n") else ""
    return Step("requirements.txt", REQUIREMENT, f"{text}{gap}{REQUIREMENT}{newline}", text)


def next_steps(tree: Tree, app: str) -> list[str]:
    """What a person does then, in order. `app` is what the app is called, as far as the folder's name tells."""
    if tree.control:
        return [
            "commit, then on the server, once: dokku apps:create control, dokku postgres:link db control, and"
            " dokku config:set control TENANTS_STORE=… with the keys of the bucket",
            "git remote add dokku dokku@<server>:control && git push dokku main",
            'a project is a folder of its own: tenants revision -m "first" fruits',
        ]
    if not tree.python:
        told = ["this image has no Python, and so no `tenants` that app.json could call. One of these:"]
        told.append(f"the Dokku plugin, on the server: dokku tenants:link db {app}")
        if tree.tool:
            told.append(
                f"it runs {tree.tool.name} with a snapshot and a rehearsal before:"
                f" dokku tenants:set {app} migrate '{tree.tool.command}' (docs/howto/other-tools.md has what it needs)"
            )
        else:
            told.append(
                f"a control repository, which has the revisions of {app}:"
                " mkdir ../control && tenants init ../control --control"
            )
            told.append(f"then mv {tree.migrations or 'migrations'} ../control/migrations/{app}")
        return told
    told = []
    if not has_requirement(tree):
        told.append(_how_to_require(tree))
    told.append(
        f"on the server, once: dokku network:set {app} attach-post-create tenants, dokku enter control agent tenants"
        f" create {app} --rehearsal, and dokku config:set {app} with each line that it printed, TENANTS_STORE=…"
        " and the keys of the bucket"
    )
    told.append("tenants plan shows what a push will do" if tree.tool is None else "commit, and push")
    return told


def has_requirement(tree: Tree) -> bool:
    """Whether the image will have `tenants` in it, once everything is written."""
    named = any("dokku-tenants" in tree.texts.get(file, "") for file in ("pyproject.toml", "Pipfile", "setup.py"))
    return named or plain_requirements(tree) is not None


def _how_to_require(tree: Tree) -> str:
    for lock, command in (("uv.lock", "uv add"), ("poetry.lock", "poetry add"), ("pdm.lock", "pdm add")):
        if lock in tree.names:
            return f"{command} '{REQUIREMENT}'"
    if "Pipfile" in tree.names:
        return f"pipenv install '{REQUIREMENT}'"
    files = ("requirements.in", "requirements.txt", "pyproject.toml", "setup.py")
    file = next((name for name in files if name in tree.names), "your requirements")
    return f"add {REQUIREMENT} to {file}"
