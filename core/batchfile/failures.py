"""What a result line that did not succeed says of why."""

from __future__ import annotations

from typing import Any

import msgspec

from core.failure_causes import Cause, cause_of

NO_MESSAGE = "The provider gave no reason."

_MESSAGE_CHARS = 2000
_CODE_CHARS = 100


class Failure(msgspec.Struct, frozen=True, gc=False):
    """Why a line did not succeed."""

    custom_id: str
    model: str
    """As the input names it; empty where the line failed the check at upload."""
    code: str
    field: str
    """As the provider's error names it; empty where it names none."""
    message: str
    status_code: int
    """HTTP status of the provider's answer; 0 where it never ran."""

    def cause(self, providers: dict[str, str]) -> Cause:
        """`providers`: as core.failure_causes.providers_by_model of the batch's file."""
        provider = providers.get(self.model, "")
        return cause_of(provider, self.code, self.field, self.message)


class _Answer(msgspec.Struct):
    custom_id: str
    model: str = ""
    response: _Response | None = None
    error: _Error | None = None


class _Response(msgspec.Struct):
    status_code: Any = 0
    body: msgspec.Raw = msgspec.Raw(b"null")


class _Error(msgspec.Struct):
    code: str = ""
    message: str = ""


class _Body(msgspec.Struct):
    error: Any = None


_decode = msgspec.json.Decoder(_Answer).decode
_decode_body = msgspec.json.Decoder(_Body).decode


def read_failure(raw: bytes) -> Failure:
    """Read a result line whose outcome is no success."""
    answer = _decode(raw)
    status, code, field, message = 0, "", "", ""
    if answer.response is not None:
        found = answer.response.status_code
        status = found if isinstance(found, int) and 0 <= found < 1000 else 0
        code, field, message = _body_error(answer.response.body)
    if answer.error is not None:
        code, message = answer.error.code, answer.error.message
    elif answer.response is not None:
        # Of results written before each failed line had an error.
        code = code or f"http_{status}"
    return Failure(
        answer.custom_id,
        answer.model,
        code[:_CODE_CHARS],
        field[:_CODE_CHARS],
        message[:_MESSAGE_CHARS] if message.strip() else NO_MESSAGE,
        status,
    )


def _body_error(raw: msgspec.Raw) -> tuple[str, str, str]:
    """Code, param and message of an OpenAI error body; empty where it has another form."""
    try:
        error = _decode_body(raw).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # JSON that no decoder here takes, such as a number of 5,000 digits, or no object.
        return "", "", ""
    if not isinstance(error, dict):
        return "", "", ""
    code, field = error.get("code") or error.get("type") or "", error.get("param")
    message = str(error.get("message") or "")
    return str(code), field if isinstance(field, str) else "", message
