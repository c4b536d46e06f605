"""Numbers as providers give them, kept to what a count can be."""

from __future__ import annotations

from typing import Any

MAX_COUNT = 10**12
"""Of tokens or lines in one answer. The sum over a file's lines stays a 64-bit number."""


def count_of(value: Any) -> int:
    """A count from any JSON value; 0 for what is none, or cannot be one."""
    if not isinstance(value, int) or isinstance(value, bool):
        return 0
    return value if 0 < value <= MAX_COUNT else 0
