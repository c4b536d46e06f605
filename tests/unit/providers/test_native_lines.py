"""Requests in a provider's own form: what is sent, and what comes back, as they are."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from core.endpoints import GENERATE_CONTENT, MESSAGES
from core.prices.usage import Usage
from core.providers.anthropic.adapter import AnthropicProvider
from core.providers.anthropic.adapter import read_result as read_anthropic
from core.providers.anthropic.native import SUFFIX as ANTHROPIC
from core.providers.anthropic.native import PlainParams, begins_with_user, check_params
from core.providers.catalogue import find_model
from core.providers.contract import LineRejected, Outcome, ResultLine
from core.providers.gemini.adapter import GeminiProvider
from core.providers.gemini.adapter import read_result as read_gemini
from core.providers.gemini.native import SUFFIX as GEMINI
from core.providers.http.client import ProviderHttp

OURS = "shard_1-token-7"
USER = {"role": "user", "content": "Hi"}
ASSISTANT = {"role": "assistant", "content": "Hello"}
PARAMS = {
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "Hi"}],
    "model": "claude-haiku-4.5",
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "not_known_yet": [1.50, 12345678901234567890],
}
MESSAGE = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "model": "claude-haiku-4-5-20251001",
    "content": [
        {"type": "thinking", "thinking": "hm", "signature": "x"},
        {"type": "text", "text": "Hello", "citations": None},
    ],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": 5},
}
CONTENT = {"candidates": [{"content": {"parts": [{"text": "Hello"}]}, "finishReason": "STOP"}]}
COUNTS = {"promptTokenCount": 3, "candidatesTokenCount": 5, "thoughtsTokenCount": 2}
REFUSED: dict[str, Any] = {
    "type": "errored",
    "error": {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}},
}


@pytest.fixture
def http() -> ProviderHttp:
    return ProviderHttp("http://127.0.0.1:1", {}, secret="", timeout=1, provider="x")


def anthropic(result: dict[str, Any]) -> ResultLine:
    line = {"custom_id": OURS + ANTHROPIC, "result": result}
    return read_anthropic(json.dumps(line).encode(), 0)


def gemini(**answer: Any) -> ResultLine:
    return read_gemini(json.dumps({"key": OURS + GEMINI} | answer).encode(), 0, "gemini-x")


def body_of(line: ResultLine) -> Any:
    assert line.response is not None
    envelope = json.loads(line.response)
    assert envelope["status_code"] == 200
    return envelope["body"]


async def test_params_are_sent_as_they_are(http: ProviderHttp) -> None:
    provider = AnthropicProvider(http, settle=timedelta(), betas=["files-api-2025-04-14"])
    asked = PARAMS | {"betas": ["files-api-2025-04-14"]}
    encoded, dropped = provider.encode_line(
        OURS, MESSAGES, "claude-haiku-4.5", json.dumps(asked).encode()
    )
    assert json.loads(encoded) == {
        "custom_id": f"{OURS}{ANTHROPIC}",
        "params": PARAMS | {"model": "claude-haiku-4-5-20251001"},
    }
    assert dropped == ()
    other = json.dumps(PARAMS | {"betas": ["another"]}).encode()
    with pytest.raises(LineRejected, match="ANTHROPIC_BETAS"):
        provider.encode_line(OURS, MESSAGES, "claude-haiku-4.5", other)
    await provider.close()


@pytest.mark.parametrize(
    ("model", "given", "field"),
    [
        ("claude-haiku-4-5", {"temperature": 1.5}, "body.temperature"),
        ("claude-haiku-4-5", {"messages": [ASSISTANT, USER]}, "body.messages[0].role"),
        ("claude-opus-4-7", {"temperature": 0.5}, "body.temperature"),
        ("claude-opus-4-7", {"top_p": 0.5}, "body.top_p"),
        ("claude-opus-4-7", {"top_k": 5}, "body.top_k"),
        ("claude-opus-4-7", {"temperature": 1.0, "top_p": 1, "top_k": None}, ""),
        ("claude-haiku-4-5", {"temperature": 0.5, "top_k": 5}, ""),
        ("claude-of-tomorrow", {"temperature": 0.5}, ""),
        # Newest models alone take it: that is the provider's to say.
        ("claude-haiku-4-5", {"messages": [USER, {"role": "system", "content": "x"}]}, ""),
    ],
)
def test_what_a_model_is_documented_to_refuse_is_told(
    model: str, given: dict[str, Any], field: str
) -> None:
    params = {"model": model, "max_tokens": 9, "messages": [USER]} | given
    body = json.dumps(params).encode()
    if not field:
        check_params(body, find_model("anthropic", model), ())
        return
    with pytest.raises(LineRejected) as refused:
        check_params(body, find_model("anthropic", model), ())
    assert refused.value.field == field


def test_only_messages_that_the_user_begins_are_alike() -> None:
    """What was found of one request's options is not remembered for others."""
    for messages, alike in ([USER], True), ([USER, ASSISTANT], True), ([ASSISTANT, USER], False):
        params = {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": messages}
        plain = msgspec.json.decode(json.dumps(params), type=PlainParams)
        assert begins_with_user(plain.messages) is alike


async def test_a_request_is_sent_as_it_is(http: ProviderHttp) -> None:
    provider = GeminiProvider(http, settle=timedelta())
    request = {"contents": [{"parts": [{"text": "Hi"}]}], "not_known_yet": 1.50}
    for own, sent in ({}, {}), ({"model": "gemini-x"}, {"model": "models/gemini-x"}):
        encoded, _ = provider.encode_line(
            OURS, GENERATE_CONTENT, "gemini/gemini-x", json.dumps(request | own).encode()
        )
        assert json.loads(encoded) == {"key": f"{OURS}{GEMINI}", "request": request | sent}
    await provider.close()


def test_a_message_comes_back_as_it_is() -> None:
    line = anthropic({"type": "succeeded", "message": MESSAGE})
    assert (line.custom_id, line.outcome) == (OURS, Outcome.SUCCEEDED)
    assert body_of(line) == MESSAGE
    assert line.usage == Usage(input=7, cached_input=4, output=5)


def test_a_response_comes_back_as_it_is() -> None:
    response = CONTENT | {"usageMetadata": COUNTS, "modelVersion": "gemini-x"}
    line = gemini(response=response)
    assert (line.custom_id, line.outcome) == (OURS, Outcome.SUCCEEDED)
    assert body_of(line) == response
    assert line.usage == Usage(input=3, output=7, reasoning=2)


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        (anthropic(REFUSED), Outcome.FAILED),
        (anthropic({"type": "canceled"}), Outcome.CANCELLED),
        (anthropic({"type": "succeeded", "message": {"type": "error"}}), Outcome.FAILED),
        (
            gemini(error={"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}),
            Outcome.FAILED,
        ),
        (gemini(response={"candidates": []}), Outcome.FAILED),
    ],
)
def test_what_failed_is_told_as_of_any_line(line: ResultLine, outcome: Outcome) -> None:
    assert (line.custom_id, line.outcome) == (OURS, outcome)
    told = (
        json.loads(line.error) if line.error else json.loads(line.response or b"")["body"]["error"]
    )
    assert told["code"]
    assert told["message"]
