"""What a file of requests is made of."""

from __future__ import annotations

from dataclasses import dataclass

from polybatch.errors import InvalidRequest

MAX_RECORD_BYTES = 64 * 1024 * 1024
"""The service takes lines of 16 MiB unless it is set otherwise."""


@dataclass(frozen=True, slots=True)
class Record:
    """One request: a line, an item of an array, a row of a table."""

    number: int
    """From 1 on, as people count: lines of the file, items of the array, rows of the table."""
    line: bytes
    """JSON without a newline; empty for a blank line."""


class Refusal(Exception):
    """A record that cannot be read; others can."""

    def __init__(self, number: int, field: str, reason: str, message: str) -> None:
        super().__init__(message)
        self.number = number
        self.field = field
        self.reason = reason
        self.message = message


def unreadable(message: str, next_step: str = "") -> InvalidRequest:
    """The file as a whole cannot be read, from here on."""
    return InvalidRequest(message, reason="INPUT_UNREADABLE", next_step=next_step)
