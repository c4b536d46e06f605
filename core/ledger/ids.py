"""Identifiers: a kind, an underscore and 20 characters that sort by time of making."""

import secrets
import time
from typing import Literal

Kind = Literal["acct", "key", "file", "batch", "shard", "webhook", "delivery"]

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_TIME_CHARS = 9
_RANDOM_CHARS = 11


def _base36(value: int, width: int) -> str:
    digits = []
    for _ in range(width):
        value, digit = divmod(value, 36)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


def new_id(kind: Kind) -> str:
    """Make an id: 9 characters of milliseconds since 1970, then 56 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    return (
        f"{kind}_{_base36(milliseconds, _TIME_CHARS)}{_base36(secrets.randbits(56), _RANDOM_CHARS)}"
    )


def new_token() -> str:
    """Make an attempt token: 10 characters, about 51 random bits."""
    return _base36(secrets.randbits(51), 10)
