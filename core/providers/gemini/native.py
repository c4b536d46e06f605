"""Requests in Gemini's own form: sent as they are, and their answers kept as they came."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from core.providers.contract import LineRejected, Outcome, ResultLine
from core.providers.result_lines import encoded_response

SUFFIX = ":native"
"""Behind the key of a request whose answer is wanted as it is: nothing else of a request comes
back with its answer. Our ids have no colon."""

_request = msgspec.json.Decoder(dict[str, Raw])
_encoder = msgspec.json.Encoder()


class _Line(msgspec.Struct):
    response: Raw = Raw(b"null")


_line = msgspec.json.Decoder(_Line)


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


def native_answer(read: ResultLine, line: bytes) -> ResultLine:
    """What read_line made of a line, with Gemini's response as it came where it succeeded."""
    read.custom_id = read.custom_id.removesuffix(SUFFIX)
    if read.outcome is Outcome.SUCCEEDED:
        response = _line.decode(line).response
        read.response = encoded_response(response)
    return read
