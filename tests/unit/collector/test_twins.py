"""Lines that take the answers of equal ones: woken once, and written by one collector."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from polybatch.v1.events_pb2 import BatchEvent, WorkItem

from core.blobs import BlobStore
from core.bus import Ack, Delivery, Snooze, Step
from core.ledger import (
    TWINS_WAIT,
    Batch,
    CanaryState,
    File,
    Ledger,
    Settlement,
    Shard,
    ShardPurpose,
    ShardState,
    now,
)
from core.pipeline import LateShards, Runtime, Settler
from core.settings import Settings
from services.collector.fetch import Fetcher
from tests.support.ledger.rows import batch_row, create, intend, reread, shard_row
from tests.support.prices import batch_prices
from tests.unit.collector.test_late import Heard

LEASE = timedelta(minutes=1)


class Wakes(Heard):
    async def enqueue(self, step: Step, batch_id: str, shard_id: str = "") -> None:
        self.wakes.append((step, shard_id))


class Stand:
    """A batch of one line that goes first, and of two shards that take its answer."""

    def __init__(self, ledger: Ledger, blobs: BlobStore, folder: Path) -> None:
        self.ledger, self.heard = ledger, Wakes()
        settings = Settings(data_dir=folder)
        self.runtime = Runtime(settings, ledger, blobs, cast("Any", None), self.heard)
        self.settler = Settler(self.runtime)
        self.late = LateShards(self.runtime, {})
        self.fetcher = Fetcher(
            self.runtime, {}, self.settler, self.late, batch_prices(self.runtime.ledger)
        )
        self.run: Shard
        self.twins: list[Shard]

    async def plan(self, file: File) -> None:
        batch = batch_row(file, total=3, queued=3, reuse_seconds=0.0, fail_fast=True)
        batch.canary_lines, batch.canary_state = 1, CanaryState.RUNNING
        await create(self.ledger, batch)
        run = shard_row(batch, line_count=1, model="m", purpose=ShardPurpose.CANARY)
        twins = [
            shard_row(batch, ordinal=number, line_count=1, purpose=ShardPurpose.TWINS)
            for number in (1, 2)
        ]
        for shard in twins:
            shard.state, shard.due_at = ShardState.FETCHING, now() + TWINS_WAIT
        assert isinstance(await self.ledger.batches.plan(batch.id, [run, *twins]), Batch)
        self.run, *self.twins = await self.ledger.shards.of_batch(batch.id)

    def woken(self) -> list[str]:
        """Ids of shards to be fetched."""
        return [shard_id for step, shard_id in self.heard.wakes if step == Step.FETCH]


@pytest.fixture
async def stand(ledger: Ledger, blobs: BlobStore, tmp_path: Path, file: File) -> Stand:
    made = Stand(ledger, blobs, tmp_path)
    await made.plan(file)
    return made


async def test_they_are_woken_once(stand: Stand) -> None:
    """Each that is done would have all others written once more."""
    intended = await intend(stand.ledger, stand.run)
    assert await stand.settler.settle(intended, Settlement(1, 0))
    assert stand.woken() == [shard.id for shard in stand.twins]
    first = await reread(stand.ledger, stand.twins[0])
    assert await stand.settler.settle(first, Settlement(1, 0, reused=1))
    assert stand.woken() == [shard.id for shard in stand.twins]


async def test_one_collector_writes_them(stand: Stand) -> None:
    intended = await intend(stand.ledger, stand.run)
    assert await stand.settler.settle(intended, Settlement(1, 0))
    twins = await reread(stand.ledger, stand.twins[0])
    assert await stand.ledger.shards.claim_fetch(twins, LEASE)
    item = WorkItem(batch_id=twins.batch_id, shard_id=twins.id)
    again = await stand.fetcher.handle(item, Delivery(1, now()))
    assert isinstance(again, Snooze)
    assert 0 < again.delay <= LEASE.total_seconds()
    due = (await reread(stand.ledger, twins)).due_at
    assert due <= now() + LEASE, "whoever has it keeps it"


async def test_what_waited_for_a_shard_that_is_given_up_goes_on(stand: Stand) -> None:
    """Its provider refuses the key of a batch that fails fast."""
    ledger = stand.ledger
    intended = await intend(ledger, stand.run)
    assert await ledger.shards.mark_dispatched(intended, LEASE) is True
    await stand.late.let_go(await reread(ledger, intended), "refused_key", "why")
    assert stand.woken() == [shard.id for shard in stand.twins]
    kinds = stand.heard.kinds
    assert BatchEvent.HALTED in kinds
    assert kinds.count(BatchEvent.CANARY_ENDED) == 1
    # Its answers come after all.
    assert await stand.settler.settle(await reread(ledger, intended), Settlement(1, 0))
    assert kinds.count(BatchEvent.CANARY_ENDED) == 1


async def test_they_wait_for_the_others(stand: Stand) -> None:
    item = WorkItem(batch_id=stand.run.batch_id, shard_id=stand.twins[0].id)
    assert await stand.fetcher.handle(item, Delivery(1, now())) == Ack()
