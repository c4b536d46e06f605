"""Anthropic's error answers."""

from __future__ import annotations

from starlette.responses import Response

from services.sandbox.http import json_response

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


STATUSES = {kind: status for status, kind in _TYPES.items()}
"""HTTP status by the type of an error."""


class AnthropicError(Exception):
    """An error answer in Anthropic's envelope."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message

    def response(self) -> Response:
        error = {"type": self.kind, "message": self.message}
        return json_response({"type": "error", "error": error}, self.status)


def refused_key() -> AnthropicError:
    """The answer to a key that nobody has, or to none."""
    return AnthropicError(401, "authentication_error", "invalid x-api-key")


def no_batch(batch_id: str) -> AnthropicError:
    """The answer about a batch that there is not."""
    return AnthropicError(404, "not_found_error", f"Message batch {batch_id} not found.")


def fault_response(status: int) -> Response:
    """The answer of a fault with an HTTP status."""
    kind = _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return AnthropicError(status, kind, f"The sandbox was asked to answer {status}.").response()
