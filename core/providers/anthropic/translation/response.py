"""The lines of an Anthropic result file, as result lines of OpenAI's form.

Sources: anthropic 2.12.0 types/messages/message_batch_*_result.py, types/stop_reason.py. A line
whose message is no answer fails, with what came kept as it is: it was paid for, and is not sent
again.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from core.prices.usage import NO_USAGE
from core.providers.anthropic.translation.completion import (
    NULL,
    Loose,
    PlainMessage,
    read_message,
    translate_message,
    translate_plain,
)
from core.providers.anthropic.usage import read_usage
from core.providers.contract import Outcome, ResultLine
from core.providers.finish_reasons import ANTHROPIC
from core.providers.line_errors import (
    EMPTY_ANSWER,
    NO_REASON,
    UNREADABLE_ANSWER,
    code_of,
    line_error,
)
from core.providers.provider_errors import read_error
from core.providers.result_lines import UnreadableLine, encoded_response, refused_line

Raw = msgspec.Raw

STATUS_BY_ERROR = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}

RETRYABLE_ERRORS = frozenset({"api_error", "overloaded_error", "rate_limit_error", "timeout_error"})

_COMPLETE_WITHOUT_CONTENT = frozenset({"stop", "length", "content_filter"})
"""Claude had nothing to add, the limit left no room for an answer, or it refused."""
_UNFINISHED = frozenset({"pause_turn", "compaction"})


class _Result(msgspec.Struct, gc=False):
    type: str
    message: Raw = NULL
    error: Any = None


class _Line(msgspec.Struct, gc=False):
    custom_id: str
    result: _Result


class _PlainResult(msgspec.Struct, gc=False):
    type: Literal["succeeded"]
    message: PlainMessage


class _PlainLine(msgspec.Struct, gc=False):
    custom_id: str
    result: _PlainResult


class _AnyMessage(msgspec.Struct, gc=False):
    usage: Raw = NULL


_plain_line = msgspec.json.Decoder(_PlainLine)
_line = msgspec.json.Decoder(_Line)
_any_message = msgspec.json.Decoder(_AnyMessage | Loose)


def read_line(line: bytes, created: int) -> ResultLine:
    """Turn a line of an Anthropic result file into a result line of OpenAI's form.

    `created`: seconds since 1970, for the answer's "created". Raises UnreadableLine if it is
    not JSON or names no custom_id.
    """
    try:
        plain = _plain_line.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _examined(line, created)
    message = plain.result.message
    finish = ANTHROPIC.get(message.stop_reason, "stop")
    if finish == "content_filter" or not bytes(message.content[0].text).startswith(b'"'):
        return _examined(line, created)
    completion, usage = translate_plain(message, finish, created)
    response = encoded_response(completion)
    return ResultLine(plain.custom_id, Outcome.SUCCEEDED, response, None, usage)


def _examined(line: bytes, created: int) -> ResultLine:
    """A line that is not of the common kind."""
    try:
        parsed = _line.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UnreadableLine from None
    result = parsed.result
    if result.type == "succeeded":
        return _succeeded(parsed.custom_id, result.message, created)
    if result.type == "errored":
        return _errored(parsed.custom_id, result.error)
    if result.type == "expired":
        return _not_run(
            parsed.custom_id, Outcome.EXPIRED, "batch_expired", "The batch's time ran out first."
        )
    if result.type == "canceled":
        return _not_run(
            parsed.custom_id, Outcome.CANCELLED, "batch_cancelled", "The batch was cancelled first."
        )
    text = f"The provider answered with a result of the unknown type {result.type[:50]!r}."
    if result.message == NULL:
        return _not_run(parsed.custom_id, Outcome.FAILED, "unknown_result", text)
    return _kept(parsed.custom_id, result.message, "unknown_result", text)


def _succeeded(custom_id: str, raw: Raw, created: int) -> ResultLine:
    try:
        message, others = read_message(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = "The provider's message is in a form that nobody knows."
        return _kept(custom_id, raw, UNREADABLE_ANSWER, text)
    if message.content is None:
        return _no_message(custom_id, raw)
    reason = message.stop_reason
    finish = ANTHROPIC.get(reason) if isinstance(reason, str) else None
    if not message.content and (finish not in _COMPLETE_WITHOUT_CONTENT or reason in _UNFINISHED):
        text = f"The message is empty; its stop_reason is {str(reason)[:50]!r}."
        return _kept(custom_id, raw, EMPTY_ANSWER, text)
    completion, usage = translate_message(message, raw, others, finish or "stop", created)
    response = encoded_response(completion)
    return ResultLine(custom_id, Outcome.SUCCEEDED, response, None, usage)


def _no_message(custom_id: str, raw: Raw) -> ResultLine:
    """What stands in the place of a message, such as an error."""
    error = read_error(bytes(raw))
    if not error.message:
        text = "The provider answered with a message without content."
        return _kept(custom_id, raw, EMPTY_ANSWER, text)
    line = _kept(custom_id, raw, code_of(error), error.message)
    if error.code in RETRYABLE_ERRORS:
        line.outcome = Outcome.RETRYABLE
    return line


def _kept(custom_id: str, raw: Raw, code: str, text: str) -> ResultLine:
    """A message that is no answer, as it came."""
    usage = NO_USAGE
    try:
        message = _any_message.decode(raw)
        if isinstance(message, _AnyMessage):
            usage = read_usage(message.usage)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # JSON that no decoder here takes, such as a number out of range.
        pass
    failure = line_error(code, text)
    return ResultLine(custom_id, Outcome.FAILED, encoded_response(raw), failure, usage)


def _errored(custom_id: str, envelope: Any) -> ResultLine:
    # {"type": "error", "error": {"type", "message"}, "request_id"}
    envelope = envelope if isinstance(envelope, dict) else {}
    error = envelope.get("error")
    error = error if isinstance(error, dict) else envelope
    kind, message = error.get("type"), error.get("message")
    kind = kind if isinstance(kind, str) and kind else "api_error"
    message = message if isinstance(message, str) and message else NO_REASON
    request_id = envelope.get("request_id")
    return refused_line(
        custom_id,
        kind,
        message,
        STATUS_BY_ERROR.get(kind, 500),
        transient=kind in RETRYABLE_ERRORS,
        request_id=request_id if isinstance(request_id, str) else "",
    )


def _not_run(custom_id: str, outcome: Outcome, code: str, message: str) -> ResultLine:
    return ResultLine(custom_id, outcome, None, line_error(code, message))
