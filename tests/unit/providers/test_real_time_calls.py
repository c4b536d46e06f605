"""Single calls to Anthropic and Gemini: what is sent, and what each answer means."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from core.prices.usage import Usage
from core.providers import Answered, CallLimits, LineRejected, Outcome, OutcomeUnknown, Throttled
from core.providers.anthropic.adapter import AnthropicProvider
from core.providers.anthropic.calls import anthropic_calls
from core.providers.direct.beside_batches import called, dialect_calls
from core.providers.direct.translated import TranslatedCalls
from core.providers.gemini.adapter import GeminiProvider
from core.providers.gemini.calls import gemini_calls
from core.providers.openai.dialect import OPENAI
from tests.support.providers.fake_provider import FakeProvider, Naps, connect

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
GENERATE = "/v1beta/models/*:generateContent"
LIMITS = CallLimits(max_concurrency=4)
BODY = b'{"model":"m","messages":[{"role":"user","content":"Hi"}],"max_tokens":9}'
CLAUDE, GEMINI = "anthropic/claude-4.5-sonnet", "gemini/gemini-3.8-flash"
CLAUDE_PATH, GEMINI_PATH = MESSAGES, "/v1beta/models/gemini-3.8-flash:generateContent"
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 9, "output_tokens": 5, "service_tier": "standard"},
}
CONTENT = {
    "candidates": [
        {"content": {"parts": [{"text": "Hello"}], "role": "model"}, "finishReason": "STOP"}
    ],
    "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 5, "totalTokenCount": 14},
    "modelVersion": "gemini-3.8-flash",
    "responseId": "r1",
}


@pytest.fixture
async def claude(fake: FakeProvider) -> AsyncIterator[TranslatedCalls]:
    async with connect(fake.url, Naps()) as http:
        yield anthropic_calls(http, AnthropicProvider(http, settle=timedelta()), LIMITS)


@pytest.fixture
async def gemini(fake: FakeProvider) -> AsyncIterator[TranslatedCalls]:
    async with connect(fake.url, Naps()) as http:
        yield gemini_calls(http, GeminiProvider(http, settle=timedelta()), LIMITS)


async def ask(calls: TranslatedCalls, model: str, url: str = CHAT, body: bytes = BODY) -> Any:
    return await calls.call("c", url, calls.encode_body(url, model, body))


async def test_a_message_becomes_a_completion(claude: TranslatedCalls, fake: FakeProvider) -> None:
    fake.on("POST", CLAUDE_PATH, JSONResponse(MESSAGE))
    answered = await ask(claude, CLAUDE)
    assert isinstance(answered, Answered)
    assert answered.outcome is Outcome.SUCCEEDED
    body = json.loads(answered.response)["body"]
    assert body["choices"][0]["message"]["content"] == "Hello"
    assert answered.usage == Usage(input=9, output=5)
    (call,) = fake.seen("POST", CLAUDE_PATH)
    sent = json.loads(call.body)
    assert (sent["model"], sent["max_tokens"]) == ("claude-sonnet-4-5-20250929", 9)


@pytest.mark.parametrize(
    ("url", "body", "found"),
    [
        (MESSAGES, b'{"model":"m","max_tokens":9,"messages":[]}', "message"),
        (RESPONSES, b'{"model":"m","input":"Hi"}', "response"),
    ],
)
async def test_answers_come_in_the_form_that_was_asked_for(
    claude: TranslatedCalls, fake: FakeProvider, url: str, body: bytes, found: str
) -> None:
    fake.on("POST", CLAUDE_PATH, JSONResponse(MESSAGE))
    answered = await ask(claude, CLAUDE, url, body)
    answer = json.loads(answered.response)["body"]
    assert found in (answer.get("object"), answer.get("type"))


async def test_contents_become_a_completion(gemini: TranslatedCalls, fake: FakeProvider) -> None:
    fake.on("POST", GEMINI_PATH, JSONResponse(CONTENT))
    answered = await ask(gemini, GEMINI)
    assert isinstance(answered, Answered)
    body = json.loads(answered.response)["body"]
    assert body["choices"][0]["message"]["content"] == "Hello"
    assert answered.usage == Usage(input=9, output=5)
    native = await ask(gemini, GEMINI, GENERATE, b'{"contents":[{"parts":[{"text":"Hi"}]}]}')
    assert json.loads(native.response)["body"] == CONTENT


async def test_what_a_single_call_cannot_tell_is_left_to_batches(gemini: TranslatedCalls) -> None:
    assert "/v1/embeddings" not in gemini.limits.endpoints
    assert "/v1/images/edits" not in called(OPENAI.limits.endpoints)


async def test_what_a_provider_lacks_is_left_out_or_refused(claude: TranslatedCalls) -> None:
    body = BODY.replace(b'"max_tokens"', b'"logit_bias":{"1":2},"max_tokens"')
    with pytest.raises(LineRejected):
        claude.encode_body(CHAT, CLAUDE, body)
    assert b"logit_bias" not in claude.encode_body(CHAT, CLAUDE, body, lenient=True)


def anthropic_error(status: int, kind: str) -> Response:
    error = {"type": kind, "message": "because"}
    return JSONResponse({"type": "error", "error": error, "request_id": "req_1"}, status)


def google_error(status: int, name: str, **more: Any) -> Response:
    return JSONResponse(
        {"error": {"code": status, "status": name, "message": "because", **more}}, status
    )


INVALID_KEY = {
    "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]
}


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        (anthropic_error(400, "invalid_request_error"), Outcome.FAILED),
        (anthropic_error(404, "not_found_error"), Outcome.FAILED),
        (anthropic_error(500, "api_error"), Outcome.RETRYABLE),
        (anthropic_error(529, "overloaded_error"), Throttled),
        (anthropic_error(429, "rate_limit_error"), Throttled),
        (anthropic_error(401, "authentication_error"), Throttled),
        (anthropic_error(504, "timeout_error"), OutcomeUnknown),
        (Response("<html>", 502), OutcomeUnknown),
        (Response("<html>", 404), Outcome.FAILED),
        (Response("<html>", 200), OutcomeUnknown),
    ],
)
async def test_errors_of_anthropic(
    claude: TranslatedCalls, fake: FakeProvider, reply: Response, found: Any
) -> None:
    fake.on("POST", CLAUDE_PATH, reply)
    check(await ask(claude, CLAUDE), found, reply.status_code)


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        (google_error(400, "INVALID_ARGUMENT"), Outcome.FAILED),
        (google_error(404, "NOT_FOUND"), Outcome.FAILED),
        (google_error(500, "INTERNAL"), Outcome.RETRYABLE),
        (google_error(503, "UNAVAILABLE"), Throttled),
        (google_error(429, "RESOURCE_EXHAUSTED"), Throttled),
        (google_error(400, "INVALID_ARGUMENT", **INVALID_KEY), Throttled),
        (google_error(504, "DEADLINE_EXCEEDED"), OutcomeUnknown),
        (Response("<html>", 404), Outcome.FAILED),
        (Response("[]", 400), Outcome.FAILED),
        (Response("<html>", 200), OutcomeUnknown),
    ],
)
async def test_errors_of_gemini(
    gemini: TranslatedCalls, fake: FakeProvider, reply: Response, found: Any
) -> None:
    fake.on("POST", GEMINI_PATH, reply)
    check(await ask(gemini, GEMINI), found, reply.status_code)


def check(outcome: Any, found: Any, status: int) -> None:
    if isinstance(found, Outcome):
        assert isinstance(outcome, Answered)
        assert outcome.outcome is found
        assert json.loads(outcome.response)["status_code"] == status
        assert outcome.error is not None
    else:
        assert isinstance(outcome, found)


async def test_the_body_of_a_batchs_line_is_that_of_a_call(fake: FakeProvider) -> None:
    async with connect(fake.url, Naps()) as http:
        calls = dialect_calls(http, OPENAI, LIMITS)
        body = BODY.replace(b'"max_tokens":9', b'"max_tokens":9,"stop":null')
        encoded = calls.encode_body(CHAT, "openai/gpt-4.1", body)
        assert json.loads(encoded) == json.loads(BODY) | {"model": "gpt-4.1"}
        await calls.call("c", CHAT, encoded)
    assert [call.path for call in fake.calls] == ["/chat/completions"]


async def test_a_call_asks_for_no_tier_that_a_batch_has_not(
    claude: TranslatedCalls, gemini: TranslatedCalls, fake: FakeProvider
) -> None:
    fake.on("POST", CLAUDE_PATH, JSONResponse(MESSAGE))
    message = b'{"model":"m","max_tokens":9,"speed":"fast","messages":[{"speed":1}]}'
    await ask(claude, CLAUDE, MESSAGES, message)
    fake.on("POST", GEMINI_PATH, JSONResponse(CONTENT))
    contents = b'{"contents":[{"parts":[{"text":"Hi"}]}],"serviceTier":"priority"}'
    await ask(gemini, GEMINI, GENERATE, contents)
    async with connect(fake.url, Naps()) as http:
        calls = dialect_calls(http, OPENAI, LIMITS)
        body = BODY.replace(b'"max_tokens":9', b'"max_tokens":9,"service_tier":"priority"')
        await calls.call("c", CHAT, calls.encode_body(CHAT, "openai/gpt-4.1", body))
    sent = [json.loads(call.body) for call in fake.calls]
    assert [sorted(each) for each in sent] == [
        ["max_tokens", "messages", "model"],
        ["contents"],
        ["max_tokens", "messages", "model"],
    ]
    assert sent[0]["messages"] == [{"speed": 1}]
