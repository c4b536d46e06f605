"""What a form says of a batch that is to be made."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from google.protobuf.duration_pb2 import Duration
from google.type.money_pb2 import Money  # type: ignore[import-untyped]
from polybatch.v1 import batches_pb2

from services.web.errors import HttpError

WINDOWS = ((24, "24 hours"), (1, "1 hour"), (6, "6 hours"), (48, "2 days"), (168, "7 days"))
PRIORITIES = (("", "Normal"), ("high", "High"), ("low", "Low"))
RESCUES = (("", "Never"), ("1", "1 hour before"), ("2", "2 hours before"), ("4", "4 hours before"))
REUSES = (("", "No"), ("0", "Within this batch"), ("7", "Of the last 7 days"), ("30", "Of 30 days"))
MORE = ("priority", "canary_lines", "max_failure_rate", "rescue_before", "reuse_answers")
"""Fields that few need."""

_PRIORITIES = {
    "": batches_pb2.BATCH_PRIORITY_UNSPECIFIED,
    "high": batches_pb2.BATCH_PRIORITY_HIGH,
    "low": batches_pb2.BATCH_PRIORITY_LOW,
}
_MOST_COST = Decimal(1_000_000_000)
_PLAIN_NUMBER = re.compile(r"[0-9]+(\.[0-9]{1,9})?", re.ASCII)


def window_of(fields: dict[str, str]) -> int:
    """Seconds of the completion window. Raises HttpError (400)."""
    hours = fields.get("window", "24")
    if hours not in {str(each) for each, _ in WINDOWS}:
        raise HttpError(400, "The completion window has to be one of those that are offered.")
    return int(hours) * 3600


def max_cost_of(fields: dict[str, str]) -> Money | None:
    """None where it is left open. Raises HttpError (400)."""
    text = fields.get("max_cost", "").strip().removeprefix("$")
    if not text:
        return None
    try:
        value = Decimal(text) if _PLAIN_NUMBER.fullmatch(text) else Decimal(-1)
    except InvalidOperation:
        value = Decimal(-1)
    if not 0 < value <= _MOST_COST:
        raise HttpError(400, "The max cost has to be an amount in USD, such as 12.50.")
    return Money(currency_code="USD", units=int(value), nanos=int(value % 1 * 10**9))


def take_options(request: batches_pb2.CreateBatchRequest, fields: dict[str, str]) -> None:
    """Window, limits and what else a form says. Raises HttpError (400)."""
    request.completion_window.CopyFrom(Duration(seconds=window_of(fields)))
    if (limit := max_cost_of(fields)) is not None:
        request.max_cost.CopyFrom(limit)
    request.priority = _PRIORITIES[_chosen(fields, "priority", PRIORITIES)]
    if canary := fields.get("canary_lines", "").strip():
        request.canary_lines = int(_number(canary, 10_000, "The lines to try first", "20"))
    if rate := fields.get("max_failure_rate", "").strip().removesuffix("%"):
        request.max_failure_rate = _number(rate, 100, "The percent of failures", "10") / 100
    if hours := _chosen(fields, "rescue_before", RESCUES):
        request.rescue_before.CopyFrom(Duration(seconds=int(hours) * 3600))
    if days := _chosen(fields, "reuse_answers", REUSES):
        request.reuse_answers.CopyFrom(Duration(seconds=int(days) * 86_400))


def _chosen(fields: dict[str, str], name: str, choices: tuple[tuple[str, str], ...]) -> str:
    value = fields.get(name, "")
    if value not in {each for each, _ in choices}:
        raise HttpError(400, f"{name} has to be one of those that are offered.")
    return value


def _number(text: str, most: int, what: str, example: str) -> float:
    value = float(text) if _PLAIN_NUMBER.fullmatch(text.strip()) else -1.0
    if not 0 <= value <= most or (most > 100 and value % 1):
        raise HttpError(400, f"{what} have to be a number up to {most:,}, such as {example}.")
    return value
