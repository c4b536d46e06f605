"""What goes wrong with a request, and the answer of OpenAI's or Anthropic's form for it.

HttpError      an answer with a status of 400 or more
ClientGone     the client has left: there is nobody to answer
PolybatchError what gateway or collector refused (polybatch.errors), made an HttpError here
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from polybatch.errors import InvalidLines, PolybatchError
from starlette.responses import Response

ANTHROPIC_PREFIX = "/anthropic"
OPENAI_PREFIX = "/v1"

_ENGINE_FILE = re.compile(r"\bfile_(?=[0-9a-z]{20}\b)", re.ASCII)
_ENGINE_BATCH = re.compile(r"\bbatch_(?=[0-9a-z]{20}\b)", re.ASCII)

_STATUSES = {
    "INVALID_ARGUMENT": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "FAILED_PRECONDITION": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
    "CANCELLED": 503,
    "DEADLINE_EXCEEDED": 504,
}
# Where the reason says more than the code; docs/http-api.md has the table.
_BY_REASON = {
    "FILE_TOO_LARGE": 413,
    "TOO_MANY_LINES": 413,
    "UPLOAD_IDLE": 408,
    "UPLOAD_TOO_SLOW": 408,
    "STORAGE_FULL": 503,
    "PROVIDER_NOT_CONFIGURED": 400,
    "UNPRICED_MODEL": 400,
    "OUTPUT_UNLIMITED": 400,
    "WEBHOOK_SECRET_MISSING": 400,
    "INSUFFICIENT_CREDITS": 429,
    "BUDGET_EXCEEDED": 429,
    "BATCH_NOT_ENDED": 404,
    "NO_RESULTS": 404,
    "RESULTS_DELETED": 404,
}
# OpenAI's own codes; every other reason is one in lower case.
_CODES: Mapping[str, str | None] = {
    "API_KEY_INVALID": "invalid_api_key",
    "API_KEY_REVOKED": "invalid_api_key",
    "API_KEY_MISSING": None,
    "FILE_NOT_FOUND": None,
    "BATCH_NOT_FOUND": "batch_not_found",
    "REQUEST_RATE_LIMIT": "rate_limit_exceeded",
    "INVALID_FIELD": "invalid_value",
    "MODEL_NOT_ALLOWED": "model_not_found",
    "INSUFFICIENT_CREDITS": "insufficient_quota",
    "BUDGET_EXCEEDED": "insufficient_quota",
    "INTERNAL": None,
}
_OUT_OF_MONEY = "insufficient_quota"
# OpenAI answers 429 to who has spent all (platform.openai.com/docs/guides/error-codes), Anthropic
# 402 (`billing_error` of its SDK's types/shared).
_ANTHROPIC_OUT_OF_MONEY = 402
_OPENAI_TYPES = {
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
    504: "server_error",
}
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
}
# Of these the SDKs try again by themselves; what does not pass by itself is not to be.
_RETRIED = frozenset({408, 409, 429, 500, 503, 504})
_PASSING = frozenset({"ABORTED", "UNAVAILABLE", "CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL"})


@dataclass
class HttpError(Exception):
    """An answer with a status of 400 or more. `param`: the field that is wrong, if one is."""

    status: int
    message: str
    code: str | None = None
    param: str | None = None
    retry: bool = False
    """Whether the same request may fare better."""
    retry_after: float | None = None
    """Seconds until then."""
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.message

    @classmethod
    def not_found(cls, what: str, asked: str, code: str | None = None) -> HttpError:
        """404, as OpenAI words it. what: "File object"."""
        return cls(404, f"No such {what}: {asked[:100]}", code, param="id")


class ClientGone(Exception):
    """The client has left before it was answered."""


def from_engine(error: PolybatchError, path: str = "") -> HttpError:
    """What gateway or collector said, as HTTP says it. `path`: of the request."""
    status = _BY_REASON.get(error.reason, _STATUSES.get(error.code, 500))
    code = _CODES.get(error.reason, error.reason.lower() or None)
    passes = error.code in _PASSING or (
        error.code == "RESOURCE_EXHAUSTED" and error.retry_after is not None
    )
    return HttpError(
        status,
        _with_shown_ids(_message(error), path),
        code,
        _param(error),
        retry=passes,
        retry_after=error.retry_after,
    )


def _message(error: PolybatchError) -> str:
    if error.code in ("UNAVAILABLE", "CANCELLED", "DEADLINE_EXCEEDED"):
        # Its own message names addresses within.
        return "The service is not available for now; try again in a moment."
    message = error.message.rstrip(".")
    if isinstance(error, InvalidLines):
        found = "; ".join(
            f"line {each.line}{f', {each.field}' if each.field else ''}: {each.message}"
            for each in error.problems[:3]
        )
        message = f"{message}. {found}"
    first = message.partition(" ")[0]
    # What begins with a name or an id keeps it: spelled otherwise it is another one.
    return f"{message}." if not first.isalpha() else f"{message[:1].upper()}{message[1:]}."


def _with_shown_ids(message: str, path: str) -> str:
    """Who asked for `file-ID` or `msgbatch_ID` knows no `file_ID` and no `batch_ID`."""
    if path.startswith(ANTHROPIC_PREFIX):
        return _ENGINE_BATCH.sub("msgbatch_", message)
    return _ENGINE_FILE.sub("file-", message) if path.startswith(OPENAI_PREFIX) else message


def _param(error: PolybatchError) -> str | None:
    if error.reason != "INVALID_FIELD":
        return None
    return error.message.partition(":")[0] or None


def error_response(path: str, error: HttpError, request_id: str) -> Response:
    """The answer, in the form of the API that the path belongs to."""
    headers = dict(error.headers)
    status = error.status
    if status in _RETRIED:
        headers["x-should-retry"] = "true" if error.retry else "false"
    if error.retry_after is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after))
        headers["retry-after-ms"] = str(math.ceil(error.retry_after * 1000))
    content: dict[str, Any]
    spent = error.code == _OUT_OF_MONEY
    if path.startswith(ANTHROPIC_PREFIX):
        status = _ANTHROPIC_OUT_OF_MONEY if spent else status
        kind = _ANTHROPIC_TYPES.get(status, "invalid_request_error")
        content = {
            "type": "error",
            "error": {"type": kind, "message": error.message},
            "request_id": request_id,
        }
    else:
        kind = _OPENAI_TYPES.get(status, "invalid_request_error")
        content = {
            "error": {
                "message": error.message,
                "type": _OUT_OF_MONEY if spent else kind,
                "param": error.param,
                "code": error.code,
            }
        }
    return Response(
        msgspec.json.encode(content),
        status,
        headers=headers,
        media_type="application/json",
    )
