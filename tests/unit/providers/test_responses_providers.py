"""/v1/responses at each kind of provider: what is sent, and what comes of the answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from openai.types.responses import Response as SdkResponse
from starlette.responses import JSONResponse, Response

from core.prices.usage import Usage
from core.providers import (
    Accepted,
    Answered,
    KnownProviders,
    LineRejected,
    Provider,
    ResultLine,
    known_providers,
)
from core.providers.anthropic.adapter import AnthropicProvider
from core.providers.contract import Found, RemoteBatch, RemoteState
from core.settings import ProviderAccess, Settings
from tests.support.providers.fake_provider import NOW, FakeProvider, jsonl, make_intent

RESPONSES, CHAT = "/v1/responses", "/v1/chat/completions"
BODY = json.dumps({"model": "x", "input": "hi", "max_output_tokens": 99}).encode()
LOSSY = json.dumps({"model": "x", "input": "hi", "truncation": "auto"}).encode()
COMPLETION: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1790000000,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 5},
}
ENDED = RemoteBatch("b1", RemoteState.ENDED, "ended", result_sources=("o",), ended_at=NOW)

TABLES = """
[{name}]
kind = "{kind}"
base_url = "{url}/v1"
api_key_env = "ACME_API_KEY"
"""


def configured(
    tmp_path: Path, fake: FakeProvider, kind: str, more: str = "", name: str = "acme"
) -> KnownProviders:
    file = tmp_path / "providers.toml"
    file.write_text(TABLES.format(name=name, kind=kind, url=fake.url) + more)
    return known_providers(ProviderAccess(), Settings(providers_file=file))


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_API_KEY", "k-1")


def compatible(
    tmp_path: Path, fake: FakeProvider, endpoints: list[str], more: str = ""
) -> Provider:
    text = f"endpoints = {json.dumps(endpoints)}\n{more}"
    return configured(tmp_path, fake, "openai-compatible", text).open()["acme"]


async def read(provider: Provider, batch: RemoteBatch = ENDED) -> list[ResultLine]:
    return [line async for group in provider.results(batch) for line in group]


def rows(*given: dict[str, Any]) -> Response:
    return Response(jsonl(*given))


def check_answer(line: ResultLine, text: str) -> None:
    """The line has our id again, and its body is a Response that says so."""
    assert line.custom_id == "s-t-1"
    assert line.response is not None
    assert SdkResponse.model_validate(json.loads(line.response)["body"]).output_text == text


async def test_anthropic(fake: FakeProvider, anthropic: AnthropicProvider) -> None:
    line, _ = anthropic.encode_line("s-t-1", RESPONSES, "claude-sonnet-4-5", BODY)
    sent = json.loads(line)
    assert sent["params"]["messages"] == [{"role": "user", "content": "hi"}]
    assert sent["params"]["max_tokens"] == 99
    message = {
        "id": "msg_1",
        "model": "claude",
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 9, "output_tokens": 5},
    }
    row = {"custom_id": sent["custom_id"], "result": {"type": "succeeded", "message": message}}
    other = {"custom_id": "s-t-2", "result": {"type": "succeeded", "message": message}}
    fake.on("GET", "/v1/messages/batches/b1/results", rows(row, other))
    answered, plain = await read(anthropic)
    check_answer(answered, "Hello")
    assert answered.usage == Usage(input=9, output=5)
    assert plain.response is not None
    assert json.loads(plain.response)["body"]["object"] == "chat.completion"


async def test_anthropic_finds_a_batch_by_such_lines(
    fake: FakeProvider, anthropic: AnthropicProvider
) -> None:
    wanted = make_intent()
    line, _ = anthropic.encode_line(wanted.custom_id(1), RESPONSES, "claude-sonnet-4-5", BODY)
    row = {"custom_id": json.loads(line)["custom_id"], "result": {"type": "expired"}}
    assert len(row["custom_id"]) <= 64
    batch = {
        "id": "msgbatch_1",
        "processing_status": "ended",
        "created_at": NOW.isoformat(),
        "request_counts": {"expired": wanted.line_count},
        "results_url": None,
    }
    fake.on("GET", "/v1/messages/batches", JSONResponse({"data": [batch], "has_more": False}))
    fake.on("GET", "/v1/messages/batches/msgbatch_1/results", rows(row))
    assert await anthropic.find(wanted, frozenset()) == Found("msgbatch_1")


async def test_gemini(fake: FakeProvider) -> None:
    known = known_providers(
        ProviderAccess(gemini_api_key="k-1", gemini_base_url=fake.url), Settings()
    )
    gemini = known.open()["gemini"]
    line, _ = gemini.encode_line("s-t-1", RESPONSES, "gemini-3.8-flash", BODY)
    sent = json.loads(line)
    assert sent["request"]["contents"] == [{"role": "user", "parts": [{"text": "hi"}]}]
    assert sent["request"]["generationConfig"] == {"maxOutputTokens": 99}
    said = {"content": {"parts": [{"text": "Hello"}]}, "finishReason": "STOP"}
    row = {"key": sent["key"], "response": {"candidates": [said], "responseId": "r1"}}
    fake.on("GET", "/download/v1beta/o:download", rows(row))
    (answered,) = await read(gemini)
    check_answer(answered, "Hello")
    await gemini.close()


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
async def test_a_server_with_chat_completions_alone(
    tmp_path: Path, fake: FakeProvider, spool: Path, limit: str
) -> None:
    more = f'limit_field = "{limit}"\nurls = {{ "{CHAT}" = "/chat" }}\n'
    provider = compatible(tmp_path, fake, [CHAT], more)
    line, _ = provider.encode_line("s-t-1", RESPONSES, "acme/llama", BODY)
    sent = json.loads(line)
    assert (sent["url"], sent["method"]) == ("/chat", "POST")
    messages = [{"role": "user", "content": "hi"}]
    assert sent["body"] == {"model": "llama", "messages": messages, limit: 99}
    fake.on("POST", "/v1/files", JSONResponse({"id": "file-1"}))
    fake.on("POST", "/v1/batches", JSONResponse({"id": "b1", "status": "validating"}))
    assert await provider.submit(make_intent(endpoint=RESPONSES), spool) == Accepted("b1", "file-1")
    (create,) = fake.seen("POST", "/v1/batches")
    assert json.loads(create.body)["endpoint"] == "/chat"
    row = {"custom_id": sent["custom_id"], "response": {"status_code": 200, "body": COMPLETION}}
    error = {"custom_id": sent["custom_id"], "response": {"status_code": 400, "body": {}}}
    fake.on("GET", "/v1/files/o/content", rows(row, error))
    answered, failed = await read(provider)
    check_answer(answered, "Hello")
    assert answered.usage == Usage(input=9, output=5)
    assert (failed.custom_id, json.loads(failed.response or b"")) == ("s-t-1", error["response"])
    await provider.close()


async def test_a_server_with_responses_of_its_own(tmp_path: Path, fake: FakeProvider) -> None:
    provider = compatible(tmp_path, fake, [CHAT, RESPONSES])
    line, _ = provider.encode_line("s-t-1", RESPONSES, "acme/llama", LOSSY)
    sent = json.loads(line)
    assert (sent["custom_id"], sent["url"]) == ("s-t-1", RESPONSES)
    assert sent["body"] == {"model": "llama", "input": "hi", "truncation": "auto"}
    usage = {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
    }
    body = {"id": "resp_1", "object": "response", "output": [], "usage": usage}
    row = {"custom_id": "s-t-1", "response": {"status_code": 200, "body": body}}
    fake.on("GET", "/v1/files/o/content", rows(row))
    (answered,) = await read(provider)
    assert json.loads(answered.response or b"")["body"] == body
    assert answered.usage == Usage(input=9, cached_input=4, output=5, reasoning=2)
    await provider.close()


async def test_mistral(tmp_path: Path, fake: FakeProvider, spool: Path) -> None:
    mistral = configured(tmp_path, fake, "mistral").open()["acme"]
    line, _ = mistral.encode_line("s-t-1", RESPONSES, "acme/mistral-small", BODY)
    sent = json.loads(line)
    assert sent["body"] == {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 99}
    fake.on("POST", "/v1/files", JSONResponse({"id": "file-1"}))
    fake.on("POST", "/v1/batch/jobs", JSONResponse({"id": "b1", "status": "QUEUED"}))
    assert await mistral.submit(make_intent(endpoint=RESPONSES), spool) == Accepted("b1", "file-1")
    (create,) = fake.seen("POST", "/v1/batch/jobs")
    assert json.loads(create.body)["endpoint"] == CHAT
    row = {"custom_id": sent["custom_id"], "response": {"status_code": 200, "body": COMPLETION}}
    fake.on("GET", "/v1/files/o/content", rows(row))
    (answered,) = await read(mistral)
    check_answer(answered, "Hello")
    await mistral.close()


async def test_single_calls(tmp_path: Path, fake: FakeProvider) -> None:
    direct = configured(tmp_path, fake, "openai-direct").open_direct()["acme"]
    body = direct.encode_body(RESPONSES, "acme/llama", BODY)
    messages = [{"role": "user", "content": "hi"}]
    assert json.loads(body) == {"model": "llama", "messages": messages, "max_tokens": 99}
    fake.on("POST", "/v1/chat/completions", JSONResponse(COMPLETION))
    answered = await direct.call("c-1", RESPONSES, body)
    assert isinstance(answered, Answered)
    parsed = SdkResponse.model_validate(json.loads(answered.response)["body"])
    assert (parsed.output_text, answered.usage) == ("Hello", Usage(input=9, output=5))
    plain = await direct.call("c-1", CHAT, body)
    assert isinstance(plain, Answered)
    assert json.loads(plain.response)["body"] == COMPLETION
    with pytest.raises(LineRejected) as caught:
        direct.encode_body(RESPONSES, "acme/llama", LOSSY)
    assert caught.value.field == "body.truncation"
    await direct.close()


def weights(known: KnownProviders, slug: str, url: str, body: bytes) -> list[tuple[str, str]]:
    return [(note.field, note.weight) for note in known.checks[slug](url, f"{slug}/m", body)]


def test_the_check_at_upload_says_what_is_lost(tmp_path: Path, fake: FakeProvider) -> None:
    chat_only = f'endpoints = ["{CHAT}"]\n'
    known = configured(tmp_path, fake, "openai-compatible", chat_only)
    assert weights(known, "acme", RESPONSES, LOSSY) == [("body.truncation", "lost")]
    assert weights(known, "acme", CHAT, LOSSY) == []
    for slug in ("anthropic", "gemini"):
        assert ("body.truncation", "lost") in weights(known, slug, RESPONSES, LOSSY)
    # Of single calls nothing is left out in any mode.
    known = configured(tmp_path, fake, "openai-direct")
    assert weights(known, "acme", RESPONSES, LOSSY) == [("body.truncation", "refused")]
    both = f'endpoints = ["{CHAT}", "{RESPONSES}"]\n'
    assert "acme" not in configured(tmp_path, fake, "openai-compatible", both).checks


def test_lenient_lines_name_what_was_left_out(tmp_path: Path, fake: FakeProvider) -> None:
    provider = compatible(tmp_path, fake, [CHAT])
    with pytest.raises(LineRejected):
        provider.encode_line("s-t-1", RESPONSES, "acme/llama", LOSSY)
    line, dropped = provider.encode_line("s-t-1", RESPONSES, "acme/llama", LOSSY, lenient=True)
    assert dropped == ["body.truncation"]
    assert "truncation" not in line.decode()
