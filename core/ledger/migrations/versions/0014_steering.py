"""Steering: names, priorities, pauses, canaries, rescues, reused answers, retries, deletion."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.String(), nullable=False, server_default="")


def _number(name: str, default: int = 0) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=False, server_default=str(default))


def _priority() -> sa.Column[int]:
    return sa.Column("priority", sa.Integer(), nullable=False, server_default="2")


_BATCHES: list[sa.Column[Any]] = [
    _text("name"),
    _priority(),
    _text("parent_id"),
    sa.Column("paused_at", _MOMENT, nullable=True),
    _text("paused_by"),
    sa.Column("canary_lines", sa.Integer(), nullable=False, server_default="0"),
    sa.Column("canary_max_failure_rate", sa.Float(), nullable=False, server_default="0"),
    _text("canary_state"),
    sa.Column("max_failure_rate", sa.Float(), nullable=True),
    _text("halt_code"),
    _text("halt_message"),
    _number("halted_revision"),
    sa.Column("rescue_seconds", sa.Float(), nullable=True),
    _number("rescued"),
    sa.Column("reuse_seconds", sa.Float(), nullable=True),
    _number("reused"),
    _number("saved_nanos"),
    sa.Column("retention_seconds", sa.Float(), nullable=True),
    sa.Column("results_expire_at", _MOMENT, nullable=True),
    sa.Column("deleted_at", _MOMENT, nullable=True),
]
_SHARDS: list[sa.Column[Any]] = [
    _text("purpose"),
    _priority(),
    _number("withheld"),
    _number("settled_revision"),
]
_FILES: list[sa.Column[Any]] = [
    sa.Column("expires_at", _MOMENT, nullable=True),
    _text("source_file_id"),
]
_ACCOUNTS: list[sa.Column[Any]] = [sa.Column("retention_seconds", sa.Float(), nullable=True)]
_CHANGED = {"batches": _BATCHES, "shards": _SHARDS, "files": _FILES, "accounts": _ACCOUNTS}


def upgrade() -> None:
    for table, columns in _CHANGED.items():
        with op.batch_alter_table(table) as changed:
            for column in columns:
                changed.add_column(column)
    for name, condition in (
        ("parent_id", "parent_id <> ''"),
        ("results_expire_at", "results_expire_at IS NOT NULL"),
    ):
        op.create_index(
            f"ix_batches_{name}",
            "batches",
            [name],
            sqlite_where=sa.text(condition),
            postgresql_where=sa.text(condition),
        )
    op.create_index("ix_files_expires_at", "files", ["expires_at"])
    op.create_table(
        "provider_pauses",
        sa.Column("provider", sa.String(), primary_key=True),
        sa.Column("paused_at", _MOMENT, nullable=False),
        _text("paused_by"),
    )
    op.create_table(
        "batch_durations",
        sa.Column("shard_id", sa.String(), primary_key=True),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("provider", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("line_count", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("ended_at", _MOMENT, nullable=False),
    )
    op.create_index(
        "ix_batch_durations_model", "batch_durations", ["provider", "model", "ended_at"]
    )


def downgrade() -> None:
    op.drop_table("batch_durations")
    op.drop_table("provider_pauses")
    op.drop_index("ix_files_expires_at", "files")
    for name in ("parent_id", "results_expire_at"):
        op.drop_index(f"ix_batches_{name}", "batches")
    for table, columns in _CHANGED.items():
        with op.batch_alter_table(table) as changed:
            for column in columns:
                changed.drop_column(column.name)
