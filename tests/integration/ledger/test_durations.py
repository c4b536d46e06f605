"""How long a provider's batches take is learned from those that end."""

from __future__ import annotations

import asyncio

import pytest

from core.ledger import Batch, Ledger, now
from tests.support.ledger.in_flight import MINUTE, MODEL, in_flight


async def test_durations_are_learned(ledger: Ledger) -> None:
    assert await ledger.durations.of("openai", MODEL) is None
    shards = await in_flight(ledger, 3)
    for shard in shards:
        assert isinstance(await ledger.shards.fetching(shard, "completed"), Batch)
    assert not isinstance(await ledger.shards.fetching(shards[0], "completed"), Batch)
    learned = await ledger.durations.of("openai", MODEL)
    assert learned.ended == 3
    assert learned.mean_seconds == pytest.approx(600.0, rel=0.2)
    assert await ledger.durations.of("openai", "gpt-5") is None


async def test_the_newest_durations_count_for_most(ledger: Ledger) -> None:
    for minutes in [100] * 4 + [1] * 12:
        (shard,) = await in_flight(ledger, 1)
        shard.submitted_at = now() - minutes * MINUTE
        assert isinstance(await ledger.shards.fetching(shard, "completed"), Batch)
    learned = await ledger.durations.of("openai", MODEL)
    assert learned.ended == 16
    assert 60.0 <= learned.mean_seconds < 600.0


async def test_what_was_stopped_teaches_nothing(ledger: Ledger) -> None:
    (shard,) = await in_flight(ledger, 1)
    assert isinstance(await ledger.batches.cancel(shard.batch_id), Batch)
    assert isinstance(await ledger.shards.fetching(shard, "cancelled"), Batch)
    assert await ledger.durations.of("openai", MODEL) is None


async def test_durations_of_many_that_end_at_once(ledger: Ledger) -> None:
    shards = [(await in_flight(ledger, 1))[0] for _ in range(10)]
    ended = await asyncio.gather(*(ledger.shards.fetching(shard, "completed") for shard in shards))
    assert all(isinstance(batch, Batch) for batch in ended)
    learned = await ledger.durations.of("openai", MODEL)
    assert learned.ended == 10
