"""Polls of all that runs at a provider: taken by one of several replicas."""

from __future__ import annotations

import asyncio
from datetime import datetime

from core.ledger import Batch, Ledger, ProviderLoad, Shard, now
from tests.support.ledger.in_flight import MINUTE, in_flight

KEYS = ("", "key-1")


async def due_times(ledger: Ledger, shards: list[Shard]) -> list[datetime]:
    return [shard.due_at for shard in await ledger.shards.of_batch(shards[0].batch_id)]


async def test_a_crowd_is_counted(ledger: Ledger) -> None:
    moment = now()
    await in_flight(ledger, 3, due_at=moment)
    await in_flight(ledger, 2, credential="", due_at=moment + MINUTE)
    await in_flight(ledger, 4, due_at=moment + 3 * MINUTE)
    # Of another key, at another provider, or no longer there.
    await in_flight(ledger, 5, credential="key-2", due_at=moment)
    await in_flight(ledger, 6, provider="anthropic", due_at=moment)
    (gone,) = await in_flight(ledger, 1, due_at=moment)
    assert isinstance(await ledger.shards.fetching(gone, "completed"), Batch)
    load = await ledger.list_polls.load("openai", KEYS, moment, moment + 2 * MINUTE)
    assert load == ProviderLoad(total=9, due=3, gathered=2)
    assert await ledger.list_polls.load("mistral", KEYS, moment, moment) == ProviderLoad(0, 0, 0)


async def test_a_claim_takes_all_that_runs_once(ledger: Ledger) -> None:
    due = await in_flight(ledger, 1200)
    later = await in_flight(ledger, 2, due_at=now() + 5 * MINUTE)
    stranger = await in_flight(ledger, 2, credential="key-2")
    until = now() + MINUTE
    claimed = await ledger.list_polls.claim(due[0], KEYS, until, 5000)
    assert claimed is not None
    assert {each.id for each in claimed} == {shard.id for shard in due + later}
    # As it was before it was taken: what was not due keeps its time if the list lacks it.
    assert {each.due_at for each in claimed} == {due[0].due_at, later[0].due_at}
    assert set(await due_times(ledger, due) + await due_times(ledger, later)) == {until}
    assert until not in await due_times(ledger, stranger)
    batch = await ledger.batches.get(due[0].batch_id)
    assert batch.revision == 2, "no news to anybody"
    assert await ledger.list_polls.claim(due[0], KEYS, until + MINUTE, 5000) is None
    assert await ledger.list_polls.claim(due[1], KEYS, until + MINUTE, 5000) is None


async def test_a_claim_is_bounded_and_takes_the_longest_due(ledger: Ledger) -> None:
    early = await in_flight(ledger, 3, due_at=now() - MINUTE)
    await in_flight(ledger, 3)
    claimed = await ledger.list_polls.claim(early[0], KEYS, now() + MINUTE, 3)
    assert claimed is not None
    assert {each.id for each in claimed} == {shard.id for shard in early}


async def test_what_a_batch_has_given_up_has_times_of_its_own(ledger: Ledger) -> None:
    shards = await in_flight(ledger, 1)
    await in_flight(ledger, 1, given_up_at=now())
    claimed = await ledger.list_polls.claim(shards[0], KEYS, now() + MINUTE, 10)
    assert claimed is not None
    assert [each.id for each in claimed] == [shards[0].id]


async def test_of_two_replicas_one_claims(database_url: str) -> None:
    two = [await Ledger.open(database_url) for _ in range(2)]
    try:
        shards = await in_flight(two[0], 20)
        until = now() + MINUTE
        claims = await asyncio.gather(
            *(
                two[number % 2].list_polls.claim(shard, KEYS, until, 5000)
                for number, shard in enumerate(shards)
            )
        )
        taken = [each.id for claim in claims if claim is not None for each in claim]
        assert sorted(taken) == sorted(shard.id for shard in shards)
    finally:
        for ledger in two:
            await ledger.close()


async def test_what_is_put_off_is_what_nobody_moved(ledger: Ledger) -> None:
    shards = await in_flight(ledger, 4)
    until, later = now() + MINUTE, now() + 7 * MINUTE
    assert await ledger.list_polls.claim(shards[0], KEYS, until, 10) is not None
    assert await ledger.shards.postpone(shards[1], later)
    assert isinstance(await ledger.shards.fetching(shards[2], "completed"), Batch)
    own = {shard.id: later + MINUTE * number for number, shard in enumerate(shards)}
    await ledger.list_polls.put_off(own, until)
    found = await due_times(ledger, shards)
    assert found[0] == own[shards[0].id]
    assert found[1] == later
    assert found[2] not in own.values()
    assert found[3] == own[shards[3].id]
