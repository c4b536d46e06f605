"""Anthropic's single calls: POST /v1/messages.

Answers and errors are those of a batch's results, as the answer of a call of its own. [Claude docs:
errors; anthropic 2.12 resources/messages]
"""

from __future__ import annotations

from functools import partial
from math import ceil
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from services.sandbox.anthropic.answers import Answerer, Errored, ResultLine, Succeeded
from services.sandbox.anthropic.errors import STATUSES, AnthropicError
from services.sandbox.anthropic.lines import Params
from services.sandbox.http import json_response
from services.sandbox.plan import LAST_BILLED, ODD, UNREADABLE, Fate
from services.sandbox.sandbox import Sandbox
from services.sandbox.single_calls import TORN, Asked, SingleCalls, digest_of_request
from services.sandbox.store import Workspace

_params_of = msgspec.json.Decoder(Params).decode


class Messages:
    """The handler of /v1/messages. It gets the workspace of the request's key."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._calls = SingleCalls(sandbox, "anthropic")

    async def create(self, request: Request, _workspace: Workspace) -> Response:
        raw = await request.body()
        version = request.headers["anthropic-version"]
        return await self._calls.take(_refusal, partial(self._run, raw, version))

    async def _run(self, raw: bytes, version: str, number: int) -> Response:
        line = b'{"custom_id":"call","params":%b}' % raw
        answerer = Answerer("msg_call", version)
        try:
            params = _params_of(raw)
        except msgspec.ValidationError:
            return _result(answerer.failure(number, line, Fate.REFUSED))
        except UNREADABLE as error:
            message = f"The request body is not valid JSON: {error}"
            raise AnthropicError(400, "invalid_request_error", message) from None
        if params.problem(version):
            return _result(answerer.failure(number, line, Fate.REFUSED))
        asked = Asked(params.model, *params.measure(params.question), digest_of_request(raw))
        fate = await self._calls.fate_of(raw, asked)
        if fate in ODD:
            return _odd(answerer.odd(number, line, fate))
        if fate > LAST_BILLED:
            return _result(answerer.failure(number, line, fate))
        if fate is Fate.LOST:
            raise AnthropicError(504, "timeout_error", "The answer was lost.")
        response = _result(answerer.answer(number, line))
        if fate is Fate.GARBAGE:
            return Response(bytes(response.body)[:TORN], media_type="application/json")
        return response


def _result(line: ResultLine) -> Response:
    """What a line of a batch's results has, as the answer to a call."""
    match line.result:
        case Succeeded(message=message):
            message.usage.service_tier = "standard"
            return json_response(message)
        case Errored(error=error):
            return json_response(error, STATUSES[error.error.type])
    raise AssertionError("the line was run")


def _odd(line: Any) -> Response:
    return json_response(line["result"]["message"])


def _refusal(seconds: float) -> Response:
    message = "This request would exceed your organization's rate limit."
    response = AnthropicError(429, "rate_limit_error", message).response()
    # Whole seconds alone. [Claude docs: rate limits]
    response.headers["retry-after"] = str(ceil(seconds))
    return response
