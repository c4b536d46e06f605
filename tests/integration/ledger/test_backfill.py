"""Batches from before costs were kept get what they can be told to have cost, once."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime

import pytest
from sqlalchemy import update
from sqlmodel import col

from core.failpoints import Failpoint
from core.ledger import (
    Account,
    Batch,
    Ledger,
    ModelSpend,
    Posting,
    PostingKind,
    Settlement,
    Shard,
    UsageRow,
)
from core.ledger.schema import downgrade
from core.pipeline import Backfill
from tests.support.ledger.money import check_books, rows
from tests.support.ledger.rows import intend, make_file, new_batch, new_shard
from tests.support.prices import file_prices

MADE = datetime(2026, 11, 20, 23, 50, tzinfo=UTC)
SETTLED = datetime(2026, 11, 21, 0, 10, tzinfo=UTC)

# USD a million tokens in batches: 1.00 in, 0.50 cached, 4.00 out.
SHORT = ModelSpend("openai/gpt-4.1", 4, input_tokens=300, cached_input_tokens=100, output_tokens=30)
SHORT_NANOS = 200 * 1_000 + 100 * 500 + 30 * 4_000
# 1.25 in, and twice that for prompts of more than 272,000 tokens, of which these may be none.
LONG = ModelSpend("openai/gpt-5.4", 4, input_tokens=1_000_000)
LONG_NANOS = 1_250_000_000
UNKNOWN = ModelSpend("openai/of-tomorrow", 4, input_tokens=5)


async def settled_before(ledger: Ledger, account: str, upload: str, spend: ModelSpend) -> str:
    """A batch with one shard of four lines that is settled and one that is not."""
    file = await make_file(ledger, account=account, upload=upload)
    made = new_batch(file)
    assert isinstance(await ledger.batches.create(made), Batch)
    shards = [new_shard(made, number, 4) for number in range(2)]
    for shard in shards:
        shard.model = spend.model
    await ledger.batches.plan(made.id, shards)
    sent = await intend(ledger, shards[0])
    await ledger.shards.settle(sent, Settlement(3, 1, spend=[spend]))
    async with ledger._database.write(Failpoint.SHARD_SETTLE) as session:
        group = {"provider": "openai", "model": spend.model, "lines": 8, "bytes": 1}
        values = {"created_at": MADE, "prices": None}
        await session.exec(update(Batch).where(col(Batch.id) == made.id).values(**values))
        file.groups = [group]
        await session.merge(file)
        await session.exec(update(Shard).where(col(Shard.id) == sent.id).values(settled_at=SETTLED))
    return made.id


@pytest.mark.long
async def test_old_batches_are_reckoned_at_the_prices_of_their_day(database_url: str) -> None:
    ledger = await Ledger.open(database_url)
    account = (await ledger.accounts.create_key("team")).account_id
    short = await settled_before(ledger, account, "upload-1", SHORT)
    long = await settled_before(ledger, account, "upload-2", LONG)
    unknown = await settled_before(ledger, account, "upload-3", UNKNOWN)
    gone = await settled_before(ledger, account, "upload-4", SHORT)
    async with ledger._database.write(Failpoint.FILE_DELETE) as session:
        await session.exec(
            update(Batch).where(col(Batch.id) == gone).values(input_file_id="deleted")
        )
    await ledger.close()
    await asyncio.to_thread(downgrade, database_url, "0011")

    ledger = await Ledger.open(database_url)
    try:
        before = {batch.id: batch for batch in await rows(ledger, Batch)}
        assert not any(batch.cost_nanos for batch in before.values())
        stop = asyncio.Event()
        collectors = [Backfill(ledger, file_prices(ledger)) for _ in range(3)]
        await asyncio.gather(*(each.run(stop) for each in collectors))
        await check_books(ledger)
        found = {batch.id: batch for batch in await rows(ledger, Batch)}
        costs = {batch_id: batch.cost_nanos for batch_id, batch in found.items()}
        assert costs == {short: SHORT_NANOS, long: LONG_NANOS, unknown: 0, gone: SHORT_NANOS}
        assert found[unknown].unpriced_lines == 4
        assert found[short].revision == before[short].revision + 1
        assert found[short].queued == 4, "the rest of it goes on as it was"
        usage = await rows(ledger, UsageRow)
        assert {row.day for row in usage} == {date(2026, 11, 21)}, "on which the answers came"
        assert [row.lines for row in usage] == [4] * 4
        [kept] = [row for row in usage if row.batch_id == short]
        assert (kept.model, kept.input_tokens, kept.cached_input_tokens) == (
            "openai/gpt-4.1",
            300,
            100,
        )
        [team] = await rows(ledger, Account)
        assert team.balance_nanos == 0, "it was spent before there were credits"
        charged = [p for p in await rows(ledger, Posting) if p.kind == PostingKind.CHARGE]
        assert -sum(posting.balance_nanos for posting in charged) == 2 * SHORT_NANOS + LONG_NANOS
        prices = await ledger.batches.prices(short)
        assert prices is not None
        assert '"day":"2026-11-20"' in prices

        assert await ledger.backfills.waiting("", 10) == []
        await Backfill(ledger, file_prices(ledger)).run(stop)
        assert {batch.id: batch.revision for batch in await rows(ledger, Batch)} == {
            batch.id: batch.revision for batch in found.values()
        }
    finally:
        await ledger.close()
