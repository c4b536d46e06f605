"""Lenient translation."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("batches") as batches:
        batches.add_column(
            sa.Column(
                "lenient_translation", sa.Boolean(), nullable=False, server_default=sa.false()
            )
        )
    with op.batch_alter_table("files") as files:
        files.add_column(
            sa.Column("lenient_line_count", sa.BigInteger(), nullable=False, server_default="0")
        )


def downgrade() -> None:
    with op.batch_alter_table("files") as files:
        files.drop_column("lenient_line_count")
    with op.batch_alter_table("batches") as batches:
        batches.drop_column("lenient_translation")
