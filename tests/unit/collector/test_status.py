"""Watches, as their callers get them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from polybatch.v1 import status_pb2

from core.bus import Bus
from core.ledger import Batch, Ledger
from core.serving import ApiError, Principal
from services.collector.hub import Hub
from services.collector.status import StatusService
from tests.support.gateway.nats import Nats
from tests.support.principals import speaking_as

PATIENCE = 10.0


@pytest.fixture
async def bus(own_nats: Nats) -> AsyncIterator[Bus]:
    connected = await Bus.connect(own_nats.url, name="test")
    yield connected
    await connected.close()


@asynccontextmanager
async def watching(hub: Hub, ledger: Ledger, batch: Batch, last: int) -> AsyncIterator[Any]:
    stop = asyncio.Event()
    running = asyncio.create_task(hub.run(stop))
    service = StatusService(ledger, hub, heartbeat=3600)
    request = status_pb2.WatchBatchRequest(batch_id=batch.id, last_revision=last)
    with speaking_as(Principal(batch.account_id, "")):
        async with asyncio.timeout(PATIENCE):
            yield service.WatchBatch(request, cast(Any, None))
    stop.set()
    await running


def revision(message: bytes) -> int:
    return status_pb2.WatchBatchResponse.FromString(message).batch.revision


async def test_who_has_seen_more_than_a_restored_ledger_knows_is_shown_that(
    ledger: Ledger, bus: Bus, batch: Batch
) -> None:
    """Else nothing would ever be newer, and the watch would not end with the batch."""
    ended = await ledger.batches.fail(batch.id, "bad_file", "It cannot be planned.")
    assert isinstance(ended, Batch)
    hub = Hub(ledger, bus, recheck=3600, heartbeat=3600)
    for last, shown in ((ended.revision + 50, [ended.revision]), (ended.revision, [])):
        async with watching(hub, ledger, batch, last) as watch:
            assert [revision(message) async for message in watch] == shown


async def test_a_batch_that_goes_between_the_two_looks_of_a_watch(
    ledger: Ledger, bus: Bus, batch: Batch
) -> None:
    class Slow(Hub):
        async def refresh(self, batch_ids: Any) -> None:
            assert isinstance(await ledger.batches.fail(batch.id, "bad_file", "So it is."), Batch)
            await ledger.removal.delete(batch.account_id, batch.id)
            await super().refresh(batch_ids)

    hub = Slow(ledger, bus, recheck=3600, heartbeat=3600)
    async with watching(hub, ledger, batch, 0) as watch:
        with pytest.raises(ApiError) as refused:
            assert not [message async for message in watch if message]
    assert refused.value.reason == "BATCH_NOT_FOUND"
