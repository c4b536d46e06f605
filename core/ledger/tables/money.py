"""What was granted, held and charged, and for what. Money is in nano-dollars (10^-9 USD)."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlmodel import Field

from core.ledger.tables.columns import Table, big, moment, partial_index


class PostingKind(StrEnum):
    """Why a posting was made."""

    GRANT = "grant"
    RESERVE = "reserve"
    RELEASE = "release"
    CHARGE = "charge"
    ADJUST = "adjust"


class Posting(Table, table=True):
    """A movement of an account's money. Rows are never changed or deleted.

    An account's `balance_nanos` and `reserved_nanos` are the sums of its postings', kept beside
    them in the same transaction; a batch's `reserved_nanos` is the sum of its own.
    """

    __tablename__ = "postings"
    __table_args__ = (
        sa.Index("ix_postings_account_created", "account_id", "created_at"),
        partial_index(
            "ix_postings_grants",
            "account_id",
            where="kind = 'grant'",
        ),
    )
    reason: str = Field(primary_key=True)
    """What it is for, once: such as "charge:<shard id>" or "grant:<request id>"."""
    kind: PostingKind = Field(sa_type=sa.String)
    account_id: str
    key_id: str = ""
    batch_id: str = Field(default="", index=True)
    shard_id: str = ""
    balance_nanos: int = big()
    """Added to the balance; a charge is below 0."""
    reserved_nanos: int = big()
    """Added to what is held; a release, and the part of a charge that was held, is below 0."""
    note: str = ""
    """Of whoever made it by hand."""
    created_at: datetime = moment()


class UsageRow(Table, table=True):
    """What one model used in one shard, written by the transition that settles it."""

    __tablename__ = "usage"
    __table_args__ = (
        sa.Index("ix_usage_account_day", "account_id", "day"),
        sa.Index("ix_usage_model_day", "model", "day"),
    )
    shard_id: str = Field(primary_key=True)
    model: str = Field(primary_key=True)
    """As named in the file."""
    account_id: str
    key_id: str = ""
    """Empty for batches from before keys were kept."""
    batch_id: str = Field(index=True)
    provider: str
    day: date
    """In UTC, on which the answers came home: a day that has passed never changes."""
    late: bool = False
    """They came after the batch had given them up."""
    lines: int = big()
    """Answered, well or ill."""
    unpriced_lines: int = big()
    """Of these, lines with tokens and without a price."""
    input_tokens: int = big()
    cached_input_tokens: int = big()
    cache_write_tokens: int = big()
    output_tokens: int = big()
    reasoning_tokens: int = big()
    cost_nanos: int = big()


class Spending(Table, table=True):
    """What an account or a key has been charged, in all and by month: what budgets look at."""

    __tablename__ = "spendings"
    owner_id: str = Field(primary_key=True)
    """Of an account or a key."""
    month: str = Field(primary_key=True)
    """In UTC, such as "2026-11"; empty for the sum of all."""
    cost_nanos: int = big()
