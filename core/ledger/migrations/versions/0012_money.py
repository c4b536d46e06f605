"""Money: what accounts have, hold and spend; keys with scopes and budgets; usage by model.

Batches from before have no cost here: it takes the price table to reckon it, which the services
do when they start (core/pipeline/backfill.py).
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=False, server_default="0")


def _text(name: str, default: str = "") -> sa.Column[str]:
    return sa.Column(name, sa.String(), nullable=False, server_default=default)


def _added() -> dict[str, tuple[sa.Column[Any], ...]]:
    return {
        "accounts": (
            _text("funding", "metered"),
            _count("balance_nanos"),
            _count("reserved_nanos"),
            sa.Column("budget_nanos", sa.BigInteger(), nullable=True),
            _text("budget_period", "total"),
        ),
        "api_keys": (
            _text("scope", "batch"),
            _count("reserved_nanos"),
            sa.Column("budget_nanos", sa.BigInteger(), nullable=True),
            _text("budget_period", "total"),
            sa.Column("allowed_providers", sa.JSON(), nullable=True),
            sa.Column("allowed_models", sa.JSON(), nullable=True),
        ),
        "batches": (
            _text("key_id"),
            _count("cache_write_tokens"),
            _count("cost_nanos"),
            _count("unpriced_lines"),
            sa.Column("expected_nanos", sa.BigInteger(), nullable=True),
            sa.Column("at_most_nanos", sa.BigInteger(), nullable=True),
            _count("reserved_nanos"),
            sa.Column("max_cost_nanos", sa.BigInteger(), nullable=True),
        ),
        "shards": (
            _count("cache_write_tokens"),
            _count("cost_nanos"),
            _count("unpriced_lines"),
            _count("expected_nanos"),
            _count("at_most_nanos"),
            sa.Column("waits_for_funds", sa.Boolean(), nullable=False, server_default=sa.false()),
        ),
    }


def upgrade() -> None:
    for table, columns in _added().items():
        with op.batch_alter_table(table) as changed:
            for column in columns:
                changed.add_column(column)
    op.create_index(
        "ix_shards_waits_for_funds",
        "shards",
        ["account_id"],
        sqlite_where=sa.text("waits_for_funds = 1"),
        postgresql_where=sa.text("waits_for_funds"),
    )
    op.create_table(
        "postings",
        sa.Column("reason", sa.String(), primary_key=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        _text("key_id"),
        _text("batch_id"),
        _text("shard_id"),
        _count("balance_nanos"),
        _count("reserved_nanos"),
        _text("note"),
        sa.Column("created_at", _MOMENT, nullable=False),
    )
    op.create_index("ix_postings_account_created", "postings", ["account_id", "created_at"])
    op.create_index(
        "ix_postings_grants",
        "postings",
        ["account_id"],
        sqlite_where=sa.text("kind = 'grant'"),
        postgresql_where=sa.text("kind = 'grant'"),
    )
    op.create_index("ix_postings_batch_id", "postings", ["batch_id"])
    op.create_table(
        "usage",
        sa.Column("shard_id", sa.String(), primary_key=True),
        sa.Column("model", sa.String(), primary_key=True),
        sa.Column("account_id", sa.String(), nullable=False),
        _text("key_id"),
        sa.Column("batch_id", sa.String(), nullable=False),
        sa.Column("provider", sa.String(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("late", sa.Boolean(), nullable=False),
        *map(
            _count,
            (
                "lines",
                "unpriced_lines",
                "input_tokens",
                "cached_input_tokens",
                "cache_write_tokens",
                "output_tokens",
                "reasoning_tokens",
                "cost_nanos",
            ),
        ),
    )
    op.create_index("ix_usage_account_day", "usage", ["account_id", "day"])
    op.create_index("ix_usage_model_day", "usage", ["model", "day"])
    op.create_index("ix_usage_batch_id", "usage", ["batch_id"])
    op.create_table(
        "spendings",
        sa.Column("owner_id", sa.String(), primary_key=True),
        sa.Column("month", sa.String(), primary_key=True),
        _count("cost_nanos"),
    )
    # The key of the first start belongs to whoever runs the service.
    op.execute("UPDATE api_keys SET scope = 'account' WHERE name = 'first key'")


def downgrade() -> None:
    op.drop_index("ix_shards_waits_for_funds", "shards")
    for table in ("spendings", "usage", "postings"):
        op.drop_table(table)
    for table, columns in _added().items():
        with op.batch_alter_table(table) as changed:
            for column in columns:
                changed.drop_column(column.name)
