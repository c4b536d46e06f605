"""Enqueued-token budgets."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "token_budgets",
        sa.Column("provider", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("limit_tokens", sa.BigInteger(), nullable=True),
        sa.Column("stated", sa.Boolean(), nullable=False),
        sa.Column("learned_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("bytes_per_token", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("provider", "model"),
    )
    with op.batch_alter_table("shards") as shards:
        shards.add_column(sa.Column("account_id", sa.String(), nullable=False, server_default=""))
        shards.add_column(sa.Column("tokens", sa.BigInteger(), nullable=False, server_default="0"))
        shards.add_column(
            sa.Column("token_refusals", sa.Integer(), nullable=False, server_default="0")
        )
        shards.add_column(
            sa.Column("waits_for_room", sa.Boolean(), nullable=False, server_default=sa.false())
        )


def downgrade() -> None:
    with op.batch_alter_table("shards") as shards:
        for name in ("waits_for_room", "token_refusals", "tokens", "account_id"):
            shards.drop_column(name)
    op.drop_table("token_budgets")
