"""StatusService: live, resumable watches.

The methods yield messages that are serialized already: register them without a serializer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
from polybatch.v1 import status_pb2, status_pb2_grpc

from core.ledger import Batch, Ledger
from core.pipeline import SharedReads, outages
from core.pipeline.messages import shown_batches
from core.serving import ApiError, current_principal
from services.collector.hub import FIRST_BATCHES, LIVING, Hub
from services.collector.watchers import Snapshot

_SIGN_OF_LIFE = b""


class StatusService(status_pb2_grpc.StatusServiceServicer):
    """Serves polybatch.v1.StatusService."""

    def __init__(self, ledger: Ledger, hub: Hub, *, heartbeat: float) -> None:
        self._ledger = ledger
        self._batches = SharedReads(self._batch)
        self._hub = hub
        self._heartbeat = heartbeat

    async def WatchBatch(
        self,
        request: status_pb2.WatchBatchRequest,
        context: grpc.aio.ServicerContext[status_pb2.WatchBatchRequest, bytes],
    ) -> AsyncIterator[bytes]:
        """See protos/polybatch/v1/status.proto."""
        with outages():
            batch = await self._batches.get((request.batch_id, current_principal().account_id))
        if batch is None:
            raise _not_found(request.batch_id)
        seen = request.last_revision
        if seen > batch.revision:
            # Seen before the ledger was restored from a back-up: it counts from there again.
            seen = 0
        if batch.ended and seen == batch.revision:
            return
        async with self._hub.watch(batch) as topic:
            while True:
                self._check_open()
                snapshot = await topic.newer_than(seen)
                if snapshot is None:
                    if topic.gone:
                        raise _not_found(request.batch_id)
                    yield _SIGN_OF_LIFE
                    continue
                yield snapshot.message
                seen = snapshot.revision
                if snapshot.ended:
                    return

    async def WatchBatches(
        self,
        request: status_pb2.WatchBatchesRequest,
        context: grpc.aio.ServicerContext[status_pb2.WatchBatchesRequest, bytes],
    ) -> AsyncIterator[bytes]:
        """See protos/polybatch/v1/status.proto."""
        account_id = current_principal().account_id
        async with self._hub.watch_account(account_id) as watcher:
            with outages():
                living = await self._ledger.batches.page(account_id, FIRST_BATCHES, None, LIVING)
                first = await shown_batches(self._ledger, living)
            for snapshot in map(Snapshot.of, first):
                watcher.showed(snapshot)
                yield snapshot.message
            while True:
                self._check_open()
                changed = await watcher.take(self._heartbeat)
                for snapshot in changed:
                    yield snapshot.message
                if not changed:
                    yield _SIGN_OF_LIFE

    async def _batch(self, key: tuple[str, str]) -> Batch | None:
        batch_id, account_id = key
        return await self._ledger.batches.get(batch_id, account_id)

    def _check_open(self) -> None:
        if self._hub.closing:
            raise ApiError.stopping()


def _not_found(batch_id: str) -> ApiError:
    return ApiError.not_found("BATCH_NOT_FOUND", f"There is no batch {batch_id!r} in this account.")
