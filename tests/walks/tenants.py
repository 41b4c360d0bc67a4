"""What `tenants` is while a page is walked: the real command, forked (see forked.py), which says yes to a question.

It keeps the last line of a DATABASE_URL and the last id of a snapshot that were printed, for what is typed next.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import forked

WORLD = Path(os.environ["WALK"])


def main() -> None:
    arguments = sys.argv[1:]
    if arguments[:1] in (["connect"], ["fetch"]):  # what goes through them is no text of ours
        os.execv(os.environ["WALK_TENANTS"], ["tenants", *arguments])
    if arguments[:1] in (["undo"], ["drop"]):
        arguments.append("--yes")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WALK")}
    code, out, err = forked.run(arguments, environment, Path.cwd(), 120, (WORLD / "forked").read_text())
    sys.stderr.write(err)
    sys.stderr.flush()
    sys.stdout.write(out)
    for name, pattern in (("url", r"(?m)^(DATABASE_URL=\S+)$"), ("id", r"([0-9]{8}T[0-9]{6}Z-[a-z0-9]{6})")):
        if found := re.findall(pattern, out):
            (WORLD / name).write_text(found[-1])
    raise SystemExit(code)


if __name__ == "__main__":
    main()
