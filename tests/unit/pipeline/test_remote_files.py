"""What was uploaded for a shard is deleted when it is settled, once, by whoever comes first."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from polybatch.v1.events_pb2 import WorkItem

from core.bus import Ack, Delivery, Snooze
from core.ledger import Batch, Ledger, LedgerUnavailable, Settlement, Shard, now
from core.pipeline import RemoteFileCleanup, Runtime
from core.providers import ProviderRejected, ProviderUnavailable
from tests.support.ledger.rows import LEASE, intend, make_batch, reread


class Files:
    """A provider that notes what is deleted."""

    def __init__(self, *, days: int = 7, error: Exception | None = None) -> None:
        self.input_lifetime = timedelta(days=days)
        self.deleted: list[str] = []
        self.error = error

    async def discard(self, remote_file_id: str) -> None:
        self.deleted.append(remote_file_id)
        if self.error is not None:
            raise self.error

    async def discard_all(self, shard_id: str, since: datetime) -> int:
        assert since <= now()
        self.deleted.append(f"all of {shard_id}")
        if self.error is not None:
            raise self.error
        return 2


def inputs(ledger: Ledger, files: Files) -> RemoteFileCleanup:
    runtime: Any = SimpleNamespace(ledger=ledger)
    registry: Any = {"openai": files, "anthropic": files}
    return RemoteFileCleanup(cast("Runtime", runtime), registry)


async def settled(ledger: Ledger, shard: Shard, *, orphans: bool = False) -> Shard:
    attempt = await intend(ledger, shard)
    assert await ledger.shards.mark_dispatched(
        attempt, LEASE, remote_file_id="file-1", orphans=orphans
    )
    outcome = await ledger.shards.settle(await reread(ledger, shard), Settlement(0, 1))
    assert isinstance(outcome, Batch)
    return await reread(ledger, shard)


async def test_of_many_that_come_at_once_one_deletes(ledger: Ledger) -> None:
    batch, (shard, _) = await make_batch(ledger)
    done = await settled(ledger, shard)
    files = Files()
    uploads = inputs(ledger, files)
    await asyncio.gather(*(uploads.discard(done) for _ in range(5)), uploads.clear(batch.id))
    assert files.deleted == ["file-1"]


async def test_copies_are_found_by_name_where_there_may_be_any(ledger: Ledger) -> None:
    _, (shard, _) = await make_batch(ledger)
    done = await settled(ledger, shard, orphans=True)
    files = Files()
    await inputs(ledger, files).discard(done)
    assert files.deleted == [f"all of {shard.id}"]


async def test_what_is_in_use_stays(ledger: Ledger) -> None:
    batch, (shard, _) = await make_batch(ledger)
    attempt = await intend(ledger, shard)
    assert await ledger.shards.mark_dispatched(attempt, LEASE, remote_file_id="file-1")
    files = Files()
    uploads = inputs(ledger, files)
    await uploads.discard(await reread(ledger, shard))
    await uploads.clear(batch.id)
    assert files.deleted == []


@pytest.mark.parametrize("orphans", [False, True])
@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (ProviderUnavailable("away"), 5),
        (ProviderUnavailable("busy", retry_after=40.0), 40),
        (ProviderRejected("no", "no", 401), 5),
        (TimeoutError(), 5),
    ],
)
async def test_a_deletion_that_fails_is_tried_again_later(
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    seconds: float,
    orphans: bool,
) -> None:
    batch, (shard, _) = await make_batch(ledger)
    done = await settled(ledger, shard, orphans=orphans)
    files = Files(error=error)
    uploads = inputs(ledger, files)
    await uploads.discard(done)
    await uploads.clear(batch.id)
    assert len(files.deleted) == 1, "not at once"
    assert await ledger.remote_files.due(10) == []
    files.error = None
    moment = now() + timedelta(seconds=seconds)
    monkeypatch.setattr("core.ledger.remote_files.now", lambda: moment)
    assert await ledger.remote_files.due(10) == [batch.id]
    await uploads.clear(batch.id)
    assert files.deleted[1:] == files.deleted[:1]
    assert await ledger.remote_files.due(10) == []
    await uploads.clear(batch.id)
    assert len(files.deleted) == 2


async def test_what_the_provider_refuses_to_delete_is_left(ledger: Ledger) -> None:
    batch, (shard, _) = await make_batch(ledger)
    done = await settled(ledger, shard)
    files = Files(error=ProviderRejected("no", "no", 400))
    uploads = inputs(ledger, files)
    await uploads.discard(done)
    await uploads.clear(batch.id)
    assert files.deleted == ["file-1"]


async def test_the_provider_deletes_it_itself_in_the_end(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, (shard, _) = await make_batch(ledger)
    done = await settled(ledger, shard)
    files = Files(error=ProviderUnavailable("away"), days=7)
    moment = now() + timedelta(days=8)
    monkeypatch.setattr("core.pipeline.remote_files.now", lambda: moment)
    await inputs(ledger, files).discard(done)
    monkeypatch.setattr("core.ledger.remote_files.now", lambda: moment + timedelta(days=30))
    assert await ledger.remote_files.due(10) == []


async def test_the_end_of_a_batch_clears_what_a_dead_process_left(ledger: Ledger) -> None:
    batch, (shard, _) = await make_batch(ledger)
    await settled(ledger, shard)
    files = Files()

    async def assemble(_item: WorkItem, _delivery: Delivery) -> Ack | Snooze:
        assert files.deleted == [], "first what somebody waits for"
        return Snooze(1.0)

    handler = inputs(ledger, files).clearing(assemble)
    outcome = await handler(WorkItem(batch_id=batch.id), Delivery(1, now()))
    assert outcome == Snooze(1.0)
    assert files.deleted == ["file-1"]


async def test_a_ledger_that_is_away_does_not_undo_what_was_done(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_batch_id: str) -> list[str]:
        raise LedgerUnavailable("away")

    async def assemble(_item: WorkItem, _delivery: Delivery) -> Ack | Snooze:
        return Ack()

    monkeypatch.setattr(ledger.remote_files, "left", away)
    handler = inputs(ledger, Files()).clearing(assemble)
    assert await handler(WorkItem(batch_id="batch_1"), Delivery(1, now())) == Ack()


async def test_without_uploads_nothing_is_asked(ledger: Ledger) -> None:
    _, (shard, _) = await make_batch(ledger)
    done = await settled(ledger, shard)
    files = Files(days=0)
    await inputs(ledger, files).discard(done)
    assert files.deleted == []


async def test_a_deletion_waits_for_access_to_its_provider(ledger: Ledger) -> None:
    batch, (shard, _) = await make_batch(ledger)
    await settled(ledger, shard)
    runtime: Any = SimpleNamespace(ledger=ledger)
    await RemoteFileCleanup(cast("Runtime", runtime), {}).clear(batch.id)
    kept = await reread(ledger, shard)
    assert kept.remote_file_id == "file-1"
    assert kept.inputs_due_at is not None
    assert kept.inputs_due_at > now()
