"""Alembic's API in a loop, in one process: `upgrade head` for each DATABASE_URL that comes on standard input.

python -m benchmarks.loop PROJECT < urls
"""

from __future__ import annotations

import argparse
import os
import sys

from alembic import command
from alembic.config import Config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project")
    project = parser.parse_args().project
    for url in sys.stdin.read().split():
        os.environ["DATABASE_URL"] = url
        config = Config(toml_file="pyproject.toml")
        config.cmd_opts = argparse.Namespace(x=[f"project={project}"], cmd=[command.upgrade])
        command.upgrade(config, "head")


if __name__ == "__main__":
    main()
