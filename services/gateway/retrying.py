"""RetryBatch: a batch of the lines of another that did not succeed.

In: the id of an ended batch, and which of its lines. Out: a new batch, its child, whose input is a
file made here. What can go wrong: nothing is left to retry; the input is gone; another retry of the
family is made meanwhile (the lines are chosen anew: each is in one of them); the caller's deadline
(the work goes on, and whoever comes again with the request id waits for it); a crash (what was
written is swept as an upload that was left, and the next call begins anew).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

import structlog
from google.protobuf.duration_pb2 import Duration
from polybatch.v1 import batches_pb2
from polybatch.v1.events_pb2 import BatchEvent

from core.blobs import BlobError, BlobMissing, BlobStore
from core.ledger import (
    MOST_GENERATIONS,
    Batch,
    BatchState,
    File,
    Ledger,
    LedgerUnavailable,
    NewRetry,
    RequestIdReused,
    ResultsGone,
)
from core.pipeline import EventPublisher
from core.pipeline.messages import money
from core.serving import ApiError, current_principal
from core.settings import Settings
from services.gateway.batch_args import BatchArgs, invalid_fields
from services.gateway.creating import BatchMaker
from services.gateway.discard import discard_upload
from services.gateway.retry_file import RetryFile
from services.gateway.retry_lines import RetryLines, Taken, Wanted
from services.gateway.shielding import uninterrupted
from services.gateway.upload_reservation import UploadReservation

log = structlog.get_logger()

_MOST_CODES = 100
_MOST_CODE_CHARS = 100
Parse = Callable[[batches_pb2.CreateBatchRequest], BatchArgs]


class Retrier:
    """Makes retries, each once however often it is asked for."""

    def __init__(
        self,
        ledger: Ledger,
        blobs: BlobStore,
        publisher: EventPublisher,
        maker: BatchMaker,
        settings: Settings,
    ) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._publisher = publisher
        self._maker = maker
        self._settings = settings
        self._lines = RetryLines(ledger, blobs)
        self._making: dict[tuple[str, str, str], asyncio.Task[Batch]] = {}

    async def retry(self, request: batches_pb2.RetryBatchRequest, parse: Parse) -> Batch:
        """Make the batch; the existing one if the request id was used before. Raises ApiError."""
        account_id = current_principal().account_id
        _check(request)
        parent = await self._ledger.batches.get(request.batch_id, account_id)
        if parent is None:
            raise _not_found(request.batch_id)
        batch_args = parse(_options(request, parent))
        digest = _digest(request)
        if batch_args.request_id is None:
            return await self._make(parent, request, batch_args, digest)
        key = (account_id, batch_args.request_id, digest)
        making = self._making.get(key)
        if making is None:
            # In a task of its own: a million lines may take longer than the caller waits.
            making = asyncio.create_task(self._make(parent, request, batch_args, digest))
            self._making[key] = making
            making.add_done_callback(lambda ended: self._forget(key, ended))
        return await asyncio.shield(making)

    def _forget(self, key: tuple[str, str, str], ended: asyncio.Task[Batch]) -> None:
        del self._making[key]
        if not ended.cancelled() and (error := ended.exception()) is not None:
            # Whoever waits is told as well; nobody may wait any more.
            log.info("retry_not_made", cause=type(error).__name__)

    async def _make(
        self,
        parent: Batch,
        request: batches_pb2.RetryBatchRequest,
        batch_args: BatchArgs,
        digest: str,
    ) -> Batch:
        wanted = Wanted(frozenset(request.codes), frozenset(request.cause_ids))
        while True:
            if batch_args.request_id is not None:
                earlier = await self._ledger.batches.find_request(
                    parent.account_id, batch_args.request_id
                )
                if earlier is not None:
                    return _made_before(earlier, digest)
            made = await self._try(parent.id, wanted, batch_args, digest)
            if made is not None:
                return made

    async def _try(
        self, batch_id: str, wanted: Wanted, batch_args: BatchArgs, digest: str
    ) -> Batch | None:
        """Choose the lines, copy them and record the batch; None: to be done once more."""
        parent = await self._ledger.batches.get(batch_id)
        if parent is None:
            raise _not_found(batch_id)
        _refuse_unfit(parent)
        # Before the family: a retry that is made from now on is noticed when this one is recorded.
        ancestors = await self._ledger.families.ancestors(parent)
        if len(ancestors) >= MOST_GENERATIONS:
            raise ApiError.failed_precondition(
                "TOO_MANY_RETRIES", f"it is a retry of a retry, {len(ancestors)} times over"
            )
        # All of it, from the first batch on: a retry of a sibling may have the same lines.
        first, *_ = ancestors
        family = await self._ledger.families.members(first.id)
        awaited = [
            shard
            for each in family
            if each.ended and each.awaited
            for shard in await self._ledger.late.waiting(each.id)
        ]
        if _marks(await self._ledger.families.members(first.id)) != _marks(family):
            # Late answers were merged meanwhile: what was awaited is to be seen with its results.
            return None
        source = await self._ledger.files.get_input(parent)
        if source is None:
            raise _input_gone(parent)
        upload_id = f"retry-{secrets.token_hex(12)}"
        reservation = UploadReservation(self._ledger, self._settings, parent.account_id, upload_id)
        await reservation.begin()
        kept = False
        try:
            above = {each.id for each in ancestors} - {parent.id}
            others = [each for each in family if each.id not in above]
            chosen = self._lines.chosen(parent, source, others, awaited, wanted)
            file = await self._copy(source, chosen, reservation, upload_id)
            if file is None:
                raise _nothing_left(parent, wanted)
            retry = NewRetry(file, [each.id for each in ancestors], first.retries)
            made = await self._maker.record(file, batch_args, digest, retry)
            kept = isinstance(made, Batch) and made.input_file_id == file.id
        except BlobMissing as error:
            if await self._ledger.files.get_input(parent) is None:
                raise _input_gone(parent) from error
            if _marks(await self._ledger.families.members(first.id)) == _marks(family):
                raise
            return None
        finally:
            if not kept:
                await uninterrupted(self._discard(reservation, parent.account_id, upload_id))
        if isinstance(made, RequestIdReused):
            earlier = await self._ledger.batches.get(made.batch_id, parent.account_id)
            # Deleted since, and with it the request id is free again: once more.
            return _made_before(earlier, digest) if earlier is not None else None
        if not isinstance(made, Batch):
            log.info("retry_chosen_anew", batch_id=parent.id)
            return None
        if kept:
            log.info("retry_created", batch_id=made.id, parent_id=parent.id, lines=made.total)
            for each in await self._ledger.batches.get_many(retry.ancestors):
                await self._publisher.changed(each, BatchEvent.RETRY_CREATED)
        return made

    async def _copy(
        self,
        source: File,
        chosen: AsyncGenerator[Taken, None],
        reservation: UploadReservation,
        upload_id: str,
    ) -> File | None:
        """The file of a retry, not yet recorded; None where no line is left."""
        written = RetryFile(
            self._blobs, source, upload_id, segment_bytes=self._settings.segment_bytes
        )
        await written.open()
        try:
            async with aclosing(chosen) as groups:
                async for group in groups:
                    await reservation.reach(written.size_with(group))
                    await written.take(group)
            return await written.finish()
        except BaseException:
            await uninterrupted(written.abandon())
            raise

    async def _discard(
        self, reservation: UploadReservation, account_id: str, upload_id: str
    ) -> None:
        await reservation.end(0)
        try:
            await discard_upload(self._ledger, self._blobs, account_id, upload_id)
        except (BlobError, LedgerUnavailable, OSError) as error:
            # Left to the sweep, as what a crash leaves.
            log.info("retry_file_not_discarded", cause=type(error).__name__)


def _marks(family: Sequence[Batch]) -> list[tuple[str, str, str, int]]:
    """What tells whether anything has changed that a choice of lines depends on."""
    return [
        (batch.id, BatchState(batch.state).value, batch.results_prefix, batch.awaited)
        for batch in family
    ]


def _not_found(batch_id: str) -> ApiError:
    return ApiError.not_found("BATCH_NOT_FOUND", f"there is no batch {batch_id[:64]!r}")


def _refuse_unfit(parent: Batch) -> None:
    if parent.deleted_at is not None:
        raise _not_found(parent.id)
    if not parent.ended:
        raise ApiError.failed_precondition(
            "BATCH_NOT_ENDED",
            f"the batch is {BatchState(parent.state).value}: watch it to its end first",
        )
    if parent.results_gone == ResultsGone.ALL:
        raise ApiError.failed_precondition(
            "RESULTS_DELETED",
            "the results are deleted, so which lines failed is not known any more: make a batch of "
            "the lines that you still need",
        )
    if not parent.results_prefix:
        raise ApiError.failed_precondition(
            "NO_RESULTS",
            "the batch failed before any line ran: make a batch of its file instead",
            metadata={"file_id": parent.input_file_id},
        )


def _check(request: batches_pb2.RetryBatchRequest) -> None:
    violations = [
        (name, f"at most {_MOST_CODES}, of 1 to {_MOST_CODE_CHARS} characters each")
        for name, values in (("codes", request.codes), ("cause_ids", request.cause_ids))
        if len(values) > _MOST_CODES
        or not all(1 <= len(value) <= _MOST_CODE_CHARS for value in values)
    ]
    if violations:
        raise invalid_fields(violations)


def _options(
    request: batches_pb2.RetryBatchRequest, parent: Batch
) -> batches_pb2.CreateBatchRequest:
    """What the child is asked for: what the request says, and else what the parent was."""
    options = batches_pb2.CreateBatchRequest(
        request_id=request.request_id,
        completion_window=_span(parent.window_seconds),
        metadata=parent.details,
        skip_invalid_lines=parent.skip_invalid_lines,
        lenient_translation=parent.lenient_translation,
        fail_fast=parent.fail_fast,
        webhook_url=parent.webhook_url,
        name=request.name or parent.name,
        priority=batches_pb2.BatchPriority.Name(parent.priority),
        canary_lines=parent.canary_lines,
        reuse_answers=_span(parent.reuse_seconds),
        results_retention=_span(parent.retention_seconds),
    )
    if request.completion_window.seconds or request.completion_window.nanos:
        options.completion_window.CopyFrom(request.completion_window)
    rescue, window = parent.rescue_seconds, options.completion_window
    if rescue is not None and rescue < window.seconds + window.nanos / 1e9:
        # Else it would begin before the retry does.
        options.rescue_before.CopyFrom(_duration(rescue))
    if request.HasField("max_cost"):
        options.max_cost.CopyFrom(request.max_cost)
    elif parent.max_cost_nanos is not None:
        options.max_cost.CopyFrom(money(parent.max_cost_nanos))
    if parent.canary_lines:
        options.canary_max_failure_rate = parent.canary_max_failure_rate
    if parent.max_failure_rate is not None:
        options.max_failure_rate = parent.max_failure_rate
    return options


def _span(seconds: float | None) -> Duration | None:
    return None if seconds is None else _duration(seconds)


def _duration(seconds: float) -> Duration:
    span = Duration()
    span.FromNanoseconds(round(seconds * 1_000_000_000))
    return span


def _digest(request: batches_pb2.RetryBatchRequest) -> str:
    """Tells apart the calls that come with one request id."""
    arguments = [
        "retry",
        request.batch_id,
        sorted(set(request.codes)),
        sorted(set(request.cause_ids)),
        [request.completion_window.seconds, request.completion_window.nanos],
        [request.HasField("max_cost"), request.max_cost.units, request.max_cost.nanos],
        request.name,
    ]
    return hashlib.sha256(json.dumps(arguments).encode()).hexdigest()


def _made_before(earlier: Batch, digest: str) -> Batch:
    if earlier.request_digest == digest:
        return earlier
    raise ApiError.already_exists(
        "REQUEST_ID_REUSED",
        f"the request id {earlier.request_id!r} made {earlier.id} with other arguments: choose a "
        "new one",
        metadata={"batch_id": earlier.id, "differs": "arguments"},
    )


def _nothing_left(parent: Batch, wanted: Wanted) -> ApiError:
    asked = "" if wanted.all else " for what was asked for"
    return ApiError.failed_precondition(
        "NOTHING_TO_RETRY",
        f"no line of {parent.id} is left that failed{asked}: those that did not succeed were bad "
        "from the start, are awaited, or are with another retry",
        metadata={"batch_id": parent.id},
    )


def _input_gone(parent: Batch) -> ApiError:
    return ApiError.failed_precondition(
        "INPUT_GONE",
        f"the input of {parent.id} has been deleted: submit the lines anew",
        metadata={"file_id": parent.input_file_id},
    )
