"""Gemini's error answers: google.rpc.Status over HTTP."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from services.sandbox.http import json_response

CODES = {
    "CANCELLED": 1,
    "UNKNOWN": 2,
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "NOT_FOUND": 5,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
    "UNAUTHENTICATED": 16,
}
"""google.rpc.Code by name; these stand in operations and in result lines."""

NAMES = {code: name for name, code in CODES.items()}

_STATUSES = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_NAMES = {status: name for name, status in _STATUSES.items() if name != "FAILED_PRECONDITION"}
_API_KEY_INVALID = {
    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
    "reason": "API_KEY_INVALID",
    "domain": "googleapis.com",
}


class GeminiError(Exception):
    """An error answer in Google's envelope; `name` is that of a google.rpc.Code."""

    def __init__(self, name: str, message: str, details: list[dict[str, Any]] | None = None):
        super().__init__(message)
        self.name = name
        self.message = message
        self.details = details

    def response(self) -> Response:
        return _response(_STATUSES[self.name], self.name, self.message, self.details)


def refused_key() -> GeminiError:
    """Google's answer to a key that nobody has."""
    message = "API key not valid. Please pass a valid API key."
    return GeminiError("INVALID_ARGUMENT", message, [_API_KEY_INVALID])


def no_batch(batch_id: str) -> GeminiError:
    """Google's answer about a batch that there is not; it does not say which."""
    return GeminiError("NOT_FOUND", "Requested entity was not found.")


def no_key() -> GeminiError:
    """Google's answer to a call without a key."""
    return GeminiError(
        "PERMISSION_DENIED",
        "Method doesn't allow unregistered callers (callers without established identity). "
        "Please use API Key or other form of API consumer identity to call this API.",
    )


def fault_response(status: int) -> Response:
    """The answer of a fault with an HTTP status."""
    name = _NAMES.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
    return _response(status, name, f"The sandbox was asked to answer {status}.", None)


def _response(
    status: int, name: str, message: str, details: list[dict[str, Any]] | None
) -> Response:
    error: dict[str, Any] = {"code": status, "message": message, "status": name}
    if details is not None:
        error["details"] = details
    return json_response({"error": error}, status)
