"""Whether the money of a ledger adds up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, update
from sqlmodel import select

from core.failpoints import Failpoint
from core.ledger import (
    Account,
    ApiKey,
    Batch,
    Ledger,
    Posting,
    PostingKind,
    Shard,
    Spending,
    UsageRow,
)


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


async def check_books(ledger: Ledger, *, ended: bool = False) -> None:
    """Raise AssertionError where sums that have to be equal are not.

    `ended`: nothing is under way, so nothing may be held.
    """
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
    held: Counter[str] = Counter()
    for posting in postings:
        for holder in filter(None, (posting.account_id, posting.key_id, posting.batch_id)):
            held[holder] += posting.reserved_nanos
        balances[posting.account_id] += posting.balance_nanos
        if posting.kind == PostingKind.CHARGE:
            charged[posting.batch_id] -= posting.balance_nanos
    living: Counter[str] = Counter()
    for batch in await rows(ledger, Batch):
        found = (of_shards[batch.id], of_usage[batch.id], charged[batch.id])
        assert found == (batch.cost_nanos,) * 3, (batch.id, batch.cost_nanos, found)
        assert 0 <= batch.reserved_nanos == held[batch.id], batch
        assert not (batch.ended and batch.reserved_nanos), batch
        living[batch.account_id] += batch.reserved_nanos
    for account in accounts:
        assert account.balance_nanos == balances[account.id], account
        assert account.reserved_nanos == held[account.id] == living[account.id], account
        assert not (ended and account.reserved_nanos), account
    for key in await rows(ledger, ApiKey):
        assert key.reserved_nanos == held[key.id], key
    kept = {(row.owner_id, row.month): row.cost_nanos for row in await rows(ledger, Spending)}
    assert kept == {owner: cost for owner, cost in spent.items() if cost}
