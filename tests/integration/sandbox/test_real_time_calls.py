"""Single calls of Anthropic and Gemini: the answers of their batches, strictly taken and billed."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.types import Message
from google import genai
from google.genai import errors as gemini_errors

from tests.support.sandbox.driving import (
    Sandbox,
    assert_exact,
    message_request,
    results,
    until_ended,
)

MODEL = "gemini-2.5-flash"
ASK: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "what is 13 + 25"}]}]}
PATH = f"/v1beta/models/{MODEL}:generateContent"


def ours(custom_id: str, content: str = "Hi") -> Any:
    return message_request(custom_id, content, model="claude-haiku-4-5-20251001")


def bill_of(sandbox: Sandbox, provider: str) -> dict[str, Any]:
    found: dict[str, Any] = sandbox.bill()["providers"][provider]
    return found


def test_a_message_as_in_a_batch(sandbox: Sandbox) -> None:
    request = ours("x", "what is 13 + 25")
    with sandbox.anthropic() as client:
        message = client.messages.create(**request["params"])
        batch = until_ended(client, client.messages.batches.create(requests=[request]))
        (row,) = results(client, batch.id)
    assert row.result.type == "succeeded"
    assert message.content == row.result.message.content
    assert (message.usage.service_tier, row.result.message.usage.service_tier) == (
        "standard",
        "batch",
    )
    assert_exact(Message, message.model_dump())
    lines = [json.loads(line) for line in sandbox.http.get("/sandbox/bill/lines").text.splitlines()]
    assert [line["processing"] for line in lines] == ["real_time", "batch"]
    assert bill_of(sandbox, "anthropic")["calls_billed"] == 1


def test_the_same_request_is_known_again(sandbox: Sandbox) -> None:
    """Called and run in a batch, a line is billed twice, and the bill says so."""
    params = ours("x")["params"]
    raw = json.dumps(params)
    headers = {"x-api-key": "key", "anthropic-version": "2023-06-01"}
    sandbox.http.post("/v1/messages", content=raw, headers=headers)
    many = f'{{"requests":[{{"custom_id":"a","params":{raw}}}]}}'
    sandbox.http.post("/v1/messages/batches", content=many, headers=headers)
    sandbox.http.get("/v1/messages/batches", headers=headers)
    assert sandbox.bill()["extra_billings"] == 1


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"max_tokens": 0}, anthropic.BadRequestError),
        ({"model": "gpt-4.1"}, anthropic.NotFoundError),
        ({"messages": [{"role": "user", "content": "[[sandbox:error=overloaded]]"}]}, None),
    ],
)
def test_messages_that_are_refused(
    sandbox: Sandbox, changes: dict[str, Any], error: type[anthropic.APIStatusError] | None
) -> None:
    with sandbox.anthropic() as client, pytest.raises(error or anthropic.APIStatusError) as raised:
        client.messages.create(**(ours("x")["params"] | changes))
    if error is None:
        assert raised.value.status_code == 529
    assert sandbox.bill()["lines_billed"] == 0


def test_messages_need_a_key_and_a_version(sandbox: Sandbox) -> None:
    params = ours("x")["params"]

    def status(**headers: str) -> int:
        found = sandbox.http.post(
            "/v1/messages",
            json=params,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )
        return found.status_code

    assert status(anthropic_version="2023-06-01") == 401
    assert status(x_api_key="invalid-key", anthropic_version="2023-06-01") == 401
    assert status(x_api_key="key") == 400


def test_contents_with_the_vendors_client(sandbox: Sandbox, gemini_client: genai.Client) -> None:
    found = gemini_client.models.generate_content(model=MODEL, contents="what is 13 + 25")
    assert (found.text or "").endswith("38")
    assert found.usage_metadata is not None
    assert bill_of(sandbox, "gemini")["models"][MODEL]["lines_billed"] == 1
    with pytest.raises(gemini_errors.ClientError) as raised:
        gemini_client.models.generate_content(model="gemini-embedding-001", contents="Hi")
    assert raised.value.code == 404


def ask(sandbox: Sandbox, key: str = "key") -> httpx2.Response:
    return sandbox.http.post(PATH, json=ASK, headers={"x-goog-api-key": key} if key else {})


def test_contents_need_a_key(sandbox: Sandbox) -> None:
    assert ask(sandbox, "").status_code == 403
    assert ask(sandbox, "invalid-key").status_code == 400
    assert sandbox.bill()["lines_billed"] == 0


def test_too_many_calls_are_refused_in_the_vendors_words(sandbox: Sandbox) -> None:
    sandbox.set(calls_per_second=1)
    assert ask(sandbox).is_success
    refused = ask(sandbox)
    assert (refused.status_code, refused.json()["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert refused.json()["error"]["details"][0]["retryDelay"].endswith("s")
    with sandbox.anthropic() as client:
        client.messages.create(**ours("x")["params"])
        with pytest.raises(anthropic.RateLimitError) as raised:
            client.messages.create(**ours("x")["params"])
    assert raised.value.response.headers["retry-after"] == "1"
    assert sandbox.bill()["calls"]["refused"] == 2
