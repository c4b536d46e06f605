"""Requests in Gemini's own form: sent as they are, and their answers kept as they came."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from core.providers.contract import LineRejected, Outcome, ResultLine
from core.providers.gemini.response import read_line, tokens_of

SUFFIX = ":native"
"""Behind the key of a request whose answer is wanted as it is: nothing else of a request comes
back with its answer. Our ids have no colon."""

_request = msgspec.json.Decoder(dict[str, Raw])
_encoder = msgspec.json.Encoder()


class _Candidate(msgspec.Struct):
    content: dict[str, Raw]


class _Response(msgspec.Struct):
    candidates: list[_Candidate]
    usageMetadata: Raw = Raw(b"null")


class _Line(msgspec.Struct):
    response: Raw


_line = msgspec.json.Decoder(_Line)
_response = msgspec.json.Decoder(_Response)


def native_request(body: bytes | Raw, model: str) -> bytes:
    """A GenerateContentRequest as it came, with the batch's own model where it names one.

    Raises LineRejected.
    """
    try:
        request = _request.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        text = f"The request is unreadable: {error}"
        raise LineRejected("request", "invalid_json", text) from None
    if "model" in request:
        request["model"] = Raw(_encoder.encode(f"models/{model}"))
    return _encoder.encode(request)


def read_native_line(line: bytes, created: int, model: str) -> ResultLine:
    """As read_line, with Gemini's response in the body of a line that succeeded."""
    read = read_line(line, created, model)
    read.custom_id = read.custom_id.removesuffix(SUFFIX)
    if read.outcome is not Outcome.SUCCEEDED:
        return read
    raw = _line.decode(line).response
    try:
        _, usage = tokens_of(_response.decode(raw).usageMetadata)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        usage = read.usage
    response: dict[str, Any] = {"status_code": 200, "request_id": "", "body": raw}
    encoded = _encoder.encode(response)
    return ResultLine(
        read.custom_id, Outcome.SUCCEEDED, read.provider_line_id, encoded, None, usage
    )
