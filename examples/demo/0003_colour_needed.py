"""Every fruit must have a colour: a mistake, since none has one yet."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute("CREATE TABLE colours (name text PRIMARY KEY)")
    op.alter_column("items", "colour", nullable=False)


def downgrade() -> None:
    op.alter_column("items", "colour", nullable=True)
    op.execute("DROP TABLE colours")
