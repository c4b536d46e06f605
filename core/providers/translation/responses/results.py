"""Which results are to be Responses, and making them so.

A provider's result line says nothing of the endpoint that its request was for. What comes back
is the custom id, so that of such a request carries a mark.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from core.providers.contract import Outcome, ResultLine
from core.providers.translation.responses.answer import from_chat

MARK = "-responses"
"""Behind our custom ids, which end with a number; of symbols that Anthropic takes."""


_envelope = msgspec.json.Decoder(dict[str, Raw])
_encoder = msgspec.json.Encoder()


def marked(custom_id: str) -> str:
    """The custom id of a request whose answer is to be a Response."""
    return custom_id + MARK


def restored(line: ResultLine) -> ResultLine:
    """A result line under our own custom id; a Response if that asked for one."""
    if not line.custom_id.endswith(MARK):
        return line
    line.custom_id = line.custom_id.removesuffix(MARK)
    return as_response(line)


def as_response(line: ResultLine) -> ResultLine:
    """A result line with a Response in the place of its chat completion.

    Errors are the same in both; what cannot be read stays as it came.
    """
    if line.outcome is not Outcome.SUCCEEDED or line.response is None:
        return line
    try:
        envelope = _envelope.decode(line.response)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return line
    response = from_chat(envelope.get("body", b"null"), line.custom_id)
    if response is not None:
        envelope["body"] = Raw(response)
        line.response = _encoder.encode(envelope)
    return line
