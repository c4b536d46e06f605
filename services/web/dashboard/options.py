"""What a form says of a batch that is to be made."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from google.type.money_pb2 import Money  # type: ignore[import-untyped]

from services.web.errors import HttpError

WINDOWS = ((24, "24 hours"), (1, "1 hour"), (6, "6 hours"), (48, "2 days"), (168, "7 days"))
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
