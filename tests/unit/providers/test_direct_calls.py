"""Single calls: what is sent, and what each answer means."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from core.prices.usage import Usage
from core.providers import (
    Answered,
    CallLimits,
    LineRejected,
    Outcome,
    OutcomeUnknown,
    ProviderRejected,
    Throttled,
)
from core.providers.contract import ProviderLimits
from core.providers.direct.adapter import OpenAICalls, asked_pause
from tests.support.providers.fake_provider import (
    KEY,
    FakeProvider,
    Naps,
    breaking,
    connect,
    error,
    unused_url,
)

CHAT = "/v1/chat/completions"
PATH = "/chat/completions"
BODY = b'{"model":"llama3.2","messages":[{"role":"user","content":"Hi"}]}'
COMPLETION: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello – hello"}}],
    "usage": {
        "prompt_tokens": 9,
        "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 2},
    },
}
LIMITS = ProviderLimits(
    max_lines=5000,
    max_bytes=1_000_000,
    one_model_per_batch=False,
    endpoints=frozenset({CHAT, "/v1/embeddings"}),
)


@pytest.fixture
async def direct(fake: FakeProvider) -> AsyncIterator[OpenAICalls]:
    async with connect(fake.url, Naps()) as http:
        yield make(http)


def make(http: Any, **urls: str) -> OpenAICalls:
    return OpenAICalls(
        http, slug="local", limits=LIMITS, call_limits=CallLimits(max_concurrency=4), urls=urls
    )


async def test_an_answer_becomes_a_result(direct: OpenAICalls, fake: FakeProvider) -> None:
    fake.on("POST", PATH, JSONResponse(COMPLETION, headers={"x-request-id": "req_7"}))
    answered = await direct.call("shard_1-42", CHAT, BODY)
    assert isinstance(answered, Answered)
    assert answered.outcome is Outcome.SUCCEEDED
    assert json.loads(answered.response) == {
        "status_code": 200,
        "request_id": "req_7",
        "body": COMPLETION,
    }
    assert answered.usage == Usage(input=9, cached_input=4, output=5, reasoning=2)
    (call,) = fake.seen("POST", PATH)
    assert call.body == BODY
    assert call.headers["x-client-request-id"] == "shard_1-42"
    assert call.headers["authorization"] == f"Bearer {KEY}"


async def test_an_answer_laid_out_for_people_becomes_one_line(
    direct: OpenAICalls, fake: FakeProvider
) -> None:
    fake.on("POST", PATH, Response(json.dumps(COMPLETION, indent=2)))
    answered = await direct.call("c", CHAT, BODY)
    assert isinstance(answered, Answered)
    assert b"\n" not in answered.response
    assert json.loads(answered.response)["body"] == COMPLETION


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (error(400, "too long", "invalid_request_error"), Outcome.FAILED),
        (error(403, "not yours", "permission_error"), Outcome.FAILED),
        (error(404, "no such model", "not_found_error"), Outcome.FAILED),
        (error(500, "oh", "server_error"), Outcome.RETRYABLE),
        (error(502, "oh", "server_error"), Outcome.RETRYABLE),
        (error(409, "again", "conflict"), Outcome.RETRYABLE),
        (JSONResponse({"error": "model is broken"}, 400), Outcome.FAILED),
        (Response("<html>no</html>", 404), Outcome.FAILED),
        (Response(b"\xff\xfe", 400), Outcome.FAILED),
    ],
)
async def test_errors_of_the_line(
    direct: OpenAICalls, fake: FakeProvider, reply: Response, outcome: Outcome
) -> None:
    fake.on("POST", PATH, reply)
    answered = await direct.call("c", CHAT, BODY)
    assert isinstance(answered, Answered)
    assert answered.outcome is outcome
    response = json.loads(answered.response)
    assert response["status_code"] == reply.status_code
    assert response["body"]["error"]
    told = json.loads(answered.error or b"")
    assert told["code"]
    assert told["message"]


CRASHED = {"message": "oh", "code": 502}
BROKE_OFF = {
    "choices": [{"message": {"content": "half"}, "finish_reason": "error", "error": CRASHED}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 5},
}


@pytest.mark.parametrize(
    ("body", "outcome", "code"),
    [
        ({}, Outcome.FAILED, "empty_answer"),
        (None, Outcome.FAILED, "empty_answer"),
        ({"choices": []}, Outcome.FAILED, "empty_answer"),
        ({"error": {"message": "no", "code": 400}}, Outcome.FAILED, "400"),
        ({"error": CRASHED}, Outcome.RETRYABLE, "502"),
        (BROKE_OFF, Outcome.RETRYABLE, "502"),
    ],
)
async def test_a_good_status_is_not_enough(
    direct: OpenAICalls, fake: FakeProvider, body: Any, outcome: Outcome, code: str
) -> None:
    fake.on("POST", PATH, JSONResponse(body))
    answered = await direct.call("c", CHAT, BODY)
    assert isinstance(answered, Answered)
    assert (answered.outcome, json.loads(answered.error or b"")["code"]) == (outcome, code)
    assert json.loads(answered.response)["body"] == body
    assert answered.usage == (Usage(input=9, output=5) if body is BROKE_OFF else Usage())


@pytest.mark.parametrize(
    ("code", "key_refused"),
    [(429, ""), ("529", ""), (401, "refused_key"), ("insufficient_quota", "")],
)
async def test_not_now_in_a_body(
    direct: OpenAICalls, fake: FakeProvider, code: Any, key_refused: str
) -> None:
    """Gateways that answer before they know have the status in the error only."""
    fake.on("POST", PATH, JSONResponse({"error": {"message": "slow down", "code": code}}))
    outcome = await direct.call("c", CHAT, BODY)
    assert isinstance(outcome, Throttled)
    assert "slow down" in outcome.reason
    assert outcome.key_refused == key_refused


@pytest.mark.parametrize(
    ("reply", "retry_after"),
    [
        (error(429, "slow down", "requests", "rate_limit_exceeded", retry_after="7"), 7.0),
        (error(429, "slow", "requests", retry_after_ms="1500", retry_after="2"), 1.5),
        (error(503, "overloaded", "server_error"), None),
        (Response("busy", 503, headers={"retry-after": "3"}), 3.0),
        (error(529, "overloaded", "overloaded_error"), None),
        (error(401, "bad key", "invalid_request_error", "invalid_api_key"), None),
        (error(402, "no credit", "billing"), None),
        (error(403, "no credit", "billing", "insufficient_quota"), None),
        (Response("<html>", 302, headers={"location": "https://proxy.example/login"}), None),
        (Response(status_code=308, headers={"location": "https://elsewhere.example"}), None),
    ],
)
async def test_not_now(
    direct: OpenAICalls, fake: FakeProvider, reply: Response, retry_after: float | None
) -> None:
    fake.on("POST", PATH, reply)
    outcome = await direct.call("c", CHAT, BODY)
    assert isinstance(outcome, Throttled)
    assert outcome.reachable
    assert outcome.retry_after == retry_after
    assert outcome.key_refused == ("invalid_api_key" if reply.status_code == 401 else "")
    assert str(reply.status_code) in outcome.reason
    assert len(fake.calls) == 1, "never repeated by itself"


@pytest.mark.parametrize(
    "reply",
    [
        Response("<html>Bad Gateway</html>", 502),
        Response("", 500),
        error(504, "late", "server_error"),
        error(408, "late", "timeout"),
        error(499, "The operation was cancelled.", "CANCELLED"),
        error(500, "late", "timeout_error"),
        Response("<html>hello</html>"),
        Response(b'{"id":"\xff"}'),
    ],
)
async def test_lost(direct: OpenAICalls, fake: FakeProvider, reply: Response) -> None:
    fake.on("POST", PATH, reply)
    outcome = await direct.call("c", CHAT, BODY)
    assert isinstance(outcome, OutcomeUnknown)
    assert outcome.message.startswith("POST /chat/completions: ")


async def test_a_broken_connection_is_lost() -> None:
    async with breaking(read=True) as breaker, connect(breaker.url, Naps()) as http:
        assert isinstance(await make(http).call("c", CHAT, BODY), OutcomeUnknown)
        assert breaker.connections == 1


async def test_silence_is_lost() -> None:
    async with (
        breaking(read=True, hold=True) as breaker,
        connect(breaker.url, Naps(), seconds=0.2) as http,
    ):
        assert isinstance(await make(http).call("c", CHAT, BODY), OutcomeUnknown)


async def test_nobody_there() -> None:
    async with connect(unused_url(), Naps()) as http:
        outcome = await make(http).call("c", CHAT, BODY)
    assert isinstance(outcome, Throttled)
    assert not outcome.reachable


async def test_the_key_is_never_told(direct: OpenAICalls, fake: FakeProvider) -> None:
    fake.on("POST", PATH, error(401, f"bad key {KEY}", "invalid_request_error"))
    outcome = await direct.call("c", CHAT, BODY)
    assert isinstance(outcome, Throttled)
    assert KEY not in outcome.reason


async def test_other_paths(fake: FakeProvider) -> None:
    fake.on("POST", "/generate", JSONResponse(COMPLETION))
    fake.on("POST", "/embeddings", JSONResponse({"data": [{"embedding": [0.5]}]}))
    async with connect(fake.url, Naps()) as http:
        provider = make(http, **{CHAT: "/generate"})
        assert isinstance(await provider.call("c", CHAT, BODY), Answered)
        assert isinstance(await provider.call("c", "/v1/embeddings", b"{}"), Answered)


def test_encode_body(direct: OpenAICalls) -> None:
    body = b'{"messages": [], "model": "local/llama3.2:3b", "seed": 1e2}'
    encoded = direct.encode_body(CHAT, "local/llama3.2:3b", body)
    assert encoded == b'{"messages":[],"model":"llama3.2:3b","seed":1e2}'
    for bad, url, field in (
        (b'{"stream":true}', CHAT, "body.stream"),
        (b"{", CHAT, "body"),
        (b"{}", "/v1/responses", "url"),
    ):
        with pytest.raises(LineRejected) as caught:
            direct.encode_body(url, "m", bad)
        assert caught.value.field == field


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0.0),
        ({"remaining-requests": "1", "reset-requests": "9s"}, 0.0),
        ({"remaining-requests": "0", "reset-requests": "9s"}, 9.0),
        ({"remaining-requests": "0", "reset-requests": "120ms"}, 0.12),
        ({"remaining-tokens": "0", "reset-tokens": "0m1.5s"}, 1.5),
        ({"remaining-tokens": "0", "reset-tokens": "2"}, 2.0),
        ({"remaining-requests": "0", "reset-requests": "23h59m"}, 60.0),
        ({"remaining-requests": "0", "reset-requests": "soon"}, 0.0),
        ({"remaining-requests": "0"}, 0.0),
    ],
)
def test_asked_pause(headers: dict[str, str], seconds: float) -> None:
    named = {f"x-ratelimit-{name}": value for name, value in headers.items()}
    assert asked_pause(named) == pytest.approx(seconds)


async def test_a_call_that_is_held_back_is_not_sent(
    direct: OpenAICalls, fake: FakeProvider
) -> None:
    fake.on("POST", PATH, error(429, "slow", "rate_limit_error", retry_after="5"))
    told, held = [await direct.call("c", CHAT, BODY) for _ in range(2)]
    assert isinstance(told, Throttled)
    assert isinstance(held, Throttled)
    assert held.reachable
    assert held.retry_after == pytest.approx(5.0, abs=4)
    assert len(fake.calls) == 1


@pytest.mark.parametrize(
    ("reply", "refused"),
    [
        (JSONResponse({"object": "list", "data": []}), None),
        (error(401, "no such key", "invalid_request_error", "invalid_api_key"), True),
        (Response("no such page", 404), False),
    ],
)
async def test_a_key_is_tried_with_the_list_of_models(
    direct: OpenAICalls, fake: FakeProvider, reply: Response, refused: bool | None
) -> None:
    fake.on("GET", "/models", reply)
    if refused is None:
        await direct.check()
    else:
        with pytest.raises(ProviderRejected) as caught:
            await direct.check()
        assert caught.value.access is refused
    assert fake.seen("GET", "/models")[0].headers["authorization"] == f"Bearer {KEY}"
