"""What the site has that is no file of docs/: the order of its pages, the README as its first one, and the commands.

A page that is new in docs/howto appears by itself, after those that are named here.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from tenants.cli import cli

DOCS = Path(__file__).parent
REPOSITORY = DOCS.parent

FIRST = ("control-repo", "in-app", "plugin", "buildpack", "new-project", "revisions", "adopt", "limits")
"""How-tos, in the order in which somebody needs them; the others follow by name."""

PLACED = ("tutorial", "contract", "releasing")
"""Pages that have a place of their own; the others explain."""

ELSEWHERE = {"index.md": "README.md", "changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}
"""Pages that are files of the repository's top."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    names = sorted(path.stem for path in (DOCS / "howto").glob("*.md"))
    ordered = [name for name in FIRST if name in names] + [name for name in names if name not in FIRST]
    explained = sorted(path.name for path in DOCS.glob("*.md") if path.stem not in PLACED)
    config.nav = [
        {"Start": ["index.md", "tutorial.md"]},
        {"How to": [f"howto/{name}.md" for name in ordered]},
        {"Reference": ["commands.md", "contract.md", "changelog.md"]},
        {"Explanation": explained},
        {"Taking part": ["contributing.md", "releasing.md"]},
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name, source in ELSEWHERE.items():
        files.append(File.generated(config, name, content=(REPOSITORY / source).read_text("utf-8")))
    files.append(File.generated(config, "commands.md", content=commands()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: object) -> str:
    """Links are written for the repository; here they lead to the site's pages, or to the repository's."""
    uri = page.file.src_uri
    source = REPOSITORY / ELSEWHERE[uri] if uri in ELSEWHERE else DOCS / uri

    def led(link: re.Match[str]) -> str:
        target = Path(os.path.normpath(source.parent / link["path"]))
        if not target.exists():
            return link[0]  # a fault, or a generated page: the strict build tells
        if target.is_relative_to(DOCS):
            there = target.relative_to(DOCS).as_posix()
        else:
            name = target.relative_to(REPOSITORY).as_posix()
            pages = {source: page for page, source in ELSEWHERE.items()}
            if name not in pages:
                return f"]({config.repo_url}/blob/main/{name}{link['anchor'] or ''})"
            there = pages[name]
        return f"]({os.path.relpath(there, Path(uri).parent)}{link['anchor'] or ''})"

    return re.sub(r"\]\((?![a-z]+:|#)(?P<path>[^)#\s]+)(?P<anchor>#[^)]*)?\)", led, markdown)


def commands() -> str:
    """All commands with their help, as a page."""
    context = click.Context(cli, info_name="tenants")
    parts = ["# Commands", "Each of these answers `--help` with the same."]
    parts += [_help(cli, context)]
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        parts += [f"## tenants {name}", _help(command, click.Context(command, parent=context, info_name=name))]
    return "\n\n".join(parts) + "\n"


def _help(command: click.Command, context: click.Context) -> str:
    context.max_content_width = 90
    return f"```text\n{command.get_help(context)}\n```"
