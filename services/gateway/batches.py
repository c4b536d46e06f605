"""BatchService of polybatch.v1: making, showing and cancelling batches."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import structlog
from polybatch.v1 import batches_pb2, batches_pb2_grpc
from polybatch.v1.events_pb2 import BatchEvent

from core.bus import Step
from core.ledger import Batch, BatchState, Ledger, NoResults, ResultsGone, Stale
from core.pipeline import EventPublisher, HeldShards, outages
from core.pipeline.messages import STATES, shown_batch, shown_batches
from core.serving import ApiError, current_principal
from core.serving.paging import cut_page, page_size, parse_page_token
from services.gateway.batch_args import BatchArgs, invalid_fields
from services.gateway.batch_filter import parse_filter
from services.gateway.billing import BilledKeys
from services.gateway.creating import BatchMaker
from services.gateway.estimates import BatchEstimates
from services.gateway.framing import parse_chunk, parse_spec
from services.gateway.retrying import Retrier
from services.gateway.stream import MessageStream
from services.gateway.upload import Uploads
from services.gateway.upload_spec import Spec

log = structlog.get_logger()

Context = grpc.aio.ServicerContext[Any, Any]

_RESULTS = {
    batches_pb2.RESULTS_KIND_UNSPECIFIED: ResultsGone.ALL,
    batches_pb2.RESULTS_KIND_SUCCEEDED: ResultsGone.SUCCEEDED,
    batches_pb2.RESULTS_KIND_FAILED: ResultsGone.FAILED,
}
_LEDGER_STATES = {on_wire: state for state, on_wire in STATES.items()}


class BatchServicer(batches_pb2_grpc.BatchServiceServicer):
    """Answers as the comments in batches.proto say."""

    def __init__(
        self,
        ledger: Ledger,
        publisher: EventPublisher,
        uploads: Uploads,
        maker: BatchMaker,
        estimates: BatchEstimates,
        billed_keys: BilledKeys,
        retrier: Retrier,
        *,
        idle_timeout: float,
        allow_private_webhooks: bool,
    ) -> None:
        self._ledger = ledger
        self._publisher = publisher
        self._held = HeldShards(ledger, publisher)
        self._uploads = uploads
        self._maker = maker
        self._estimates = estimates
        self._billed_keys = billed_keys
        self._retrier = retrier
        self._idle_timeout = idle_timeout
        self._allow_private_webhooks = allow_private_webhooks

    async def CreateBatch(
        self, request: batches_pb2.CreateBatchRequest, _context: Context
    ) -> batches_pb2.Batch:
        batch_args = self._parse(request)
        if not request.input_file_id:
            raise invalid_fields([("input_file_id", "the id of an uploaded file")])
        with outages():
            batch = await self._maker.make(
                current_principal().account_id, request.input_file_id, batch_args
            )
            return await shown_batch(self._ledger, batch)

    async def SubmitBatch(
        self, messages: AsyncIterator[bytes], _context: Context
    ) -> batches_pb2.Batch:
        """Takes the messages as they came; see services.gateway.framing."""
        account_id = current_principal().account_id
        async with MessageStream(messages, idle_timeout=self._idle_timeout) as stream:
            first = parse_spec(await stream.next() or b"", batches_pb2.SubmitBatchRequest)
            spec = Spec.parse(first.spec.upload)
            # Before the upload: nobody wants to send a file for nothing.
            batch_args = self._parse(first.spec.batch).known_as(f"upload:{spec.upload_id}")
            with outages():
                await self._maker.refuse_unsigned(account_id, batch_args)

            async def next_chunk() -> bytes | None:
                return parse_chunk(await stream.next(), batches_pb2.SubmitBatchRequest)

            with outages():
                await self._billed_keys.find(batch_args.key_id)
                finished = await self._uploads.receive(account_id, spec, next_chunk)
        with outages():
            batch = await self._maker.make(account_id, finished.file.id, batch_args)
            return await shown_batch(self._ledger, batch)

    async def EstimateBatch(
        self, request: batches_pb2.EstimateBatchRequest, _context: Context
    ) -> batches_pb2.BatchEstimate:
        if not request.input_file_id:
            raise invalid_fields([("input_file_id", "the id of an uploaded file")])
        with outages():
            return await self._estimates.of(
                current_principal().account_id,
                request.input_file_id,
                lenient=request.lenient_translation,
            )

    async def GetBatch(
        self, request: batches_pb2.GetBatchRequest, _context: Context
    ) -> batches_pb2.Batch:
        with outages():
            return await shown_batch(self._ledger, await self._get(request.batch_id))

    async def ListBatches(
        self, request: batches_pb2.ListBatchesRequest, _context: Context
    ) -> batches_pb2.ListBatchesResponse:
        size = page_size(request.page_size)
        after = parse_page_token(request.page_token, request.filter)
        unknown = [state for state in request.states if state not in _LEDGER_STATES]
        if unknown:
            raise invalid_fields([("states", "states of polybatch.v1.BatchState")])
        states = [_LEDGER_STATES[state] for state in request.states]
        conditions = parse_filter(request.filter)
        with outages():
            batches = await self._ledger.batches.page(
                current_principal().account_id,
                size + 1,
                after,
                states,
                conditions,
                oldest_first=request.oldest_first,
            )
            shown, token = cut_page(batches, size, request.filter)
            return batches_pb2.ListBatchesResponse(
                batches=await shown_batches(self._ledger, shown), next_page_token=token
            )

    async def CancelBatch(
        self, request: batches_pb2.CancelBatchRequest, _context: Context
    ) -> batches_pb2.Batch:
        with outages():
            batch = await self._get(request.batch_id)
            cancelled = await self._ledger.batches.cancel(batch.id)
            if isinstance(cancelled, Stale):
                return await shown_batch(self._ledger, await self._ending(batch.id))
            log.info("batch_cancelled", batch_id=batch.id, account_id=batch.account_id)
            await self._publisher.changed(cancelled, BatchEvent.CANCEL_REQUESTED)
            await self._publisher.enqueue(Step.STOP, batch.id)
            return await shown_batch(self._ledger, cancelled)

    async def PauseBatch(
        self, request: batches_pb2.PauseBatchRequest, _context: Context
    ) -> batches_pb2.Batch:
        with outages():
            batch = await self._get(request.batch_id)
            key_id = current_principal().key_id
            paused = await self._ledger.pauses.pause_batch(batch.id, key_id)
            if isinstance(paused, Batch):
                log.info("batch_paused", batch_id=batch.id, key_id=key_id)
                await self._publisher.changed(paused, BatchEvent.PAUSED)
            return await self._steered(batch.id, paused)

    async def ResumeBatch(
        self, request: batches_pb2.ResumeBatchRequest, _context: Context
    ) -> batches_pb2.Batch:
        with outages():
            batch = await self._get(request.batch_id)
            resumed = await self._ledger.pauses.resume_batch(batch.id)
            if isinstance(resumed, Batch):
                log.info("batch_resumed", batch_id=batch.id, key_id=current_principal().key_id)
                await self._publisher.changed(resumed, BatchEvent.RESUMED)
                await self._held.of_batch(batch.id)
            return await self._steered(batch.id, resumed)

    async def _steered(self, batch_id: str, moved: Batch | Stale | None) -> batches_pb2.Batch:
        """The batch as it is after a transition that may not have been needed. Or BATCH_ENDED."""
        batch = moved if isinstance(moved, Batch) else await self._get(batch_id)
        if isinstance(moved, Stale):
            raise _ended(batch)
        return await shown_batch(self._ledger, batch)

    async def DeleteBatch(
        self, request: batches_pb2.DeleteBatchRequest, _context: Context
    ) -> batches_pb2.DeleteBatchResponse:
        account_id = current_principal().account_id
        with outages():
            deleted = await self._ledger.removal.delete(account_id, request.batch_id)
            if deleted is None:
                raise batch_not_found(request.batch_id)
            if isinstance(deleted, Stale):
                raise batch_not_ended()
            log.info("batch_deleted", batch_id=deleted.id, account_id=account_id)
            await self._publisher.changed(deleted, BatchEvent.DELETED)
        return batches_pb2.DeleteBatchResponse()

    async def DeleteResults(
        self, request: batches_pb2.DeleteResultsRequest, _context: Context
    ) -> batches_pb2.Batch:
        account_id = current_principal().account_id
        if request.kind not in _RESULTS:
            raise invalid_fields([("kind", "a kind of polybatch.v1.ResultsKind")])
        with outages():
            changed = await self._ledger.removal.delete_results(
                account_id, request.batch_id, _RESULTS[request.kind]
            )
            if changed is None:
                raise batch_not_found(request.batch_id)
            if isinstance(changed, Stale):
                raise batch_not_ended()
            if isinstance(changed, NoResults):
                raise ApiError.failed_precondition(
                    "NO_RESULTS", "the batch failed before any line ran; see its errors"
                )
            log.info("results_deleted", batch_id=changed.id, account_id=account_id)
            return await shown_batch(self._ledger, changed)

    async def RetryBatch(
        self, request: batches_pb2.RetryBatchRequest, _context: Context
    ) -> batches_pb2.Batch:
        with outages():
            return await shown_batch(self._ledger, await self._retrier.retry(request, self._parse))

    def _parse(self, request: batches_pb2.CreateBatchRequest) -> BatchArgs:
        return BatchArgs.parse(request, allow_private_webhooks=self._allow_private_webhooks)

    async def _ending(self, batch_id: str) -> Batch:
        """A batch that can no longer be cancelled, if that is because it was. Or BATCH_ENDED."""
        batch = await self._get(batch_id)
        if batch.state in (BatchState.CANCELLING, BatchState.CANCELLED):
            return batch
        raise _ended(batch)

    async def _get(self, batch_id: str) -> Batch:
        batch = await self._ledger.batches.get(batch_id, current_principal().account_id)
        if batch is None:
            raise batch_not_found(batch_id)
        return batch


def _ended(batch: Batch) -> ApiError:
    """It can no longer be steered."""
    state = BatchState(batch.state).value
    return ApiError.failed_precondition(
        "BATCH_ENDED", f"the batch is {state}: fetch its results", metadata={"state": state}
    )


def batch_not_found(batch_id: str) -> ApiError:
    """There is none, or it is another account's, or deleted."""
    return ApiError.not_found("BATCH_NOT_FOUND", f"there is no batch {batch_id[:64]!r}")


def batch_not_ended() -> ApiError:
    """It cannot be deleted yet."""
    return ApiError.failed_precondition(
        "BATCH_NOT_ENDED", "the batch has not ended: cancel it, and watch it to its end first"
    )
