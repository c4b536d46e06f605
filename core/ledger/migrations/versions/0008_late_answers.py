"""Late answers, kept uploads, holds and durations of providers, probed token limits."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


_RENAMED = {
    "shards": {
        "waits_for_room": "waits_for_quota",
        "quiet_at": "no_inflight_since",
        "sending_at": "dispatched_at",
    },
    "batches": {"finished_peak": "finished_high_water"},
}


def upgrade() -> None:
    for table, names in _RENAMED.items():
        for old, new in names.items():
            op.alter_column(table, old, new_column_name=new)
    with op.batch_alter_table("shards") as shards:
        shards.add_column(sa.Column("file_token", sa.String(), nullable=False, server_default=""))
        shards.add_column(sa.Column("uploaded_at", sa.DateTime(timezone=True), nullable=True))
        shards.add_column(
            sa.Column("stray_uploads", sa.Boolean(), nullable=False, server_default=sa.false())
        )
        shards.add_column(sa.Column("inputs_due_at", sa.DateTime(timezone=True), nullable=True))
        shards.add_column(sa.Column("remote_result", sa.JSON(), nullable=True))
        shards.add_column(sa.Column("given_up_at", sa.DateTime(timezone=True), nullable=True))
        shards.add_column(sa.Column("late_until", sa.DateTime(timezone=True), nullable=True))
        shards.add_column(
            sa.Column("late_merged", sa.Boolean(), nullable=False, server_default=sa.false())
        )
    op.create_index(
        "ix_shards_given_up",
        "shards",
        ["given_up_at"],
        sqlite_where=sa.text("given_up_at IS NOT NULL"),
        postgresql_where=sa.text("given_up_at IS NOT NULL"),
    )
    op.create_index(
        "ix_shards_inputs_due",
        "shards",
        ["inputs_due_at"],
        sqlite_where=sa.text("inputs_due_at IS NOT NULL"),
        postgresql_where=sa.text("inputs_due_at IS NOT NULL"),
    )
    # The custom ids of what is at the providers carry the token of its attempt.
    op.execute("UPDATE shards SET file_token = token")
    with op.batch_alter_table("batches") as batches:
        batches.add_column(
            sa.Column("fail_fast", sa.Boolean(), nullable=False, server_default=sa.false())
        )
        batches.add_column(sa.Column("late", sa.BigInteger(), nullable=False, server_default="0"))
        batches.add_column(
            sa.Column("awaited", sa.BigInteger(), nullable=False, server_default="0")
        )
        batches.add_column(sa.Column("awaited_until", sa.DateTime(timezone=True), nullable=True))
        batches.add_column(
            sa.Column("results_revision", sa.Integer(), nullable=False, server_default="0")
        )
        batches.add_column(sa.Column("assembler", sa.String(), nullable=False, server_default=""))
    op.execute("UPDATE batches SET results_revision = 1 WHERE results_prefix != ''")
    op.create_table(
        "provider_holds",
        sa.Column("provider", sa.String(), primary_key=True),
        sa.Column("credential", sa.String(), primary_key=True),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "provider_durations",
        sa.Column("provider", sa.String(), primary_key=True),
        sa.Column("model", sa.String(), primary_key=True),
        sa.Column("mean_seconds", sa.Float(), nullable=False),
        sa.Column("ended", sa.BigInteger(), nullable=False),
        sa.Column("learned_at", sa.DateTime(timezone=True), nullable=False),
    )
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
    op.drop_table("provider_durations")
    op.drop_table("provider_holds")
    with op.batch_alter_table("batches") as batches:
        for name in (
            "assembler",
            "results_revision",
            "awaited_until",
            "awaited",
            "late",
            "fail_fast",
        ):
            batches.drop_column(name)
    op.drop_index("ix_shards_inputs_due", "shards")
    op.drop_index("ix_shards_given_up", "shards")
    with op.batch_alter_table("shards") as shards:
        for name in (
            "late_merged",
            "late_until",
            "given_up_at",
            "remote_result",
            "inputs_due_at",
            "stray_uploads",
            "uploaded_at",
            "file_token",
        ):
            shards.drop_column(name)
    for table, names in _RENAMED.items():
        for old, new in names.items():
            op.alter_column(table, new, new_column_name=old)
