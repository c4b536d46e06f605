"""What an account's limits are counted by."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("uploads") as uploads:
        uploads.add_column(sa.Column("bytes", sa.BigInteger(), nullable=False, server_default="0"))
        uploads.add_column(sa.Column("open_until", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_batches_account_state", "batches", ["account_id", "state"])
    op.create_index("ix_files_account_bytes", "files", ["account_id", "bytes"])


def downgrade() -> None:
    op.drop_index("ix_files_account_bytes", "files")
    op.drop_index("ix_batches_account_state", "batches")
    with op.batch_alter_table("uploads") as uploads:
        uploads.drop_column("open_until")
        uploads.drop_column("bytes")
