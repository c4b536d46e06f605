"""The trace that a batch belongs to."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("batches") as batches:
        batches.add_column(sa.Column("traceparent", sa.String(), nullable=False, server_default=""))


def downgrade() -> None:
    with op.batch_alter_table("batches") as batches:
        batches.drop_column("traceparent")
