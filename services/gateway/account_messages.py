"""Keys, accounts and postings as messages. A key's secret is in none of them."""

from __future__ import annotations

from collections.abc import Mapping

from polybatch.v1 import accounts_pb2

from core.ledger import Account, ApiKey, BudgetPeriod, Funding, Posting, Scope
from core.pipeline.messages import money

SCOPES = {
    Scope.BATCH: accounts_pb2.KEY_SCOPE_BATCH,
    Scope.ACCOUNT: accounts_pb2.KEY_SCOPE_ACCOUNT,
    Scope.OPERATOR: accounts_pb2.KEY_SCOPE_OPERATOR,
}
_PERIODS = {
    BudgetPeriod.TOTAL: accounts_pb2.BUDGET_PERIOD_TOTAL,
    BudgetPeriod.MONTH: accounts_pb2.BUDGET_PERIOD_MONTH,
}
_FUNDINGS = {
    Funding.METERED: accounts_pb2.FUNDING_METERED,
    Funding.PREPAID: accounts_pb2.FUNDING_PREPAID,
}

Spent = Mapping[tuple[str, BudgetPeriod], int]
"""As Accounts.spent returns it."""


def key_message(key: ApiKey, account_name: str, spent: Spent) -> accounts_pb2.Key:
    """A key as clients see it."""
    return accounts_pb2.Key(
        id=key.id,
        account_id=key.account_id,
        account_name=account_name,
        name=key.name,
        scope=SCOPES[Scope(key.scope)],
        budget=_budget(key, spent),
        allowed_providers=key.allowed_providers or (),
        allowed_models=key.allowed_models or (),
        created_at=key.created_at,
        revoked_at=key.revoked_at,
    )


def account_message(account: Account, spent: Spent | None) -> accounts_pb2.Account:
    """An account as clients see it; without what it has and has spent where that is None."""
    shown = accounts_pb2.Account(
        id=account.id,
        name=account.name,
        funding=_FUNDINGS[Funding(account.funding)],
        budget=_budget(account, spent),
        created_at=account.created_at,
    )
    if account.retention_seconds is not None:
        shown.results_retention.FromNanoseconds(round(account.retention_seconds * 1e9))
    if spent is not None:
        shown.balance.CopyFrom(money(account.balance_nanos))
        shown.reserved.CopyFrom(money(account.reserved_nanos))
        shown.free.CopyFrom(money(account.free_nanos))
    return shown


def posting_message(posting: Posting) -> accounts_pb2.Posting:
    """A posting as clients see it."""
    return accounts_pb2.Posting(
        kind=posting.kind,
        reason=posting.reason,
        key_id=posting.key_id,
        batch_id=posting.batch_id,
        shard_id=posting.shard_id,
        balance=money(posting.balance_nanos),
        reserved=money(posting.reserved_nanos),
        note=posting.note,
        created_at=posting.created_at,
    )


def _budget(owner: ApiKey | Account, spent: Spent | None) -> accounts_pb2.Budget | None:
    if owner.budget_nanos is None:
        return None
    period = BudgetPeriod(owner.budget_period)
    budget = accounts_pb2.Budget(amount=money(owner.budget_nanos), period=_PERIODS[period])
    if spent is not None:
        budget.spent.CopyFrom(money(spent.get((owner.id, period), 0)))
        budget.reserved.CopyFrom(money(owner.reserved_nanos))
    return budget
