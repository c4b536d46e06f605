"""The costs of lines add up to what shard, batch and account were charged, however they end."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal

import pytest
from polybatch.v1.events_pb2 import WorkItem
from polybatch.v1.results_pb2 import Manifest

from core.batchfile import LineMaker, ResultFile, ResultWriter, answer_tail
from core.bus import Ack, Delivery
from core.failpoints import Failpoint
from core.ledger import Batch, ModelSpend, Settlement, Shard, now
from core.providers import Outcome
from services.collector.assemble import Assembler
from tests.support.ledger.money import check_books
from tests.support.ledger.rows import intend, reread
from tests.support.prices import price, snapshot
from tests.unit.collector.test_fetch import Stand, stand

__all__ = ["stand"]

# At 2 nano-dollars a token, as many tokens as the line's number.
FIRST, SECOND, THIRD = 2, 4, 6


async def retried(stand: Stand) -> Shard:
    """The shard that the second line, which was paid for, is sent again in."""
    stand.home.failing[2] = Outcome.RETRYABLE
    assert await stand.fetch() == Ack()
    settled, again = await stand.ledger.shards.of_batch("batch_1")
    assert (settled.cost_nanos, settled.retried) == (FIRST + SECOND + THIRD, 1)
    return again


async def assembled(stand: Stand) -> tuple[Batch, list[Decimal | None]]:
    """The batch, and the costs of its lines in nano-dollars."""
    item = WorkItem(batch_id="batch_1")
    assert await Assembler(stand.runtime).handle(item, Delivery(1, now())) == Ack()
    batch = await stand.ledger.batches.get("batch_1")
    results = await ResultFile.open(stand.runtime.blobs, batch.results_prefix)
    lines = [
        json.loads(each.raw, parse_float=Decimal)["cost"]
        async for group in results.lines()
        for each in group
    ]
    manifest = Manifest.FromString(
        await stand.runtime.blobs.get(f"{batch.results_prefix}/manifest")
    )
    costs = [None if cost is None else cost * 10**9 for cost in lines]
    assert manifest.cost.nanos == sum(cost or 0 for cost in costs) == batch.cost_nanos
    assert sum(shard.cost.nanos for shard in manifest.shards) == batch.cost_nanos
    await check_books(stand.ledger)
    return batch, costs


async def test_what_a_line_cost_before_it_was_sent_again_is_in_its_cost(stand: Stand) -> None:
    again = await retried(stand)
    prefix = f"batches/{again.batch_id}/shards/{again.id}/results/t"
    await write_answer(stand, prefix)
    spend = [ModelSpend("openai/gpt-4.1", 1, input_tokens=50, cost_nanos=100)]
    await stand.ledger.shards.settle(again, Settlement(1, 0, results_prefix=prefix, spend=spend))
    batch, costs = await assembled(stand)
    assert costs == [FIRST, SECOND + 100, THIRD]
    assert batch.input_tokens == 1 + 2 + 3 + 50


async def test_also_where_it_is_never_sent_again(stand: Stand) -> None:
    await retried(stand)
    await stand.ledger.batches.cancel("batch_1")
    await stand.ledger.batches.settle_queued("batch_1")
    _, costs = await assembled(stand)
    assert costs == [FIRST, SECOND, THIRD]


async def test_also_where_it_is_answered_after_the_end(stand: Stand) -> None:
    again = await retried(stand)
    sent = await intend(stand.ledger, again, "t2")
    assert await stand.ledger.shards.mark_dispatched(sent, timedelta(minutes=1))
    await stand.ledger.batches.cancel("batch_1")
    until = now() + timedelta(days=1)
    assert isinstance(await stand.ledger.late.give_up(sent, "batch_cancelled", "m", until), Batch)
    _, costs = await assembled(stand)
    assert costs == [FIRST, SECOND, THIRD], "the one that may still come has cost so much"
    given_up = await reread(stand.ledger, again)
    prefix = f"batches/{again.batch_id}/shards/{again.id}/results/t"
    await write_answer(stand, prefix)
    spend = [ModelSpend("openai/gpt-4.1", 1, input_tokens=50, cost_nanos=100)]
    late = Settlement(1, 0, results_prefix=prefix, spend=spend, answered=1)
    assert isinstance(await stand.ledger.shards.settle(given_up, late), Batch)
    batch, costs = await assembled(stand)
    assert (batch.results_revision, costs) == (2, [FIRST, SECOND + 100, THIRD])


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.FAILED])
async def test_tokens_of_a_model_without_a_price_are_no_cost_of_0(
    stand: Stand, outcome: Outcome
) -> None:
    async with stand.ledger._database.write(Failpoint.BATCH_PRICES) as session:
        batch = await session.get(Batch, "batch_1")
        batch.prices = '{"form":1,"day":"2026-11-28","prices":[]}'
    stand.home.failing[2] = outcome
    assert await stand.fetch() == Ack()
    batch, costs = await assembled(stand)
    assert (batch.unpriced_lines, costs) == (3, [None] * 3)


async def test_a_release_that_knows_the_model_by_another_id_prices_it_as_before(
    stand: Stand,
) -> None:
    async with stand.ledger._database.write(Failpoint.BATCH_PRICES) as session:
        batch = await session.get(Batch, "batch_1")
        batch.prices = snapshot(price(model="gpt-4.1-2025-04-14"), price("gemini", "gpt-4.1"))
    assert await stand.fetch() == Ack()
    batch, costs = await assembled(stand)
    assert (batch.unpriced_lines, costs) == (0, [FIRST, SECOND, THIRD])


async def write_answer(stand: Stand, prefix: str) -> None:
    """The second line's, at 100 nano-dollars."""
    writer = ResultWriter(
        stand.runtime.blobs, prefix, point=Failpoint.SHARD_RESULTS, segment_bytes=1 << 20
    )
    line = LineMaker("batch_1", [""]).line(2, "two", 0, answer_tail(b"{}", None, 2), 100)
    await writer.append(2, line.rstrip(), succeeded=True)
    await writer.close()
