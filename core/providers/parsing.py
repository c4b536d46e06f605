"""Counts and times as providers give them, whatever they give."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

MAX_COUNT = 10**12
"""Of lines in one answer, or of tokens that may be enqueued. The sum of a file's lines stays a
64-bit number."""
MAX_TOKENS = 10**9
"""Of one request. Some servers report a count below 0 as 2**32 less it, which would be thousands
of dollars; and what a shard of such lines costs has to stay a 64-bit number of nano-dollars."""


def count_of(value: Any) -> int:
    """A count from any JSON value; 0 for what is none, or cannot be one."""
    return value if type(value) is int and 0 < value <= MAX_COUNT else 0


def token_count(value: Any) -> int:
    """A count of tokens of one request, likewise."""
    return value if type(value) is int and 0 < value <= MAX_TOKENS else 0


def moment_of(value: Any) -> datetime | None:
    """A time given in seconds since 1970 or as ISO 8601 text; None if it is neither."""
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None
