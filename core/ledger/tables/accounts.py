"""Accounts and their keys."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlmodel import Field

from core.ledger.tables.columns import Table, big, moment
from core.scopes import Scope


class Funding(StrEnum):
    """How an account pays."""

    METERED = "metered"
    """What it spends is counted."""
    PREPAID = "prepaid"
    """It spends what it was granted, and no more."""


class BudgetPeriod(StrEnum):
    """What a budget is for."""

    TOTAL = "total"
    MONTH = "month"
    """A calendar month, in UTC."""


class Account(Table, table=True):
    """Owner of keys, files and batches. Money is in nano-dollars."""

    __tablename__ = "accounts"
    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    created_at: datetime = moment()
    funding: Funding = Field(default=Funding.METERED, sa_type=sa.String)
    balance_nanos: int = big()
    """The sum of its postings: what was granted less what was charged. Below 0 for an account
    that is metered and was granted nothing."""
    reserved_nanos: int = big()
    """Of the balance, what its batches hold."""
    budget_nanos: int | None = Field(default=None, sa_type=sa.BigInteger)
    """What it may spend in `budget_period`; None: no limit."""
    budget_period: BudgetPeriod = Field(default=BudgetPeriod.TOTAL, sa_type=sa.String)
    retention_seconds: float | None = None
    """How long results and inputs of ended batches are kept; None: as the service is set."""

    @property
    def free_nanos(self) -> int:
        """What of its balance nothing holds."""
        return self.balance_nanos - self.reserved_nanos


class ApiKey(Table, table=True):
    """A caller's key: only its SHA-256 is kept."""

    __tablename__ = "api_keys"
    id: str = Field(primary_key=True)
    account_id: str = Field(index=True, foreign_key="accounts.id")
    name: str = ""
    key_sha256: str = Field(unique=True)
    created_at: datetime = moment()
    revoked_at: datetime | None = moment(nullable=True)
    scope: Scope = Field(default=Scope.BATCH, sa_type=sa.String)
    reserved_nanos: int = big()
    """What its batches hold of its budget."""
    budget_nanos: int | None = Field(default=None, sa_type=sa.BigInteger)
    """What it may spend in `budget_period`; None: no limit of its own."""
    budget_period: BudgetPeriod = Field(default=BudgetPeriod.TOTAL, sa_type=sa.String)
    allowed_providers: list[str] | None = Field(default=None, sa_type=sa.JSON)
    """Slugs; None: all."""
    allowed_models: list[str] | None = Field(default=None, sa_type=sa.JSON)
    """Names as lines have them, or patterns with "*"; None: all."""
