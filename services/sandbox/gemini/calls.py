"""Gemini's single calls: POST /v1beta/models/MODEL:generateContent.

Answers and errors are those of a batch's responses, as the answer of a call of its own.
[ai.google.dev/api/generate-content; google.rpc.RetryInfo]
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from services.sandbox.gemini.answers import Answerer, Failed
from services.sandbox.gemini.batches import refuse_model
from services.sandbox.gemini.errors import NAMES, GeminiError
from services.sandbox.gemini.lines import Generate, reader_of
from services.sandbox.http import json_response
from services.sandbox.plan import LAST_BILLED, ODD, UNREADABLE, Fate
from services.sandbox.sandbox import Sandbox
from services.sandbox.single_calls import TORN, Asked, SingleCalls, digest_of_request
from services.sandbox.store import Workspace

_request_of = reader_of(Generate)


class Models:
    """The handler of models' :generateContent. It gets the workspace of the request's key."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._calls = SingleCalls(sandbox, "gemini")

    async def generate(self, request: Request, _workspace: Workspace) -> Response:
        model = request.path_params["model"]
        refuse_model(model, "generateContent")
        raw = await request.body()
        return await self._calls.take(_refusal, partial(self._run, raw, model))

    async def _run(self, raw: bytes, model: str, number: int) -> Response:
        line = b'{"key":"call","request":%b}' % raw
        answerer = Answerer(Generate, "calls/0", model)
        try:
            asked_for = _request_of(raw)
        except msgspec.ValidationError:
            asked_for = None
        except UNREADABLE as error:
            message = f"Invalid JSON payload received. {error}"
            raise GeminiError("INVALID_ARGUMENT", message) from None
        if not isinstance(asked_for, Generate) or asked_for.problem(model):
            raise _error(answerer.failure(number, line, Fate.REFUSED))
        tokens = asked_for.measure(model, asked_for.question)
        fate = await self._calls.fate_of(raw, Asked(model, *tokens, digest_of_request(raw)))
        if fate in ODD:
            return _odd(answerer.odd(number, line, fate))
        if fate > LAST_BILLED:
            raise _error(answerer.failure(number, line, fate))
        if fate is Fate.LOST:
            raise GeminiError("DEADLINE_EXCEEDED", "The answer was lost.")
        response = json_response(answerer.answer(number, line).response)
        if fate is Fate.GARBAGE:
            return Response(bytes(response.body)[:TORN], media_type="application/json")
        return response


def _error(line: Failed) -> GeminiError:
    return GeminiError(NAMES[line.error.code], line.error.message)


def _odd(line: Any) -> Response:
    return json_response(line["response"])


def _refusal(seconds: float) -> Response:
    delay = {
        "@type": "type.googleapis.com/google.rpc.RetryInfo",
        "retryDelay": f"{seconds:.3f}s",
    }
    message = "You exceeded your current quota, please check your plan and billing details."
    return GeminiError("RESOURCE_EXHAUSTED", message, [delay]).response()
