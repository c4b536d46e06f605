"""Counts and times as providers give them, whatever they give."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

MAX_COUNT = 10**12
"""Of tokens or lines in one answer. The sum over a file's lines stays a 64-bit number."""


def count_of(value: Any) -> int:
    """A count from any JSON value; 0 for what is none, or cannot be one."""
    return value if type(value) is int and 0 < value <= MAX_COUNT else 0


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
