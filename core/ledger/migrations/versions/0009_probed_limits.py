"""Token limits that are probed: what the provider named last, and the probe under way."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("token_budgets") as budgets:
        budgets.add_column(sa.Column("stated_tokens", sa.BigInteger(), nullable=True))
        for name in ("refused_alone", "probe_shard"):
            budgets.add_column(sa.Column(name, sa.String(), nullable=False, server_default=""))
        budgets.add_column(
            sa.Column("probe_tokens", sa.BigInteger(), nullable=False, server_default="0")
        )
        budgets.add_column(sa.Column("probe_at", sa.DateTime(timezone=True), nullable=True))
        budgets.add_column(sa.Column("probe_pause", sa.Float(), nullable=False, server_default="0"))
    op.execute("UPDATE token_budgets SET stated_tokens = limit_tokens WHERE stated")
    with op.batch_alter_table("token_budgets") as budgets:
        budgets.drop_column("stated")


def downgrade() -> None:
    with op.batch_alter_table("token_budgets") as budgets:
        budgets.add_column(
            sa.Column("stated", sa.Boolean(), nullable=False, server_default=sa.false())
        )
    op.execute("UPDATE token_budgets SET stated = (stated_tokens IS NOT NULL)")
    with op.batch_alter_table("token_budgets") as budgets:
        for name in (
            "probe_pause",
            "probe_at",
            "probe_tokens",
            "probe_shard",
            "refused_alone",
            "stated_tokens",
        ):
            budgets.drop_column(name)
