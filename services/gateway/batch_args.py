"""The arguments of a batch, checked; the file aside."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from google.type.money_pb2 import Money  # type: ignore[import-untyped]
from polybatch.v1 import batches_pb2

from core.ledger import Batch, Priority
from core.pipeline.messages import nanos_of
from core.serving import ApiError
from core.webhooks import wrong_url

DEFAULT_WINDOW_SECONDS = timedelta(hours=24).total_seconds()
_SHORTEST_WINDOW = 1.0
_LONGEST_WINDOW = timedelta(days=7).total_seconds()
_LONGEST_REUSE = timedelta(days=30).total_seconds()
_MAX_REQUEST_ID_BYTES = 128
_HIGHEST_MAX_COST = 10**18
"""A billion dollars: the ledger's integers hold nine of them."""
MOST_NAME = 256
SHORTEST_RETENTION = timedelta(hours=1).total_seconds()
LONGEST_RETENTION = timedelta(days=30).total_seconds()
RETENTION = "from 1 hour to 30 days; absent: as the account or the service is set"
DEFAULT_CANARY_RATE = 0.1
_MOST_CANARY_LINES = 10_000
_PRIORITIES = {
    batches_pb2.BATCH_PRIORITY_UNSPECIFIED: Priority.NORMAL,
    batches_pb2.BATCH_PRIORITY_LOW: Priority.LOW,
    batches_pb2.BATCH_PRIORITY_NORMAL: Priority.NORMAL,
    batches_pb2.BATCH_PRIORITY_HIGH: Priority.HIGH,
}
_MAX_PAIRS = 16
_MAX_KEY = 64
_MAX_VALUE = 512


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
    name: str = ""
    retention_seconds: float | None = None
    """None: as the account or the service is set."""
    keep_refused: bool = False
    reuse_seconds: float | None = None
    """None: every line is run."""
    rescue_seconds: float | None = None
    """None: never."""
    priority: Priority = Priority.NORMAL
    canary_lines: int = 0
    canary_max_failure_rate: float = 0.0
    max_failure_rate: float | None = None
    """None: no limit."""

    @classmethod
    def parse(
        cls, request: batches_pb2.CreateBatchRequest, *, allow_private_webhooks: bool = False
    ) -> BatchArgs:
        """Check the arguments. Raises INVALID_FIELD, with every field that is wrong."""
        window = span_of(request.completion_window)
        violations = [*_wrong_metadata(request.metadata)]
        if len(request.request_id.encode()) > _MAX_REQUEST_ID_BYTES:
            violations.append(("request_id", f"at most {_MAX_REQUEST_ID_BYTES} bytes"))
        if window and not _SHORTEST_WINDOW <= window <= _LONGEST_WINDOW:
            violations.append(("completion_window", "from 1 second to 7 days, or 0 for 24 hours"))
        url = request.webhook_url
        if url and (expected := wrong_url(url, allow_private=allow_private_webhooks)):
            violations.append(("webhook_url", expected))
        reuse = None
        if request.HasField("reuse_answers"):
            reuse = request.reuse_answers.seconds + request.reuse_answers.nanos / 1e9
            if not 0 <= reuse <= _LONGEST_REUSE:
                expected = "from 0 seconds to 30 days; absent to run every line"
                violations.append(("reuse_answers", expected))
        max_cost = None
        if request.HasField("max_cost"):
            try:
                max_cost = _positive(request.max_cost)
            except ValueError as error:
                violations.append(("max_cost", str(error)))
        if len(request.name) > MOST_NAME or "\0" in request.name:
            violations.append(("name", f"at most {MOST_NAME} characters, and no U+0000"))
        retention = None
        if request.HasField("results_retention"):
            retention = span_of(request.results_retention)
            if not is_retention(retention):
                violations.append(("results_retention", RETENTION))
        rescue = None
        if request.HasField("rescue_before"):
            asked = request.rescue_before
            rescue = asked.seconds + asked.nanos / 1e9
            if not 0 < rescue < (window or DEFAULT_WINDOW_SECONDS):
                violations.append(
                    ("rescue_before", "more than 0, and less than the completion window")
                )
        violations += _wrong_steering(request)
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
            name=request.name,
            retention_seconds=retention,
            keep_refused=request.keep_refused,
            reuse_seconds=reuse,
            rescue_seconds=rescue,
            priority=_PRIORITIES[request.priority],
            canary_lines=request.canary_lines,
            canary_max_failure_rate=_canary_rate(request),
            max_failure_rate=(
                request.max_failure_rate if request.HasField("max_failure_rate") else None
            ),
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
        if self.reuse_seconds is not None:
            arguments.append(["reuse_answers", self.reuse_seconds])
        if self.name:
            arguments.append(["name", self.name])
        if self.retention_seconds is not None:
            arguments.append(["results_retention", self.retention_seconds])
        if self.rescue_seconds is not None:
            arguments.append(["rescue_before", self.rescue_seconds])
        if self.priority != Priority.NORMAL:
            arguments.append(["priority", int(self.priority)])
        if self.canary_lines:
            arguments.append(["canary", self.canary_lines, self.canary_max_failure_rate])
        if self.max_failure_rate is not None:
            arguments.append(["max_failure_rate", self.max_failure_rate])
        return hashlib.sha256(json.dumps(arguments).encode()).hexdigest()


