"""Work that waits: what comes back how soon, and what the ledger shows of it."""

from __future__ import annotations

import errno
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from polybatch.v1.events_pb2 import BatchEvent, WorkItem

from core.blobs import BlobMissing, BlobUnavailable
from core.bus import Ack, Delivery, Snooze
from core.ledger import Batch, Ledger, LedgerUnavailable, Shard, ShardState, now
from core.pipeline import Runtime, outage_retry
from tests.support.ledger.rows import batch_row, create, file_row, reread, shard_row

FULL = OSError(errno.ENOSPC, "no space left")


def no_room() -> BlobUnavailable:
    error = BlobUnavailable("blob a: no space left", key="a")
    error.__cause__ = FULL
    return error


class Told:
    """An announcer that only notes what changed."""

    def __init__(self) -> None:
        self.kinds: list[Any] = []

    async def changed(self, batch: Batch, kind: Any, shard: Shard | None = None) -> None:
        self.kinds.append(kind)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def runtime(ledger: Ledger, told: Told) -> Runtime:
    return cast(Runtime, SimpleNamespace(ledger=ledger, publisher=told))


@pytest.fixture
async def batch(ledger: Ledger) -> Batch:
    """One that waits to be planned."""
    file = await ledger.files.finish_upload(
        file_row(account_id="acct_1", upload_id="upload-1", line_count=10)
    )
    made = await create(ledger, batch_row(file, total=10))
    return made


async def planned(ledger: Ledger, batch: Batch) -> Shard:
    shard = shard_row(batch, model="gpt-4.1", line_count=10)
    assert isinstance(await ledger.batches.plan(batch.id, [shard]), Batch)
    return shard


async def handled(
    runtime: Runtime, error: Exception, batch_id: str, shard_id: str = "", *, count: int = 1
) -> Ack | Snooze:
    async def fails(_item: WorkItem, _delivery: Delivery) -> Ack:
        raise error

    item = WorkItem(batch_id=batch_id, shard_id=shard_id)
    return await outage_retry(runtime, fails)(item, Delivery(count, now()))


@pytest.mark.parametrize(
    ("error", "longest"), [(LedgerUnavailable("away"), 5.0), (no_room(), 15.0), (FULL, 15.0)]
)
async def test_it_comes_back_soon_however_often_it_failed(
    runtime: Runtime, batch: Batch, error: Exception, longest: float
) -> None:
    for count in (1, 5, 1000):
        outcome = await handled(runtime, error, batch.id, count=count)
        assert isinstance(outcome, Snooze)
        assert 0.3 < outcome.delay <= 1.25 * longest


async def test_a_batch_shows_why_it_waits_and_that_it_does_no_longer(
    ledger: Ledger, runtime: Runtime, told: Told, batch: Batch
) -> None:
    for _ in range(3):
        before = now()
        outcome = await handled(runtime, no_room(), batch.id)
        assert isinstance(outcome, Snooze)
        seen = await reread(ledger, batch)
        assert "disk is full" in seen.waiting_reason
        # The sweep does not wake it before its message comes back.
        assert seen.due_at >= before + timedelta(seconds=outcome.delay)
    assert told.kinds == [BatchEvent.BATCH_WAITING], "told once"
    assert seen.revision == batch.revision + 1
    await planned(ledger, batch)
    seen = await reread(ledger, batch)
    assert seen.waiting_reason == ""


async def test_a_shard_shows_why_it_waits(
    ledger: Ledger, runtime: Runtime, told: Told, batch: Batch
) -> None:
    shard = await planned(ledger, batch)
    assert isinstance(await handled(runtime, no_room(), batch.id, shard.id), Snooze)
    seen = await reread(ledger, shard)
    assert (seen.state, "disk is full" in seen.waiting_reason) == (ShardState.QUEUED, True)
    away = BlobUnavailable("blob a: connection refused", key="a")
    assert isinstance(await handled(runtime, away, batch.id, shard.id), Snooze)
    seen = await reread(ledger, shard)
    assert "does not answer" in seen.waiting_reason
    assert told.kinds == [BatchEvent.SHARD_WAITING] * 2


async def test_what_is_no_outage_passes_through(runtime: Runtime, batch: Batch) -> None:
    for error in (ValueError("a mistake"), OSError(errno.EACCES, "not allowed")):
        with pytest.raises(type(error)):
            await handled(runtime, error, batch.id)


async def test_what_was_deleted_because_its_work_is_done_is_no_failure(
    runtime: Runtime, ledger: Ledger, batch: Batch
) -> None:
    """Its batch is cancelled, ends and is cleaned up, while a dispatcher is about to read it."""
    shard = await planned(ledger, batch)
    item = WorkItem(batch_id=batch.id, shard_id=shard.id)

    async def read(_item: WorkItem, _delivery: Delivery) -> Ack | Snooze:
        raise BlobMissing("no blob lines", key="lines")

    handle = outage_retry(runtime, read)
    with pytest.raises(BlobMissing):
        await handle(item, Delivery(1, now()))
    assert isinstance(await ledger.batches.cancel(batch.id), Batch)
    assert isinstance(await ledger.batches.settle_queued(batch.id), Batch)
    assert await handle(item, Delivery(1, now())) == Ack()
