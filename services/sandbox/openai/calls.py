"""OpenAI's single calls, as any server in its form has them: POST /v1/chat/completions,
/v1/responses, /v1/embeddings and those whose bodies batches take, too.
"""

from __future__ import annotations

from functools import partial
from time import time
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from services.sandbox.http import json_response, retry_after
from services.sandbox.openai.answers import Answerer, Row
from services.sandbox.openai.check import BODIES
from services.sandbox.openai.errors import OpenAIError
from services.sandbox.openai.lines import Body, Embedding
from services.sandbox.plan import LAST_BILLED, ODD, UNREADABLE, Fate
from services.sandbox.sandbox import Sandbox
from services.sandbox.single_calls import TORN, Asked, SingleCalls, digest_of_request

_NO_BODY = "We could not parse the JSON body of your request."
PATHS = sorted(BODIES.keys() - {"/v1/images/edits"})
"""The addresses of calls. Edits of images are called with forms, which it does not take."""


class Calls:
    """The handlers of single calls."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._calls = SingleCalls(sandbox, "openai")

    async def models(self, request: Request) -> Response:
        """Any model is answered for; the list is there for what tries a key with it."""
        return json_response({"object": "list", "data": []})

    async def answer(self, request: Request) -> Response:
        """Answer a call at one of `PATHS`."""
        raw = await request.body()
        try:
            return await self._calls.take(
                _refusal, partial(self._run, BODIES[request.url.path], raw)
            )
        except OpenAIError as error:
            return error.response()

    async def _run(self, kind: type[Body], raw: bytes, number: int) -> Response:
        body, line = _read(kind, raw)
        answerer = Answerer(kind, "call_0", int(time()))
        if body is None:
            return _row(answerer.failure(number, line, Fate.REFUSED))
        tokens = (body.tokens, 0) if isinstance(body, Embedding) else body.measure(body.question)
        fate = await self._calls.fate_of(raw, Asked(body.model, *tokens, digest_of_request(raw)))
        if fate in ODD:
            response = _odd_row(answerer.odd(number, line, fate))
        elif fate > LAST_BILLED:
            return _row(answerer.failure(number, line, fate))
        else:
            response = _row(answerer.answer(number, line))
        if fate is Fate.GARBAGE:
            return Response(bytes(response.body)[:TORN], media_type="application/json")
        if fate is Fate.LOST:
            raise OpenAIError(504, "The answer was lost.", kind="server_error")
        if fate <= LAST_BILLED:
            response.headers.update(self._calls.left())
        return response


def _read(kind: type[Body], raw: bytes) -> tuple[Body | None, bytes]:
    """The body, None if it is wrong in itself, and the batch line that it would be.

    Raises OpenAIError for what no API would take apart.
    """
    line = b'{"custom_id":"call","method":"POST","url":"","body":%b}' % raw
    try:
        return msgspec.json.decode(raw, type=kind), line
    except msgspec.ValidationError:
        found = msgspec.json.decode(raw)
        if not isinstance(found, dict):
            raise OpenAIError(400, _NO_BODY) from None
        if found.get("stream") is True:
            raise OpenAIError(400, "The sandbox does not stream.", param="stream") from None
        return None, line
    except UNREADABLE:
        raise OpenAIError(400, _NO_BODY) from None


def _row(row: Row) -> Response:
    """What the row of a batch has as its response, as a response."""
    assert row.response is not None, "the line was run"
    return json_response(row.response.body, row.response.status_code)


def _odd_row(row: Any) -> Response:
    return json_response(row["response"]["body"])


def _refusal(seconds: float) -> Response:
    response = OpenAIError(
        429, "Rate limit reached.", kind="requests", code="rate_limit_exceeded"
    ).response()
    response.headers.update(retry_after(seconds))
    return response
