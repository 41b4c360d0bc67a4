"""The table of items, with the first four."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    items = op.create_table("items", sa.Column("name", sa.Text, primary_key=True))
    op.bulk_insert(items, [{"name": name} for name in ("apple", "another-apple", "banana", "carrot")])


def downgrade() -> None:
    op.drop_table("items")
