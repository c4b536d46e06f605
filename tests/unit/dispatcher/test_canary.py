"""Which lines go first: chosen over the file, and the same however often it is planned."""

from __future__ import annotations

from collections import Counter

import pytest

from core.batchfile import INDEX
from core.blobs import BlobStore
from core.ledger import Priority, ShardPurpose
from core.providers import Provider
from services.dispatcher.canary import CanaryLines
from services.dispatcher.sharding import plan_shards
from tests.support.input_files import chat, store
from tests.unit.dispatcher.test_sharding import CLAUDE, OPENAI, limit, lines_of, providers

__all__ = ["providers"]


def chosen(batch_id: str, wanted: int, total: int) -> list[int]:
    canary = CanaryLines(batch_id, wanted, [total])
    return [number for number in range(total) if canary.take(0)]


@pytest.mark.parametrize(("wanted", "total"), [(1, 1), (3, 10), (10, 10), (20, 7), (100, 9973)])
def test_they_are_spread_over_the_file(wanted: int, total: int) -> None:
    found = chosen("batch_a", wanted, total)
    count = min(wanted, total)
    assert len(found) == count
    # One of each stretch: the gaps are at most two stretches long.
    assert [number * count // total for number in found] in (
        list(range(count)),
        [min(count - 1, number * count // total) for number in found],
    )
    assert found == chosen("batch_a", wanted, total)


def test_another_batch_tries_other_lines() -> None:
    assert chosen("batch_a", 10, 1000) != chosen("batch_b", 10, 1000)


def test_each_model_has_its_own() -> None:
    canary = CanaryLines("batch_a", 2, [5, 1, 0, 50])
    groups = [0, 3, 1] + [3] * 49 + [0] * 4
    assert Counter(group for group in groups if canary.take(group)) == {0: 2, 1: 1, 3: 2}


async def test_they_are_in_shards_of_their_own_that_come_first(
    blobs: BlobStore, providers: dict[str, Provider]
) -> None:
    limit(providers["openai"], max_lines=10)
    # Claude's batches mix models: those that go first do not.
    models = (OPENAI, CLAUDE, "anthropic/claude-4.5-haiku")
    batch, file = await store(blobs, [chat(n, models[n % 3]) for n in range(90)])
    batch.canary_lines, batch.priority = 4, Priority.HIGH
    shards = await plan_shards(batch, file, blobs, providers)
    assert [shard.ordinal for shard in shards] == list(range(len(shards)))
    first = [shard for shard in shards if shard.purpose == ShardPurpose.CANARY]
    assert shards[: len(first)] == first
    assert sorted((shard.model, shard.line_count) for shard in first) == sorted(
        (model, 4) for model in models
    )
    assert {shard.priority for shard in shards} == {Priority.HIGH}
    for shard in first:
        numbers = {models[(line - 1) % 3] for line in await lines_of(blobs, shard)}
        assert numbers == {shard.model}
    lines = [line for shard in shards for line in await lines_of(blobs, shard)]
    assert sorted(lines) == list(range(1, 91)), "each line once"

    again = await plan_shards(batch, file, blobs, providers)
    kept = [await blobs.get(shard.lines_key) for shard in again]
    assert [shard.id for shard in again] == [shard.id for shard in shards]
    assert sum(len(records) // INDEX.size for records in kept) == 90
