"""The lines of Gemini's result files, as result lines of OpenAI's form.

Sources: the batch guide and its notebook (google-gemini/cookbook Batch_mode.ipynb: {"key",
"response"} a line), google.rpc.Status. A line whose response is no answer fails, with what came
kept as it is: it may have been paid for, and is not sent again.
"""

from __future__ import annotations

from typing import Any

import msgspec

from core.prices.usage import NO_USAGE
from core.providers.contract import Outcome, ResultLine
from core.providers.gemini.candidates import NULL, read_response
from core.providers.gemini.completion import NoAnswer, translate_response
from core.providers.gemini.embeddings import BASE64, answer_embedding
from core.providers.gemini.usage import read_usage
from core.providers.gemini.wire import TRANSIENT, read_status
from core.providers.line_errors import NO_ANSWER, UNREADABLE_ANSWER, line_error
from core.providers.result_lines import UnreadableLine, encoded_response, refused_line

Raw = msgspec.Raw

_UNREADABLE = "The provider's response is in a form that nobody knows."


class _Line(msgspec.Struct):
    """What stands beside a response in an odd form must not cost it: it was paid for."""

    key: Any = None
    metadata: Any = None
    response: Raw = NULL
    error: Any = None
    status: Any = None


class _AnyResponse(msgspec.Struct):
    error: Any = None
    usageMetadata: Raw = NULL


_line = msgspec.json.Decoder(_Line)
_any_response = msgspec.json.Decoder(_AnyResponse | str | list[Any] | int | float | bool | None)


def read_line(line: bytes, created: int, model: str) -> ResultLine:
    """Turn a line of a result file into a result line of OpenAI's form.

    `created`: seconds since 1970, for the answer's "created"; `model`: of the batch, for
    answers that name none. Raises UnreadableLine if it is not JSON or names no key.
    """
    try:
        parsed = _line.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UnreadableLine from None
    key = _key_of(parsed)
    custom_id = key.removesuffix(BASE64)
    if parsed.response == NULL:
        return _errored(custom_id, parsed.error or parsed.status)
    return _answered(custom_id, parsed, created, model, base64=key != custom_id)


def _key_of(line: _Line) -> str:
    if isinstance(line.key, str) and line.key:
        return line.key
    match line.metadata:
        case {"key": str(key)} if key:
            return key
    raise UnreadableLine


def _answered(custom_id: str, line: _Line, created: int, model: str, *, base64: bool) -> ResultLine:
    raw = line.response
    try:
        response = read_response(raw)
        if response.embedding != NULL:
            body, usage = answer_embedding(raw, model, base64=base64)
            answer = encoded_response(body)
            return ResultLine(custom_id, Outcome.SUCCEEDED, answer, None, usage)
        completion, usage = translate_response(response, raw, created, model)
    except NoAnswer as error:
        return _kept(custom_id, line, error.code, error.message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _kept(custom_id, line, UNREADABLE_ANSWER, _UNREADABLE)
    answer = encoded_response(completion)
    return ResultLine(custom_id, Outcome.SUCCEEDED, answer, None, usage)


def _kept(custom_id: str, line: _Line, code: str, message: str) -> ResultLine:
    """A response that is no answer, as it came."""
    error, usage = line.error, NO_USAGE
    try:
        found = _any_response.decode(line.response)
        if isinstance(found, _AnyResponse):
            error = found.error or error
            usage = read_usage(found.usageMetadata)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # JSON that no decoder here takes, such as a number out of range.
        pass
    outcome = Outcome.FAILED
    if error:
        code, _, message = read_status(error)
        outcome = Outcome.RETRYABLE if code in TRANSIENT else Outcome.FAILED
    answer = encoded_response(line.response)
    return ResultLine(custom_id, outcome, answer, line_error(code, message), usage)


def _errored(custom_id: str, error: Any) -> ResultLine:
    if not error:
        message = "The provider gave neither a response nor an error for this line."
        failure = line_error(NO_ANSWER, message)
        return ResultLine(custom_id, Outcome.RETRYABLE, None, failure)
    name, status, message = read_status(error)
    if name == "CANCELLED":
        failure = line_error("batch_cancelled", message)
        return ResultLine(custom_id, Outcome.CANCELLED, None, failure)
    return refused_line(custom_id, name, message, status, transient=name in TRANSIENT)
