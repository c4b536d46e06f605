"""OpenAI's error answers."""

from __future__ import annotations

from starlette.responses import Response

from services.sandbox.http import json_response


class OpenAIError(Exception):
    """An error answer in OpenAI's envelope."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        kind: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.kind = kind

    def response(self) -> Response:
        error = {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }
        return json_response({"error": error}, self.status)


def refused_key() -> OpenAIError:
    """The answer to a key that nobody has, or to none."""
    return OpenAIError(401, "Incorrect API key provided.", code="invalid_api_key")


def no_batch(batch_id: str) -> OpenAIError:
    """The answer about a batch that there is not."""
    return OpenAIError(404, f"No batch found with id '{batch_id}'.")


def fault_response(status: int) -> Response:
    """The answer of a fault with an HTTP status."""
    match status:
        case 401:
            error = refused_key()
        case 429:
            error = OpenAIError(
                429, "Rate limit reached.", kind="requests", code="rate_limit_exceeded"
            )
        case _ if status >= 500:
            error = OpenAIError(
                status, "The server had an error processing your request.", kind="server_error"
            )
        case _:
            error = OpenAIError(status, f"The sandbox was asked to answer {status}.")
    return error.response()
