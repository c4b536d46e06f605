"""Making a batch of a checked file: the arguments, the refusals, the row.

In: a file's id and the caller's arguments. Out: the row of a batch, and its plan step on the bus.
What can go wrong: bad arguments, a file with lines that its providers do not take, a request id
that another batch has, a limit of the account (each an ApiError, and no batch); the bus is away
(the batch is made all the same, and the sweep finds it).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import timedelta

import structlog
from google.type.money_pb2 import Money  # type: ignore[import-untyped]
from polybatch.v1 import batches_pb2
from polybatch.v1.events_pb2 import BatchEvent

from core import tracing
from core.batchfile import Problem, read_report
from core.blobs import BlobMissing, BlobStore, StoredFile
from core.bus import Step
from core.ledger import (
    AccountLimits,
    Batch,
    BatchState,
    File,
    FileGone,
    Ledger,
    NoFunds,
    NoPrice,
    OverLimit,
    RequestIdReused,
    new_id,
    now,
)
from core.metrics import BATCHES_CREATED, BATCHES_ENDED
from core.pipeline import EventPublisher
from core.pipeline.messages import nanos_of
from core.prices.snapshot import Snapshot
from core.serving import ApiError
from core.webhooks import wrong_url
from services.gateway.billing import BilledKeys
from services.gateway.estimating import Estimate, Estimator
from services.gateway.funding import Funding, refusal, refuse_unbounded
from services.gateway.pricing import Pricing
from services.gateway.upload_reservation import over_limit

log = structlog.get_logger()

DEFAULT_WINDOW_SECONDS = timedelta(hours=24).total_seconds()
_SHORTEST_WINDOW = 1.0
_LONGEST_WINDOW = timedelta(days=7).total_seconds()
_MAX_REQUEST_ID_BYTES = 128
_HIGHEST_MAX_COST = 10**18
"""A billion dollars: the ledger's integers hold nine of them."""
_MAX_PAIRS = 16
_MAX_KEY = 64
_MAX_VALUE = 512
SHOWN_PROBLEMS = 20
_KEPT_REFUSALS = frozenset({"INVALID_LINES", "NO_VALID_LINES", "NOT_JSON_LINES"})
"""Those that lie in the file, and so belong to the batch that was asked for."""


@dataclass(frozen=True, slots=True)
class BatchArgs:
    """What a caller asks for, checked; the file aside."""

    request_id: str | None
    window_seconds: float
    metadata: Mapping[str, str]
    skip_invalid_lines: bool
    lenient_translation: bool = False
    fail_fast: bool = False
    key_id: str = ""
    """It is billed to; the caller's own if empty."""
    webhook_url: str = ""
    max_cost_nanos: int | None = None
    """None: no limit."""
    keep_refused: bool = False

    @classmethod
    def parse(
        cls, request: batches_pb2.CreateBatchRequest, *, allow_private_webhooks: bool = False
    ) -> BatchArgs:
        """Check the arguments. Raises INVALID_FIELD, with every field that is wrong."""
        # Not ToTimedelta(), which raises where a Duration is out of its own range.
        asked = request.completion_window
        window = asked.seconds + asked.nanos / 1e9
        violations = [*_wrong_metadata(request.metadata)]
        if len(request.request_id.encode()) > _MAX_REQUEST_ID_BYTES:
            violations.append(("request_id", f"at most {_MAX_REQUEST_ID_BYTES} bytes"))
        if window and not _SHORTEST_WINDOW <= window <= _LONGEST_WINDOW:
            violations.append(("completion_window", "from 1 second to 7 days, or 0 for 24 hours"))
        url = request.webhook_url
        if url and (expected := wrong_url(url, allow_private=allow_private_webhooks)):
            violations.append(("webhook_url", expected))
        max_cost = None
        if request.HasField("max_cost"):
            try:
                max_cost = _positive(request.max_cost)
            except ValueError as error:
                violations.append(("max_cost", str(error)))
        if violations:
            raise invalid_fields(violations)
        return cls(
            request_id=request.request_id or None,
            window_seconds=window or DEFAULT_WINDOW_SECONDS,
            metadata=dict(request.metadata),
            skip_invalid_lines=request.skip_invalid_lines,
            lenient_translation=request.lenient_translation,
            fail_fast=request.fail_fast,
            key_id=request.key_id,
            webhook_url=url,
            max_cost_nanos=max_cost,
            keep_refused=request.keep_refused,
        )

    def known_as(self, request_id: str) -> BatchArgs:
        """The same with this request id, where the caller gave none."""
        return self if self.request_id else replace(self, request_id=request_id)

    def digest(self, file_id: str) -> str:
        """Tells apart the calls that come with one request id."""
        arguments: list[object] = [
            file_id,
            self.window_seconds,
            sorted(self.metadata.items()),
            self.skip_invalid_lines,
        ]
        if self.lenient_translation:
            # Only then: a digest that was made before this argument stays as it is.
            arguments.append("lenient_translation")
        if self.fail_fast:
            arguments.append("fail_fast")
        if self.key_id:
            arguments.append(f"key_id={self.key_id}")
        if self.webhook_url:
            arguments.append(["webhook_url", self.webhook_url])
        if self.max_cost_nanos is not None:
            arguments.append(["max_cost", self.max_cost_nanos])
        if self.keep_refused:
            arguments.append("keep_refused")
        return hashlib.sha256(json.dumps(arguments).encode()).hexdigest()


