"""Making a batch of a checked file: the arguments, the refusals, the row.

In: a file's id and the caller's arguments. Out: the row of a batch, and its plan step on the bus.
What can go wrong: bad arguments, a file with lines that its providers do not take, a request id
that another batch has, a limit of the account (each an ApiError, and no batch); the bus is away
(the batch is made all the same, and the sweep finds it).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import structlog
from polybatch.v1.events_pb2 import BatchEvent

from core import tracing
from core.blobs import BlobMissing, BlobStore
from core.bus import Step
from core.ledger import (
    AccountLimits,
    Batch,
    BatchState,
    CanaryState,
    FamilyChanged,
    File,
    FileGone,
    Ledger,
    NewRetry,
    NoFunds,
    NoPrice,
    OverLimit,
    RequestIdReused,
    new_id,
    now,
)
from core.metrics import BATCHES_CREATED, BATCHES_ENDED
from core.pipeline import EventPublisher
from core.prices.snapshot import Snapshot
from core.serving import ApiError
from services.gateway.batch_args import BatchArgs, other_arguments
from services.gateway.billing import BilledKeys
from services.gateway.estimating import Estimate, Estimator
from services.gateway.file_refusals import file_not_found, first_errors, invalid_lines, refuse_unfit
from services.gateway.funding import Funding, refusal, refuse_unbounded
from services.gateway.pricing import Pricing
from services.gateway.upload_reservation import over_limit

log = structlog.get_logger()

_KEPT_REFUSALS = frozenset({"INVALID_LINES", "NO_VALID_LINES", "NOT_JSON_LINES"})
"""Those that lie in the file, and so belong to the batch that was asked for."""


class BatchMaker:
    """Makes batches, each once however often it is asked for."""

    def __init__(
        self,
        ledger: Ledger,
        blobs: BlobStore,
        publisher: EventPublisher,
        pricing: Pricing,
        estimator: Estimator,
        billed_keys: BilledKeys,
        funding: Funding,
        *,
        limits: AccountLimits,
        missing_keys: Mapping[str, str],
        first_look: timedelta,
        default_retention: float | None,
    ) -> None:
        """`missing_keys`: provider slug to the variable that would hold its key.

        `first_look`: how long after its creation the sweep looks whether a batch was forgotten;
        `default_retention`: seconds for which results are kept, None: for ever.
        """
        self._ledger = ledger
        self._blobs = blobs
        self._publisher = publisher
        self._pricing = pricing
        self._estimator = estimator
        self._billed_keys = billed_keys
        self._funding = funding
        self._limits = limits
        self._missing_keys = missing_keys
        self._first_look = first_look
        self._default_retention = default_retention

    async def make(self, account_id: str, file_id: str, batch_args: BatchArgs) -> Batch:
        """Record the batch and set it going; the existing one if the request id was used before."""
        digest = batch_args.digest(file_id)
        if batch_args.request_id is not None:
            # First of all: the file may have been deleted since.
            earlier = await self._ledger.batches.find_request(account_id, batch_args.request_id)
            if earlier is not None:
                return await self._made_before(earlier, file_id, batch_args)
        while True:
            file = await self._ledger.files.get(account_id, file_id)
            if file is None:
                raise file_not_found(file_id)
            made = await self.record(file, batch_args, digest)
            if isinstance(made, RequestIdReused):
                # Another call with it was quicker.
                earlier = await self._ledger.batches.get(made.batch_id, account_id)
                if earlier is None:
                    # Deleted since, and with it the request id is free again.
                    continue
                return await self._made_before(earlier, file_id, batch_args)
            assert isinstance(made, Batch), "it is no retry"
            return made

    async def record(
        self, file: File, batch_args: BatchArgs, digest: str, retry: NewRetry | None = None
    ) -> Batch | RequestIdReused | FamilyChanged:
        """Record a batch of a file and set it going. Raises ApiError where it may not be made.

        `digest`: tells apart the calls that come with one request id; `retry`: as Batches.create.
        """
        account_id = file.account_id
        key = await self._billed_keys.find(batch_args.key_id)
        await self._billed_keys.refuse_disallowed(key, file, lenient=batch_args.lenient_translation)
        await self.refuse_unsigned(account_id, batch_args, file.id)
        batch = self._row(file, batch_args, digest)
        batch.key_id = key.id
        batch.retention_seconds = await self._retention(account_id, batch_args)
        try:
            await refuse_unfit(self._blobs, file, batch_args, self._missing_keys)
        except ApiError as error:
            if not batch_args.keep_refused or error.reason not in _KEPT_REFUSALS:
                raise
            await self._fail(batch, file, batch_args, error)
        prices = await self._pricing.of_file(
            account_id,
            file,
            batch.created_at.date(),
            lenient=batch_args.lenient_translation,
            rescue=batch_args.rescue_seconds is not None,
        )
        batch.prices = prices.encode().decode()
        # What has failed already will cost nothing.
        reserve: int | None = 0
        if batch.state != BatchState.FAILED:
            estimate = await self._estimate(file, prices, batch_args)
            batch.expected_nanos = estimate.total.cost.expected
            batch.at_most_nanos = estimate.total.dearest.at_most
            reserve = self._funding.reserve(estimate.total.dearest.expected, batch.max_cost_nanos)
            if batch.max_cost_nanos is not None:
                refuse_unbounded(estimate)
        batch.parent_id = retry.ancestors[-1] if retry else ""
        made = await self._ledger.batches.create(
            batch, self._limits, reserve_nanos=reserve, retry=retry
        )
        if isinstance(made, RequestIdReused | FamilyChanged):
            return made
        if isinstance(made, FileGone):
            raise file_not_found(file.id)
        if isinstance(made, OverLimit):
            log.info("batch_over_limit", account_id=account_id, used=made.used)
            raise over_limit(made)
        if isinstance(made, NoFunds | NoPrice):
            refused = refusal(made, prices)
            log.info("batch_without_funds", account_id=account_id, reason=refused.reason)
            raise refused
        if made.id == batch.id:
            await self._announce(made, prices)
        return made

    async def _announce(self, made: Batch, prices: Snapshot) -> None:
        BATCHES_CREATED.inc()
        tracing.note("polybatch.batch_id", made.id)
        log.info(
            "batch_created",
            batch_id=made.id,
            file_id=made.input_file_id,
            account_id=made.account_id,
            lines=made.total,
            invalid_lines=made.invalid,
            unpriced_models=len(prices.unpriced()),
        )
        await self._publisher.changed(made, BatchEvent.CREATED)
        if made.state == BatchState.FAILED:
            BATCHES_ENDED.labels(BatchState.FAILED.value).inc()
            await self._publisher.changed(made, BatchEvent.ENDED)
        else:
            await self._publisher.enqueue(Step.PLAN, made.id)

    async def _retention(self, account_id: str, batch_args: BatchArgs) -> float | None:
        """How long results are kept, in seconds; None: for ever."""
        if batch_args.retention_seconds is not None:
            return batch_args.retention_seconds
        account = await self._ledger.accounts.get(account_id)
        own = account.retention_seconds if account is not None else None
        return own if own is not None else self._default_retention

    async def _estimate(self, file: File, prices: Snapshot, batch_args: BatchArgs) -> Estimate:
        try:
            return await self._estimator.of_file(
                file.account_id, file, prices, lenient=batch_args.lenient_translation
            )
        except BlobMissing:
            raise file_not_found(file.id) from None

    async def _fail(
        self, batch: Batch, file: File, batch_args: BatchArgs, refusal: ApiError
    ) -> None:
        """Make a new row that of a batch that has failed already, for a file's own faults."""
        problems = await first_errors(self._blobs, file, lenient=batch_args.lenient_translation)
        batch.errors = [
            {
                "code": problem.reason,
                "message": problem.message,
                "line": problem.line,
                "field": problem.field,
            }
            for problem in problems
        ] or [{"code": refusal.reason.lower(), "message": refusal.message}]
        batch.state, batch.failed_at = BatchState.FAILED, batch.created_at
        batch.queued, batch.failed = 0, batch.total
        batch.finished_high_water = batch.total

    async def _made_before(self, earlier: Batch, file_id: str, batch_args: BatchArgs) -> Batch:
        """The batch of a request id that comes again; REQUEST_ID_REUSED where it asks for another.

        A file of the same content is the same: what a client can read only once it uploads anew.
        """
        if batch_args.digest(file_id) == earlier.request_digest:
            return earlier
        differs = "arguments"
        if batch_args.digest(earlier.input_file_id) == earlier.request_digest:
            before = await self._ledger.files.get_input(earlier)
            file = await self._ledger.files.get(earlier.account_id, file_id)
            if file is None:
                raise file_not_found(file_id)
            differs = "content"
            if before and before.sha256 == file.sha256:
                # The groups say whose the lines are where the upload had to say it.
                if before.groups == file.groups:
                    return earlier
                differs = "defaults"
        metadata = {"batch_id": earlier.id, "differs": differs}
        if file_id != earlier.input_file_id:
            metadata["file_id"] = file_id
        what = {
            "arguments": f"with {other_arguments(earlier, batch_args)}",
            "content": "of a file with other content",
            "defaults": "of the same content, uploaded with another default provider or model",
        }[differs]
        raise ApiError.already_exists(
            "REQUEST_ID_REUSED",
            f"the request id {batch_args.request_id!r} made {earlier.id} {what}: choose a new one",
            metadata=metadata,
        )

    async def refuse_unsigned(
        self, account_id: str, batch_args: BatchArgs, file_id: str = ""
    ) -> None:
        """Raise WEBHOOK_SECRET_MISSING where nothing could sign for the url of a new batch."""
        url, request_id = batch_args.webhook_url, batch_args.request_id
        if not url or await self._ledger.webhook_endpoints.can_sign(account_id, url):
            return
        if request_id and await self._ledger.batches.find_request(account_id, request_id):
            return
        raise ApiError.failed_precondition(
            "WEBHOOK_SECRET_MISSING",
            "nothing could sign what goes to webhook_url: make the account's endpoint for the urls "
            "of batches first (`polybatch webhooks create --for-batches`)",
            metadata={"file_id": file_id} if file_id else {},
        )

    def _row(self, file: File, batch_args: BatchArgs, digest: str) -> Batch:
        moment = now()
        invalid = invalid_lines(file, lenient=batch_args.lenient_translation)
        return Batch(
            id=new_id("batch"),
            account_id=file.account_id,
            request_id=batch_args.request_id,
            request_digest=digest,
            input_file_id=file.id,
            endpoint=file.endpoint,
            state=BatchState.VALIDATING,
            details=dict(batch_args.metadata),
            window_seconds=batch_args.window_seconds,
            skip_invalid_lines=batch_args.skip_invalid_lines,
            lenient_translation=batch_args.lenient_translation,
            fail_fast=batch_args.fail_fast,
            webhook_url=batch_args.webhook_url,
            max_cost_nanos=batch_args.max_cost_nanos,
            reuse_seconds=batch_args.reuse_seconds,
            name=batch_args.name,
            rescue_seconds=batch_args.rescue_seconds,
            priority=batch_args.priority,
            canary_lines=batch_args.canary_lines,
            canary_max_failure_rate=batch_args.canary_max_failure_rate,
            canary_state=CanaryState.RUNNING if batch_args.canary_lines else CanaryState.NONE,
            max_failure_rate=batch_args.max_failure_rate,
            total=file.line_count,
            invalid=invalid,
            failed=invalid,
            queued=file.line_count - invalid,
            finished_high_water=invalid,
            created_at=moment,
            expires_at=moment + timedelta(seconds=batch_args.window_seconds),
            due_at=moment + self._first_look,
            traceparent=tracing.traceparent(),
        )
