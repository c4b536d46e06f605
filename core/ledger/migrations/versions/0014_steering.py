"""Steering: names, priorities, pauses, canaries, rescues, reused answers, retries, deletion."""

import hashlib
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
    _text("name_folded"),
    _priority(),
    _text("parent_id"),
    sa.Column("retries", sa.Integer(), nullable=False, server_default="0"),
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
    sa.Column("rescue_started_at", _MOMENT, nullable=True),
    _number("rescued"),
    sa.Column("reuse_seconds", sa.Float(), nullable=True),
    _number("reused"),
    _number("saved_nanos"),
    sa.Column("retention_seconds", sa.Float(), nullable=True),
    sa.Column("results_expire_at", _MOMENT, nullable=True),
    sa.Column("results_gone", sa.Integer(), nullable=False, server_default="0"),
    sa.Column("removal_due_at", _MOMENT, nullable=True),
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
_INDEXES: tuple[tuple[str, list[str], str | None], ...] = (
    ("parent_id", ["parent_id"], "parent_id <> ''"),
    ("removal_due_at", ["removal_due_at"], "removal_due_at IS NOT NULL"),
    ("account_state", ["account_id", "state", "created_at", "id"], None),
    ("account_created_at", ["account_id", "created_at", "id"], None),
    ("account_name", ["account_id", "created_at", "id", "name_folded"], "name_folded <> ''"),
)
_CHANGED = {"batches": _BATCHES, "shards": _SHARDS, "files": _FILES, "accounts": _ACCOUNTS}


def upgrade() -> None:
    for table, columns in _CHANGED.items():
        with op.batch_alter_table(table) as changed:
            for column in columns:
                changed.add_column(column)
    op.drop_index("ix_batches_account_state", "batches")
    for name, indexed, condition in _INDEXES:
        where = None if condition is None else sa.text(condition)
        op.create_index(
            f"ix_batches_{name}", "batches", indexed, sqlite_where=where, postgresql_where=where
        )
    op.create_table(
        "batch_terms",
        sa.Column("account_id", sa.String(), primary_key=True),
        sa.Column("term", sa.String(), primary_key=True),
        sa.Column("created_at", _MOMENT, primary_key=True),
        sa.Column("batch_id", sa.String(), primary_key=True),
    )
    op.create_index("ix_batch_terms_batch_id", "batch_terms", ["batch_id"])
    _find_earlier_batches()
    op.create_index(
        "ix_shards_served",
        "shards",
        ["account_id", "provider", "intended_at"],
        sqlite_where=sa.text("intended_at IS NOT NULL"),
        postgresql_where=sa.text("intended_at IS NOT NULL"),
    )
    op.create_index("ix_files_expires_at", "files", ["expires_at"])
    derived = sa.text("source_file_id <> ''")
    op.create_index(
        "ix_files_source_file_id",
        "files",
        ["source_file_id"],
        sqlite_where=derived,
        postgresql_where=derived,
    )
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


def _find_earlier_batches() -> None:
    """Terms of the batches that there are, as core.ledger.batch_search makes them."""
    terms = sa.table("batch_terms", *map(sa.column, ("account_id", "term", "batch_id")))
    terms.append_column(sa.column("created_at", _MOMENT))
    batches = sa.table("batches", *map(sa.column, ("id", "account_id", "key_id", "input_file_id")))
    batches.append_column(sa.column("created_at", _MOMENT))
    batches.append_column(sa.column("details", sa.JSON()))
    files = sa.table("files", sa.column("id"), sa.column("groups", sa.JSON()))
    connection, last = op.get_bind(), ""
    while True:
        found = connection.execute(
            sa.select(*batches.c, files.c.groups)
            .join_from(batches, files, files.c.id == batches.c.input_file_id, isouter=True)
            .where(batches.c.id > last)
            .order_by(batches.c.id)
            .limit(1000)
        ).all()
        rows = [
            {
                "account_id": batch.account_id,
                "term": term,
                "batch_id": batch.id,
                "created_at": batch.created_at,
            }
            for batch in found
            for term in _terms(batch)
        ]
        if rows:
            connection.execute(sa.insert(terms), rows)
        if not found:
            return
        last = found[-1].id


def _terms(batch: Any) -> set[str]:
    pairs = [("metadata", key, value) for key, value in (batch.details or {}).items()]
    if batch.key_id:
        pairs.append(("key", batch.key_id, ""))
    for group in batch.groups or ():
        provider, model = group["provider"], group["model"]
        bare = model.removeprefix(f"{provider}/")
        pairs += [("model", name, "") for name in {model, bare, f"{provider}/{bare}"}]
    return {
        hashlib.sha256("\0".join(pair).encode(errors="replace")).hexdigest()[:32] for pair in pairs
    }


def downgrade() -> None:
    op.drop_table("batch_terms")
    op.drop_table("batch_durations")
    op.drop_table("provider_pauses")
    op.drop_index("ix_files_expires_at", "files")
    op.drop_index("ix_files_source_file_id", "files")
    op.drop_index("ix_shards_served", "shards")
    for name, _, _ in _INDEXES:
        op.drop_index(f"ix_batches_{name}", "batches")
    op.create_index("ix_batches_account_state", "batches", ["account_id", "state"])
    for table, columns in _CHANGED.items():
        with op.batch_alter_table(table) as changed:
            for column in columns:
                changed.drop_column(column.name)
