"""OpenAI's single calls, as any server in its form has them: POST /v1/chat/completions,
/v1/responses and /v1/embeddings.

A call that was begun is run to its end and billed, whether or not somebody still waits
for the answer. Calls that are too many are refused with 429 and cost nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from hashlib import blake2b
from math import ceil
from time import monotonic, time
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from services.sandbox.http import json_response, retry_after
from services.sandbox.openai.answers import Answerer, Row
from services.sandbox.openai.check import BODIES
from services.sandbox.openai.errors import OpenAIError
from services.sandbox.openai.lines import Body, Embedding
from services.sandbox.plan import LAST_BILLED, ODD, UNREADABLE, Fate, marked_fate
from services.sandbox.sandbox import Sandbox

_TORN = 40
_NO_BODY = "We could not parse the JSON body of your request."


@dataclass(slots=True)
class _Allowance:
    """Calls that may begin now, at most a second's worth."""

    calls: float = 0.0
    at: float = 0.0

    def refill(self, rate: float, now: float) -> None:
        self.calls = min(max(rate, 1.0), self.calls + (now - self.at) * rate)
        self.at = now


class Calls:
    """The handlers of single calls. One limit holds for all keys together."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._allowance = _Allowance()
        self._under_way = 0
        self._number = 0

    async def chat(self, request: Request) -> Response:
        return await self._answer("/v1/chat/completions", request)

    async def responses(self, request: Request) -> Response:
        return await self._answer("/v1/responses", request)

    async def embeddings(self, request: Request) -> Response:
        return await self._answer("/v1/embeddings", request)

    async def models(self, request: Request) -> Response:
        """Any model is answered for; the list is there for what tries a key with it."""
        return json_response({"object": "list", "data": []})

    async def _answer(self, endpoint: str, request: Request) -> Response:
        raw = await request.body()
        refusal = self._over_limit()
        if refusal is not None:
            self._sandbox.bill.call_refused()
            return refusal
        self._under_way += 1
        self._sandbox.bill.call_begun(self._under_way)
        try:
            return await self._run(BODIES[endpoint], raw)
        except OpenAIError as error:
            return error.response()
        finally:
            self._under_way -= 1

    def _over_limit(self) -> Response | None:
        """A refusal if there are too many calls; else takes one from the allowance."""
        options = self._sandbox.options
        if options.calls_at_once and self._under_way >= options.calls_at_once:
            return _refusal(options.call_retry_seconds)
        rate = options.calls_per_second
        if rate:
            self._allowance.refill(rate, monotonic())
            if self._allowance.calls < 1:
                return _refusal((1 - self._allowance.calls) / rate)
            self._allowance.calls -= 1
        return None

    async def _run(self, kind: type[Body], raw: bytes) -> Response:
        body, line = _read(kind, raw)
        self._number += 1
        answerer = Answerer(kind, "call_0", int(time()))
        if body is None:
            return _row(answerer.failure(self._number, line, Fate.REFUSED))
        digest = int.from_bytes(blake2b(raw, digest_size=8).digest(), "little")
        fate = self._sandbox.faults.for_call("openai", digest, *marked_fate(raw))
        await asyncio.sleep(self._sandbox.options.call_seconds)
        if fate in ODD and fate > LAST_BILLED:
            return _odd_row(answerer.odd(self._number, line, fate))
        if fate > LAST_BILLED:
            return _row(answerer.failure(self._number, line, fate))
        tokens = (body.tokens, 0) if isinstance(body, Embedding) else body.measure(body.question)
        self._sandbox.bill.call_ended(body.model, digest, *tokens)
        if fate in ODD:
            response = _odd_row(answerer.odd(self._number, line, fate))
        else:
            response = _row(answerer.answer(self._number, line))
        if fate is Fate.GARBAGE:
            return Response(bytes(response.body)[:_TORN], media_type="application/json")
        if fate is Fate.LOST:
            raise OpenAIError(504, "The answer was lost.", kind="server_error")
        if self._sandbox.options.calls_per_second:
            response.headers.update(self._left())
        return response

    def _left(self) -> dict[str, str]:
        rate, calls = self._sandbox.options.calls_per_second, self._allowance.calls
        most = max(rate, 1.0)
        return {
            "x-ratelimit-limit-requests": str(ceil(most)),
            "x-ratelimit-remaining-requests": str(int(calls)),
            "x-ratelimit-reset-requests": f"{(most - calls) / rate * 1000:.0f}ms",
        }


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
