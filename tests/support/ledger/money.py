"""Whether the money of a ledger adds up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, update
from sqlmodel import select

from core.failpoints import Failpoint
from core.ledger import Account, Batch, Ledger, Posting, PostingKind, Shard, Spending, UsageRow


async def rows(ledger: Ledger, table: Any) -> Sequence[Any]:
    """All rows of a table."""
    async with ledger._database.read() as session:
        return list(await session.exec(select(table)))


async def forget_costs(ledger: Ledger) -> None:
    """Make a ledger as it was before prices and costs were kept."""
    async with ledger._database.write(Failpoint.SHARD_BACKFILL) as session:
        for table in (UsageRow, Posting, Spending):
            await session.exec(delete(table))
        costs = {"cost_nanos": 0, "unpriced_lines": 0}
        await session.exec(update(Shard).values(**costs))
        await session.exec(update(Batch).values(prices=None, **costs))
        await session.exec(update(Account).values(balance_nanos=0))


async def check_books(ledger: Ledger) -> None:
    """Raise AssertionError where sums that have to be equal are not."""
    shards, usage = await rows(ledger, Shard), await rows(ledger, UsageRow)
    postings, accounts = await rows(ledger, Posting), await rows(ledger, Account)
    of_shards: Counter[str] = Counter()
    for shard in shards:
        of_shards[shard.batch_id] += shard.cost_nanos
    of_usage: Counter[str] = Counter()
    spent: Counter[tuple[str, str]] = Counter()
    for row in usage:
        of_usage[row.batch_id] += row.cost_nanos
        for owner in filter(None, (row.account_id, row.key_id)):
            for month in ("", f"{row.day:%Y-%m}"):
                spent[owner, month] += row.cost_nanos
    charged: Counter[str] = Counter()
    balances: Counter[str] = Counter()
    for posting in postings:
        balances[posting.account_id] += posting.balance_nanos
        if posting.kind == PostingKind.CHARGE:
            charged[posting.batch_id] -= posting.balance_nanos
    for batch in await rows(ledger, Batch):
        found = (of_shards[batch.id], of_usage[batch.id], charged[batch.id])
        assert found == (batch.cost_nanos,) * 3, (batch.id, batch.cost_nanos, found)
    for account in accounts:
        assert account.balance_nanos == balances[account.id], account
    kept = {(row.owner_id, row.month): row.cost_nanos for row in await rows(ledger, Spending)}
    assert kept == {owner: cost for owner, cost in spent.items() if cost}
