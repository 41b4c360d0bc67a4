"""Scan: of a plain file it finds what the syntax tree says; of any other it says nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenants.core.errors import HistoryError
from tenants.core.history import parse_revision
from tenants.core.scan import scan

PIECES = st.sampled_from(
    [
        *('"""Text\n\nrevision = "x"\n"""\n', '"""a "quoted" word"""\n', "'''other'''\n", '"""open\n', '"""\n', "'\n"),
        *(
            'revision = "a"\n',
            "revision: str = 'a'\n",
            'revision = "a" "b"\n',
            'revision = "a"; x = 1\n',
            "revision = x\n",
        ),
        *(
            'down_revision = "b"\n',
            "down_revision = None\n",
            'down_revision = ("b", "c")\n',
            "depends_on = None  # no\n",
        ),
        *(
            "import os\n",
            "from x import (\n    y)\n",
            "from x import y\n",
            "import x; revision = 'z'\n",
            "# revision = 'c'\n",
        ),
        *("\n", "def upgrade():\n    revision = 'd'\n", "def upgrade():\n    pass\n", "if True:\n    revision = 'e'\n"),
        *(
            "x = 1; revision = 'f'\n",
            "ｒevision = 'g'\n",
            "# für\n",
            "\\\n",
            "branch_labels = 'l'\r\n",
            "\r",
            "revision = 'h'\r",
        ),
    ]
)


@given(st.lists(PIECES, max_size=8).map("".join))
def test_it_says_what_the_syntax_tree_says_or_nothing(text: str) -> None:
    found = scan([("0001.py", text)])
    if found is None:
        return
    try:
        read = parse_revision("0001.py", text)
    except HistoryError as error:
        assert "does not parse" in error.message  # below the identifiers: whoever runs it says so
        return
    (one,) = found
    assert (one.id, one.down, one.depends_on, one.labels) == (read.id, read.down, read.depends_on, read.labels)


TEMPLATE = '''"""step 2

Revision ID: 2f1a
Revises: 1ab3
Create Date: 2026-11-23 07:22:14

"""
from typing import Sequence, Union

from alembic import op
import sqlalchemy as sa


# revision identifiers, used by Alembic.
revision: str = "2f1a"
down_revision: Union[str, Sequence[str], None] = "1ab3"
branch_labels: Union[str, Sequence[str], None] = None
depends_on: Union[str, Sequence[str], None] = None


def upgrade() -> None:
    """Upgrade schema. Für alle."""
    op.add_column("items", sa.Column("colour", sa.Text))
'''


def test_what_alembic_writes_is_plain() -> None:
    found = scan([("a.py", TEMPLATE)])
    assert found and (found[0].id, found[0].down) == ("2f1a", ("1ab3",))


@pytest.mark.parametrize(
    "text", ["", "x = 1\n", 'revision = ""\n', 'revision = "a-b"\n', 'revision = "a"\nrevision = "b"\n']
)
def test_what_is_no_revision_is_left_to_others(text: str) -> None:
    assert scan([("a.py", text)]) is None


def test_a_sql_file_follows_the_one_before_it_by_name() -> None:
    found = scan([("0002_b.sql", ""), ("0001.py", 'revision = "0001"\n'), ("0003.sql", "")])
    assert found and [(one.id, one.down) for one in found] == [("0001", ()), ("0002", ("0001",)), ("0003", ("0002",))]