def span_of(span: Duration) -> float:
    """Seconds. Not by ToTimedelta(), which raises where a Duration is out of its own range."""
    return float(span.seconds + span.nanos / 1e9)


def is_retention(seconds: float) -> bool:
    """Whether something may be kept for so long."""
    return SHORTEST_RETENTION <= seconds <= LONGEST_RETENTION


def invalid_fields(violations: list[tuple[str, str]]) -> ApiError:
    """Arguments that no state of the system makes right: (field, what was expected)."""
    field, expected = violations[0]
    return ApiError.invalid_argument(
        "INVALID_FIELD", f"{field}: expected {expected}", violations=violations
    )


def _positive(amount: Money) -> int:
    """Nano-dollars of an amount. Raises ValueError with what was expected."""
    nanos = nanos_of(amount)
    if not 0 < nanos <= _HIGHEST_MAX_COST:
        raise ValueError("more than 0 USD, and at most 1,000,000,000; absent for no limit")
    return nanos


def _wrong_steering(request: batches_pb2.CreateBatchRequest) -> list[tuple[str, str]]:
    violations = []
    if request.priority not in _PRIORITIES:
        violations.append(("priority", "a priority of polybatch.v1.BatchPriority"))
    if not 0 <= request.canary_lines <= _MOST_CANARY_LINES:
        violations.append(
            ("canary_lines", f"from 0 (none) to {_MOST_CANARY_LINES:,} of each model")
        )
    if request.HasField("canary_max_failure_rate") and not request.canary_lines:
        violations.append(("canary_max_failure_rate", "none without canary_lines"))
    for field in ("canary_max_failure_rate", "max_failure_rate"):
        # Not a number is in no range.
        if request.HasField(field) and not 0 <= getattr(request, field) <= 1:
            violations.append((field, "a share from 0 to 1, such as 0.1 for one line in ten"))
    return violations


def _canary_rate(request: batches_pb2.CreateBatchRequest) -> float:
    if not request.canary_lines:
        return 0.0
    asked = request.HasField("canary_max_failure_rate")
    return request.canary_max_failure_rate if asked else DEFAULT_CANARY_RATE


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


def other_arguments(earlier: Batch, batch_args: BatchArgs) -> str:
    """Names the arguments in which a batch differs from what is asked for now."""
    pairs = (
        ("completion_window", earlier.window_seconds, batch_args.window_seconds),
        ("metadata", earlier.details, dict(batch_args.metadata)),
        ("skip_invalid_lines", earlier.skip_invalid_lines, batch_args.skip_invalid_lines),
        ("lenient_translation", earlier.lenient_translation, batch_args.lenient_translation),
        ("reuse_answers", earlier.reuse_seconds, batch_args.reuse_seconds),
        ("fail_fast", earlier.fail_fast, batch_args.fail_fast),
        ("rescue_before", earlier.rescue_seconds, batch_args.rescue_seconds),
        ("key_id", earlier.key_id, batch_args.key_id or earlier.key_id),
        ("name", earlier.name, batch_args.name),
        ("priority", Priority(earlier.priority), batch_args.priority),
        ("canary_lines", earlier.canary_lines, batch_args.canary_lines),
        (
            "canary_max_failure_rate",
            earlier.canary_max_failure_rate,
            batch_args.canary_max_failure_rate,
        ),
        ("max_failure_rate", earlier.max_failure_rate, batch_args.max_failure_rate),
    )
    names = [name for name, before, now_asked in pairs if before != now_asked]
    return f"another {' and '.join(names)}" if names else "other arguments"
