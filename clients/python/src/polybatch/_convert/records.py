"""What a file of requests is made of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import NoReturn

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


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


# Numbers are not made: only whether they can be read matters, and Python refuses very long ones.
_SYNTAX = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse_constant)


def refused_as_written(record: Record) -> Refusal | None:
    """Why a record cannot be written as it is; what it asks for is not looked at."""
    try:
        fields = _SYNTAX.decode(record.line.decode())
    except (ValueError, RecursionError):
        return Refusal(record.number, "", "invalid_json", "Not JSON.")
    if not isinstance(fields, dict):
        return Refusal(record.number, "", "not_an_object", "Not an object.")
    if isinstance(fields.get("requests"), list):
        # Of a body that begins with something else, which is not looked for in files of any size.
        message = (
            "It holds requests instead of being one: write the array alone to a file, "
            "and convert that."
        )
        return Refusal(record.number, "requests", "not_a_request", message)
    return None


def unreadable(message: str, next_step: str = "") -> InvalidRequest:
    """The file as a whole cannot be read, from here on."""
    return InvalidRequest(message, reason="INPUT_UNREADABLE", next_step=next_step)
