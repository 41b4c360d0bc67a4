"""What is measured rather than tested: memory, disk, waits. docs/performance.md has the figures.

They stand on what the tests stand on: the same servers, the same way to type a command.
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("tests", "examples")]
