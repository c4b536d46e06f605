"""What is known of providers: their limits, keys and speed."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field

from core.ledger.tables.columns import Table, big, moment


class TokenQuota(Table, table=True):
    """What is known of a provider's enqueued-token limit for one model (see probing.py)."""

    # From before a budget was money alone.
    __tablename__ = "token_budgets"
    provider: str = Field(primary_key=True)
    model: str = Field(primary_key=True)
    limit_tokens: int | None = Field(default=None, sa_type=sa.BigInteger)
    """What is believed to be taken; None: no limit is known."""
    stated_tokens: int | None = Field(default=None, sa_type=sa.BigInteger)
    """The limit that the latest refusal named; None: it named none."""
    learned_at: datetime | None = moment(nullable=True)
    """When it was last refused."""
    refused_alone: str = ""
    """Id of the shard that was refused last, if nothing else was enqueued."""
    probe_shard: str = ""
    """Id of the shard that has gone above the limit, until it is known how that ended."""
    probe_tokens: int = big()
    """What is enqueued if the provider takes it."""
    probe_at: datetime | None = moment(nullable=True)
    """When the next probe may go; None: now."""
    probe_pause: float = 0.0
    """Seconds that were waited for it."""
    bytes_per_token: float = 3.0
    """Of text."""
    media_factor: float = 1.0
    """Tokens that were counted for images, recordings and files, for each by the rules."""


class ProviderHold(Table, table=True):
    """Until when a provider wants no call with a credential (Retry-After)."""

    __tablename__ = "provider_holds"
    provider: str = Field(primary_key=True)
    credential: str = Field(primary_key=True)
    """As Shard.credential."""
    until: datetime = moment()


class ProviderKey(Table, table=True):
    """What a provider said of a key when it was last tried."""

    __tablename__ = "provider_keys"
    provider: str = Field(primary_key=True)
    credential: str = Field(primary_key=True)
    """As Shard.credential: another one for another key or address."""
    accepted: bool
    code: str = ""
    """The provider's own, where it refused the key."""
    checked_at: datetime = moment()


class ProviderDuration(Table, table=True):
    """How long a provider's batches of a model took lately, from submission to their end."""

    __tablename__ = "provider_durations"
    provider: str = Field(primary_key=True)
    model: str = Field(primary_key=True)
    mean_seconds: float = 0.0
    ended: int = big()
    """Batches that it was learned from."""
    learned_at: datetime = moment()


class ProviderPause(Table, table=True):
    """A provider to which nothing is sent, by order of an operator."""

    __tablename__ = "provider_pauses"
    provider: str = Field(primary_key=True)
    paused_at: datetime = moment()
    paused_by: str = ""
    """The id of the key that paused it."""


class BatchDuration(Table, table=True):
    """How long one batch of a provider took, for estimates of those that run now."""

    __tablename__ = "batch_durations"
    __table_args__ = (sa.Index("ix_batch_durations_model", "provider", "model", "ended_at"),)
    shard_id: str = Field(primary_key=True)
    account_id: str
    provider: str
    model: str
    """The provider's id of it."""
    line_count: int = big()
    seconds: float
    """From its submission to the look that saw its end."""
    ended_at: datetime = moment()
