"""Images, recordings and files count by their own rules, not as text."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("shards") as shards:
        for name in ("media_bytes", "media_tokens"):
            shards.add_column(sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
    with op.batch_alter_table("token_budgets") as budgets:
        budgets.add_column(
            sa.Column("media_factor", sa.Float(), nullable=False, server_default="1")
        )


def downgrade() -> None:
    with op.batch_alter_table("token_budgets") as budgets:
        budgets.drop_column("media_factor")
    with op.batch_alter_table("shards") as shards:
        for name in ("media_tokens", "media_bytes"):
            shards.drop_column(name)
