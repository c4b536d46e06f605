"""Single calls: the answers of batches, one at a time, with limits that refuse."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

import httpx2
import openai
import pytest
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion

from tests.support.sandbox.driving import (
    PATIENCE,
    Sandbox,
    assert_exact,
    chat_line,
    create,
    rows,
    until,
)

CHAT = "/v1/chat/completions"


def body(text: str = "what is 13 + 25", **members: Any) -> dict[str, Any]:
    found: dict[str, Any] = chat_line("x", text, **members)["body"]
    return found


def call(sandbox: Sandbox, text: str = "Hi", **members: Any) -> httpx2.Response:
    return sandbox.http.post(CHAT, json=body(text, **members))


def test_chat_as_in_a_batch(sandbox: Sandbox, openai_client: openai.OpenAI) -> None:
    answer = call(sandbox, "what is 13 + 25")
    assert answer.status_code == 200
    assert_exact(ChatCompletion, answer.json())
    batch = until(openai_client, create(openai_client, [chat_line("x", "what is 13 + 25")]))
    (row,) = rows(openai_client, batch.output_file_id)
    assert answer.json()["choices"] == row["response"]["body"]["choices"]
    assert answer.json()["usage"] == row["response"]["body"]["usage"]
    call(sandbox, "what is 13 + 25")
    assert sandbox.bill()["extra_billings"] == 1, "the same request was run twice"


def test_embeddings(sandbox: Sandbox) -> None:
    answer = sandbox.http.post(
        "/v1/embeddings", json={"model": "text-embedding-3-small", "input": ["a", "b"]}
    )
    assert_exact(CreateEmbeddingResponse, answer.json())
    assert [len(item["embedding"]) for item in answer.json()["data"]] == [1536, 1536]


def test_with_the_vendors_client(sandbox: Sandbox) -> None:
    with sandbox.openai() as client:
        done = client.chat.completions.create(
            model="llama3.2:3b", messages=[{"role": "user", "content": "what is 1 + 1"}]
        )
    assert (done.choices[0].message.content or "").endswith("2")
    assert done.usage is not None
    account = sandbox.bill()["providers"]["openai"]
    assert account["models"] == {
        "llama3.2:3b": {
            "lines_billed": 1,
            "input_tokens": done.usage.prompt_tokens,
            "output_tokens": done.usage.completion_tokens,
        }
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "could not parse"),
        (b"[]", "could not parse"),
        (b'{"model":"m","messages":[],"stream":false}', "messages"),
        (b'{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true}', "not stream"),
        (b'{"model":"m","messages":[{"role":"user","content":"x"}],"colour":1}', "colour"),
    ],
)
def test_what_is_wrong_in_itself(sandbox: Sandbox, content: bytes, message: str) -> None:
    answer = sandbox.http.post(CHAT, content=content)
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]
    assert sandbox.bill()["lines_billed"] == 0


def test_keys(sandbox: Sandbox) -> None:
    assert call(sandbox).status_code == 200, "servers at home ask for no key"
    refused = sandbox.http.post(CHAT, json=body(), headers={"authorization": "Bearer invalid-key"})
    assert refused.status_code == 401


def test_too_many_at_once(sandbox: Sandbox) -> None:
    # Both that are taken last until the others have come, on a busy machine too.
    sandbox.set(call_seconds=2, calls_at_once=2, call_retry_seconds=1.5)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda n: call(sandbox, f"{n}"), range(6)))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) == 4
    for answer in refused:
        assert answer.headers["retry-after"] == "2"
        assert answer.headers["retry-after-ms"] == "1500"
        assert answer.json()["error"]["code"] == "rate_limit_exceeded"
    bill = sandbox.bill()
    assert bill["calls"] == {"begun": 2, "refused": 4, "most_at_once": 2}
    assert bill["lines_billed"] == 2


def test_too_many_a_second(sandbox: Sandbox) -> None:
    sandbox.set(calls_per_second=3)
    first = call(sandbox, "first").headers
    assert first["x-ratelimit-limit-requests"] == "3"
    assert first["x-ratelimit-remaining-requests"] == "2"
    assert first["x-ratelimit-reset-requests"].endswith("ms")
    # One may be saved up, and none comes for a quarter of an hour.
    sandbox.set(calls_per_second=0.001)
    answers = [call(sandbox, f"{n}") for n in range(3)]
    assert [answer.status_code for answer in answers] == [200, 429, 429]
    assert answers[0].headers["x-ratelimit-remaining-requests"] == "0"


@pytest.mark.parametrize(
    ("marker", "status"),
    [("error=server", 500), ("error=rate_limit", 429), ("error=overloaded", 503), ("lost", 504)],
)
def test_markers(sandbox: Sandbox, marker: str, status: int) -> None:
    assert call(sandbox, f"[[sandbox:{marker}]]").status_code == status
    assert sandbox.bill()["lines_billed"] == (1 if marker == "lost" else 0)


def test_flaky_and_garbage(sandbox: Sandbox) -> None:
    statuses = [call(sandbox, "[[sandbox:flaky=2]]").status_code for _ in range(3)]
    assert statuses == [500, 500, 200]
    torn = call(sandbox, "[[sandbox:garbage]]")
    assert torn.status_code == 200
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        torn.json()


def test_a_line_fault_strikes_calls_too(sandbox: Sandbox) -> None:
    sandbox.fault("line", outcome="overloaded", count=1)
    assert [call(sandbox, f"{n}").status_code for n in range(2)] == [503, 200]


def test_a_call_that_nobody_waits_for_is_billed(sandbox: Sandbox) -> None:
    # Far longer than its caller waits: one that is held up itself would find an answer.
    sandbox.set(call_seconds=2)
    with pytest.raises(httpx2.ReadTimeout):
        sandbox.http.post(CHAT, json=body(), timeout=0.1)
    sandbox.set(call_seconds=0)
    deadline = monotonic() + PATIENCE
    while not sandbox.bill()["lines_billed"]:
        assert monotonic() < deadline


def test_a_key_can_be_tried_with_the_list_of_models(sandbox: Sandbox) -> None:
    with sandbox.openai() as client:
        assert client.models.list().data == []
    with sandbox.openai("invalid-key") as stranger, pytest.raises(openai.AuthenticationError):
        stranger.models.list()
