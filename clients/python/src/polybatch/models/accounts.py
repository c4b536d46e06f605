"""Keys and accounts. Fields are those of protos/polybatch/v1/accounts.proto; money is in USD."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from polybatch.models.messages import from_message
from polybatch.models.money import from_money, to_money
from polybatch.v1 import accounts_pb2 as pb


class KeyScope(StrEnum):
    """What a key may do; each includes the ones before."""

    UNKNOWN = "unknown"
    """One that this release does not know."""
    BATCH = "batch"
    """Make and read batches."""
    ACCOUNT = "account"
    """Manage the account's keys, see its usage, make batches for its other keys."""
    OPERATOR = "operator"
    """Everything, of all accounts."""


class BudgetPeriod(StrEnum):
    """What a budget is for."""

    TOTAL = "total"
    MONTH = "month"
    """A calendar month, in UTC."""


class Funding(StrEnum):
    """How an account pays."""

    UNKNOWN = "unknown"
    """One that this release does not know."""
    METERED = "metered"
    """What it spends is counted."""
    PREPAID = "prepaid"
    """It spends what it was granted, and no more."""


_SCOPES: dict[int, KeyScope] = {
    pb.KEY_SCOPE_BATCH: KeyScope.BATCH,
    pb.KEY_SCOPE_ACCOUNT: KeyScope.ACCOUNT,
    pb.KEY_SCOPE_OPERATOR: KeyScope.OPERATOR,
}
_FUNDINGS: dict[int, Funding] = {
    pb.FUNDING_METERED: Funding.METERED,
    pb.FUNDING_PREPAID: Funding.PREPAID,
}
_PERIODS = {
    BudgetPeriod.TOTAL: pb.BUDGET_PERIOD_TOTAL,
    BudgetPeriod.MONTH: pb.BUDGET_PERIOD_MONTH,
}


def scope_to_proto(scope: KeyScope) -> Any:
    """Returns the number on the wire."""
    return next(number for number, each in _SCOPES.items() if each is KeyScope(scope))


def funding_to_proto(funding: Funding) -> Any:
    """Returns the number on the wire."""
    return next(number for number, each in _FUNDINGS.items() if each is Funding(funding))


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent in a period."""

    amount: Decimal
    period: BudgetPeriod = BudgetPeriod.TOTAL
    spent: Decimal | None = None
    """In the period so far, as the service says; None where it does not."""
    reserved: Decimal | None = None
    """Held by batches that run, likewise."""

    @classmethod
    def from_proto(cls, message: Any) -> Budget:
        """Builds it from polybatch.v1.Budget."""
        month = message.period == pb.BUDGET_PERIOD_MONTH
        return from_message(
            cls,
            message,
            amount=from_money(message.amount),
            period=BudgetPeriod.MONTH if month else BudgetPeriod.TOTAL,
        )

    def to_proto(self) -> Any:
        """Returns polybatch.v1.Budget, without what only the service knows."""
        return pb.Budget(
            amount=to_money(self.amount, "budget"),
            period=_PERIODS[BudgetPeriod(self.period)],
        )


@dataclass(frozen=True, slots=True)
class Key:
    """A key, without its secret."""

    id: str
    account_id: str
    account_name: str
    name: str
    scope: KeyScope
    budget: Budget | None
    """None: no limit of its own."""
    allowed_providers: tuple[str, ...]
    """Empty: all."""
    allowed_models: tuple[str, ...]
    """Names or patterns ("gpt-5*"); empty: all."""
    created_at: datetime | None
    revoked_at: datetime | None
    """None while it is valid."""

    @classmethod
    def from_proto(cls, message: Any) -> Key:
        """Builds it from polybatch.v1.Key."""
        return from_message(
            cls,
            message,
            scope=_SCOPES.get(message.scope, KeyScope.UNKNOWN),
            budget=Budget.from_proto(message.budget) if message.HasField("budget") else None,
        )


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made: the only moment at which its secret is known."""

    key: Key
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Account:
    """Who pays. The amounts are None for a key that may not see them."""

    id: str
    name: str
    funding: Funding
    balance: Decimal | None
    """Granted less charged."""
    reserved: Decimal | None
    """Of the balance, held by batches that run."""
    free: Decimal | None
    """balance - reserved."""
    budget: Budget | None
    """None: no limit."""
    created_at: datetime | None
    results_retention: timedelta | None = None
    """How long results and inputs of ended batches are kept; None: as the service is set."""

    @classmethod
    def from_proto(cls, message: Any) -> Account:
        """Builds it from polybatch.v1.Account."""
        return from_message(
            cls,
            message,
            funding=_FUNDINGS.get(message.funding, Funding.UNKNOWN),
            budget=Budget.from_proto(message.budget) if message.HasField("budget") else None,
        )


@dataclass(frozen=True, slots=True)
class CurrentKey:
    """The caller's own key and its account."""

    key: Key
    account: Account


@dataclass(frozen=True, slots=True)
class Posting:
    """What moved an account's money."""

    kind: str
    """"grant", "reserve", "release", "charge" or "adjust"."""
    reason: str
    """What it is for, once: such as "charge:shard_..."."""
    key_id: str
    batch_id: str
    shard_id: str
    balance: Decimal
    """Added to the balance."""
    reserved: Decimal
    """Added to what is held."""
    note: str
    created_at: datetime | None

    @classmethod
    def from_proto(cls, message: Any) -> Posting:
        """Builds it from polybatch.v1.Posting."""
        return from_message(
            cls,
            message,
            balance=from_money(message.balance),
            reserved=from_money(message.reserved),
        )
