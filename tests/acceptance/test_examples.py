"""The apps in examples/ run: each as its README says, for real, on what its tenant's revisions have made."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from support import REPOSITORY, Bucket, Database
from throwaway_postgres import free_port
from walks.walk import Walk

EXAMPLES = REPOSITORY / "examples"
PORTS = {"fruits": "8080", "node": "8081", "python": "8082"}
UNTIL_IT_SERVES = "for i in $(seq 200); do (: < /dev/tcp/localhost/PORT) 2>/dev/null && break; sleep 0.05; done"


@pytest.fixture
def machine(tmp_path: Path, database: Database, bucket: Bucket) -> Walk:
    return Walk(tmp_path, database, bucket)


def follow(machine: Walk, example: str) -> None:
    """Do what the README says, in a copy of the example, with the admin's URL; its port is a free one."""
    source = EXAMPLES / example
    shutil.copytree(
        source, machine.home, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "node_modules")
    )
    machine.replacements[PORTS[example]] = str(free_port())
    machine.replacements["sleep 1"] = UNTIL_IT_SERVES.replace("PORT", machine.replacements[PORTS[example]])
    on_your_machine, *_ = (source / "README.md").read_text().partition("## On Dokku")
    machine.type(on_your_machine, machine.admin | {"TENANTS_STORE": f"file://{machine.folder}/snapshots"})


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_fruits_answers_with_what_its_revision_has_made(machine: Walk, bun: str) -> None:
    machine.environment["PATH"] += os.pathsep + bun
    follow(machine, "fruits")


@pytest.mark.skipif(not (shutil.which("npm") and shutil.which("curl")), reason="npm or curl is not installed")
def test_node_counts_the_visits(machine: Walk) -> None:
    follow(machine, "node")


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_python_keeps_notes(machine: Walk) -> None:
    follow(machine, "python")