def invalid_fields(violations: list[tuple[str, str]]) -> ApiError:
    """Arguments that no state of the system makes right: (field, what was expected)."""
    field, expected = violations[0]
    return ApiError.invalid_argument("INVALID_FIELD", f"{field}: {expected}", violations=violations)


def _positive(amount: Money) -> int:
    """Nano-dollars of an amount. Raises ValueError with what was expected."""
    nanos = nanos_of(amount)
    if not 0 < nanos <= _HIGHEST_MAX_COST:
        raise ValueError("more than 0 USD, and at most 1,000,000,000; absent for no limit")
    return nanos


def _wrong_metadata(metadata: Mapping[str, str]) -> list[tuple[str, str]]:
    violations = []
    if len(metadata) > _MAX_PAIRS:
        violations.append(("metadata", f"at most {_MAX_PAIRS} pairs"))
    for key, value in sorted(metadata.items()):
        if not 1 <= len(key) <= _MAX_KEY:
            violations.append(("metadata", f"keys of 1 to {_MAX_KEY} characters"))
        if len(value) > _MAX_VALUE:
            violations.append((f"metadata[{key[:_MAX_KEY]}]", f"at most {_MAX_VALUE} characters"))
    return violations


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
    ) -> None:
        """`missing_keys`: provider slug to the variable that would hold its key.

        `first_look`: how long after its creation the sweep looks whether a batch was forgotten.
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

    async def make(self, account_id: str, file_id: str, batch_args: BatchArgs) -> Batch:
        """Record the batch and set it going; the existing one if the request id was used before."""
        digest = batch_args.digest(file_id)
        if batch_args.request_id is not None:
            # First of all: the file may have been deleted since.
            earlier = await self._ledger.batches.find_request(account_id, batch_args.request_id)
            if earlier is not None:
                return await self._made_before(earlier, file_id, batch_args)
        file = await self._ledger.files.get(account_id, file_id)
        if file is None:
            raise file_not_found(file_id)
        key = await self._billed_keys.find(batch_args.key_id)
        await self._billed_keys.refuse_disallowed(key, file, lenient=batch_args.lenient_translation)
        await self.refuse_unsigned(account_id, batch_args, file.id)
        batch = self._row(file, batch_args, digest)
        batch.key_id = key.id
        try:
            await self._refuse_unfit(file, batch_args)
        except ApiError as error:
            if not batch_args.keep_refused or error.reason not in _KEPT_REFUSALS:
                raise
            await self._fail(batch, file, batch_args, error)
        prices = await self._pricing.of_file(
            account_id, file, batch.created_at.date(), lenient=batch_args.lenient_translation
        )
        batch.prices = prices.encode().decode()
        # What has failed already will cost nothing.
        reserve: int | None = 0
        if batch.state != BatchState.FAILED:
            estimate = await self._estimate(file, prices, batch_args)
            batch.expected_nanos = estimate.total.cost.expected
            batch.at_most_nanos = estimate.total.cost.at_most
            reserve = self._funding.reserve(batch.expected_nanos)
            if batch.max_cost_nanos is not None:
                refuse_unbounded(estimate)
        made = await self._ledger.batches.create(batch, self._limits, reserve_nanos=reserve)
        if isinstance(made, RequestIdReused):
            # Another call with it was quicker.
            earlier = await self._ledger.batches.get(made.batch_id)
            assert earlier is not None, "batches are not deleted"
            return await self._made_before(earlier, file_id, batch_args)
        if isinstance(made, FileGone):
            raise file_not_found(file_id)
        if isinstance(made, OverLimit):
            log.info("batch_over_limit", account_id=account_id, used=made.used)
            raise over_limit(made)
        if isinstance(made, NoFunds | NoPrice):
            refused = refusal(made, prices)
            log.info("batch_without_funds", account_id=account_id, reason=refused.reason)
            raise refused
        if made.id == batch.id:
            BATCHES_CREATED.inc()
            tracing.note("polybatch.batch_id", made.id)
            log.info(
                "batch_created",
                batch_id=made.id,
                file_id=file.id,
                account_id=account_id,
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
        return made

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
            "arguments": f"with {_other_arguments(earlier, batch_args)}",
            "content": "of a file with other content",
            "defaults": "of the same content, uploaded with another default provider or model",
        }[differs]
        raise ApiError.already_exists(
            "REQUEST_ID_REUSED",
            f"the request id {batch_args.request_id!r} made {earlier.id} {what}: choose a new one",
            metadata=metadata,
        )

    async def _refuse_unfit(self, file: File, batch_args: BatchArgs) -> None:
        lenient = batch_args.lenient_translation
        invalid = _invalid_lines(file, lenient=lenient)
        if invalid and not batch_args.skip_invalid_lines:
            problems = await first_errors(self._blobs, file, lenient=lenient)
            takes = ""
            if file.lenient_line_count and not lenient:
                takes = f" (lenient_translation would take {file.lenient_line_count} of them)"
            # Of a file without a good line there is none to let run.
            skip = ", or set skip_invalid_lines" if invalid < file.line_count else ""
            raise ApiError.invalid_argument(
                "INVALID_LINES",
                f"{invalid} of {file.line_count} lines are invalid{takes}: fix the "
                f"file{skip}; its validation report names all problems",
                violations=[(_place(problem), problem.message) for problem in problems],
                metadata={
                    "file_id": file.id,
                    "line_count": str(file.line_count),
                    "invalid_line_count": str(invalid),
                    "lenient_line_count": str(0 if lenient else file.lenient_line_count),
                },
            )
        await refuse_empty(self._blobs, file, lenient=lenient)
        asked = {
            group["provider"]
            for group in file.groups
            if group["lines"] or (lenient and group.get("lenient_lines"))
        }
        missing = sorted(asked & self._missing_keys.keys())
        if missing:
            variables = ", ".join(self._missing_keys[provider] for provider in missing)
            raise ApiError.failed_precondition(
                "PROVIDER_NOT_CONFIGURED",
                f"the file has lines for {', '.join(missing)}, for which this service has no "
                f"key: its operator has to set {variables}",
                metadata={
                    "file_id": file.id,
                    "providers": ",".join(missing),
                    "variables": variables,
                },
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
        invalid = _invalid_lines(file, lenient=batch_args.lenient_translation)
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


def _invalid_lines(file: File, *, lenient: bool) -> int:
    """How many lines of the file a batch does not take."""
    return file.invalid_line_count - (file.lenient_line_count if lenient else 0)


async def refuse_empty(blobs: BlobStore, file: File, *, lenient: bool) -> None:
    """Refuse a file without a line that can be sent: NOT_JSON_LINES, NO_VALID_LINES."""
    if not file.line_count and file.problem_count:
        [problem, *_] = await first_errors(blobs, file)
        raise ApiError.invalid_argument(
            "NOT_JSON_LINES", problem.message, metadata={"file_id": file.id}
        )
    if file.line_count == _invalid_lines(file, lenient=lenient):
        raise ApiError.invalid_argument(
            "NO_VALID_LINES",
            "the file has no line that can be sent",
            metadata={"file_id": file.id},
        )


def _other_arguments(earlier: Batch, batch_args: BatchArgs) -> str:
    """Names the arguments in which a batch differs from what is asked for now."""
    pairs = (
        ("completion_window", earlier.window_seconds, batch_args.window_seconds),
        ("metadata", earlier.details, dict(batch_args.metadata)),
        ("skip_invalid_lines", earlier.skip_invalid_lines, batch_args.skip_invalid_lines),
        ("lenient_translation", earlier.lenient_translation, batch_args.lenient_translation),
        ("fail_fast", earlier.fail_fast, batch_args.fail_fast),
        ("key_id", earlier.key_id, batch_args.key_id or earlier.key_id),
    )
    names = [name for name, before, now_asked in pairs if before != now_asked]
    return f"another {' and '.join(names)}" if names else "other arguments"


async def first_errors(blobs: BlobStore, file: File, *, lenient: bool = False) -> list[Problem]:
    """The first problems of a file's report, 20 at most, warnings left out.

    `lenient`: only those that a lenient batch has as well.
    """
    found: list[Problem] = []
    if not file.problem_count:
        return found
    report = await StoredFile.open(blobs, f"{file.prefix}/report")
    async with aclosing(read_report(report)) as groups:
        async for group in groups:
            found += [
                problem
                for problem in group
                if problem.severity == "error" and not (lenient and problem.lenient)
            ]
            if len(found) >= SHOWN_PROBLEMS:
                break
    return found[:SHOWN_PROBLEMS]


def file_not_found(file_id: str) -> ApiError:
    """There is no such file in the caller's account."""
    return ApiError.not_found("FILE_NOT_FOUND", f"there is no file {file_id[:64]!r}")


def _place(problem: Problem) -> str:
    """Where a problem lies, such as "line 3: body.model"."""
    return f"line {problem.line}: {problem.field}" if problem.field else f"line {problem.line}"
