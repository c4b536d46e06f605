"""When an attempt's create may have left, and with which credential."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("shards") as shards:
        shards.add_column(sa.Column("sending_at", sa.DateTime(timezone=True), nullable=True))
        shards.add_column(sa.Column("credential", sa.String(), nullable=False, server_default=""))
    # Nobody noted it for the attempts that are under way: they may all have been sent.
    op.execute("UPDATE shards SET sending_at = intended_at WHERE state = 'submitting'")


def downgrade() -> None:
    with op.batch_alter_table("shards") as shards:
        shards.drop_column("credential")
        shards.drop_column("sending_at")
