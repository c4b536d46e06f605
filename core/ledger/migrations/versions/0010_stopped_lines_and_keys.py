"""Cancelled and expired lines apart from failed ones, why all failed, tried keys."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_CODES = {"cancelled": "batch_cancelled", "expired": "batch_expired"}


def upgrade() -> None:
    for table in ("shards", "batches"):
        with op.batch_alter_table(table) as columns:
            for name in _CODES:
                columns.add_column(
                    sa.Column(name, sa.BigInteger(), nullable=False, server_default="0")
                )
    with op.batch_alter_table("batches") as batches:
        batches.add_column(sa.Column("common_cause", sa.JSON(), nullable=True))
    for name, code in _CODES.items():
        # What was mixed with other lines in a result file stays counted as failed.
        op.execute(
            f"UPDATE shards SET {name} = failed "
            f"WHERE fill_code = '{code}' AND results_prefix = '' AND state = 'settled'"
        )
        op.execute(
            f"UPDATE batches SET {name} = "
            f"(SELECT COALESCE(SUM({name}), 0) FROM shards WHERE batch_id = batches.id)"
        )
    op.create_table(
        "provider_keys",
        sa.Column("provider", sa.String(), primary_key=True),
        sa.Column("credential", sa.String(), primary_key=True),
        sa.Column("accepted", sa.Boolean(), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("provider_keys")
    with op.batch_alter_table("batches") as batches:
        batches.drop_column("common_cause")
    for table in ("shards", "batches"):
        with op.batch_alter_table(table) as columns:
            for name in _CODES:
                columns.drop_column(name)
