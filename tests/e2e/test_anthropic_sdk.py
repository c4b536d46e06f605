"""Anthropic's SDK, unchanged, against the running suite: only base_url and api_key are ours."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic
from openai import OpenAI

from tests.support.e2e.inputs import chat
from tests.support.e2e.stories import check_bill
from tests.support.e2e.suite import Suite, wait_for

GPT = "openai/gpt-4.1"


def sdk(suite: Suite, key: str | None = None) -> Anthropic:
    own = Path(suite.ready["api_key_file"]).read_text().strip()
    return Anthropic(base_url=f"{suite.ready['web']}/anthropic", api_key=key or own)


@pytest.fixture
def client(suite: Suite) -> Iterator[Anthropic]:
    with sdk(suite) as client:
        yield client


def openai_sdk(suite: Suite, key: str) -> OpenAI:
    return OpenAI(base_url=f"{suite.ready['web']}/v1", api_key=key)


def results(client: Anthropic, batch_id: str) -> list[Any]:
    """Those of a batch, once it has ended."""
    batches = client.messages.batches
    wait_for(lambda: batches.retrieve(batch_id).processing_status == "ended", "the end")
    return list(batches.results(batch_id))


def request(custom_id: str, text: str = "Hi", **params: Any) -> Any:
    return {
        "custom_id": custom_id,
        "params": {
            "model": "claude-sonnet-4-6",
            "max_tokens": 50,
            "messages": [{"role": "user", "content": text}],
            **params,
        },
    }


def test_from_requests_to_results(suite: Suite, client: Anthropic) -> None:
    texts = {"a": "one {", "b": 'two " \\ \n [', "c": "three ü"}
    made = client.messages.batches.create(
        requests=[request(custom_id, text) for custom_id, text in texts.items()]
    )
    assert made.type == "message_batch"
    assert made.results_url is None
    wait_for(
        lambda: client.messages.batches.retrieve(made.id).processing_status == "ended", "the end"
    )
    ended = client.messages.batches.retrieve(made.id)
    assert ended.request_counts.succeeded == 3
    assert ended.request_counts.processing == 0
    assert ended.ended_at is not None
    # The SDK sends its key there: never in the clear where a proxy has taken TLS off.
    proxied = client.messages.batches.retrieve(
        made.id, extra_headers={"X-Forwarded-Proto": "https"}
    )
    assert proxied.results_url is not None
    assert proxied.results_url.startswith("https://")
    found = list(client.messages.batches.results(made.id))
    assert [each.custom_id for each in found] == list(texts)
    for each in found:
        assert each.result.type == "succeeded"
        [block] = each.result.message.content
        assert block.type == "text"
        assert texts[each.custom_id].split()[0] in block.text
        assert each.result.message.usage.output_tokens > 0
    assert made.id in [each.id for each in client.messages.batches.list()]
    assert client.messages.batches.delete(made.id).id == made.id
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.retrieve(made.id)
    assert made.id not in [each.id for each in client.messages.batches.list()]
    check_bill(suite, 3)


@pytest.mark.long
def test_what_no_batch_can_have_is_refused_whole(suite: Suite) -> None:
    with sdk(suite, suite.new_key(f"refused-{secrets.token_hex(4)}")) as client:
        for requests, named in (
            ([request("a"), request("a")], "requests.1.custom_id"),
            ([request("a", top_k=7), request("b", model=GPT)], "requests.0.params.top_k"),
            ([request("a"), request("a", model=GPT)], "requests.1.custom_id"),
            ([], "at least one request"),
        ):
            with pytest.raises(anthropic.BadRequestError, match=named) as refused:
                client.messages.batches.create(requests=requests)
            body: Any = refused.value.body
            assert body["error"]["type"] == "invalid_request_error"
        assert not client.messages.batches.list().data
        # Neither is a file left of what was converted for them.
        with openai_sdk(suite, client.api_key or "") as door:
            assert not door.files.list().data
    with pytest.raises(anthropic.AuthenticationError):
        sdk(suite, "wrong").messages.batches.create(requests=[request("a")])


@pytest.mark.long
def test_models_of_other_providers(suite: Suite, client: Anthropic) -> None:
    tool = {"name": "look", "description": "Look.", "input_schema": {"type": "object"}}
    made = client.messages.batches.create(
        requests=[
            request("a"),
            request("b", "two", model=GPT, system="Be brief.", tools=[tool]),
            request("c", "three", model="gemini/gemini-2.5-flash", stop_sequences=["x"]),
        ]
    )
    found = {each.custom_id: each.result for each in results(client, made.id)}
    assert list(found) == ["a", "b", "c"]
    for result in found.values():
        assert result.type == "succeeded"
        message = anthropic.types.Message.model_validate(result.message.model_dump())
        assert message.content[0].type == "text"
        assert message.stop_reason == "end_turn"
        assert message.usage.input_tokens > 0
    assert made.id in [each.id for each in client.messages.batches.list()]
    check_bill(suite, 3)


@pytest.mark.long
def test_batches_of_openais_door(suite: Suite, client: Anthropic) -> None:
    with openai_sdk(suite, client.api_key or "") as door:

        def made(lines: list[Any], endpoint: str) -> str:
            content = "".join(json.dumps(line) + "\n" for line in lines).encode()
            file = door.files.create(file=("a.jsonl", content), purpose="batch")
            order: Any = {"endpoint": endpoint, "completion_window": "24h"}
            return door.batches.create(input_file_id=file.id, **order).id

        lines = [chat(1), chat(2)]
        for line, count in zip(lines, (1, 2), strict=True):
            line |= {"provider": "openai"}
            line["body"] |= {"model": GPT, "n": count}
        batch = made(lines, "/v1/chat/completions")
        plain, lossy = results(client, batch.replace("batch_", "msgbatch_"))
        assert plain.result.type == "succeeded"
        assert plain.result.message.role == "assistant"
        assert lossy.result.type == "errored"
        assert "choices: read it at /v1/files/" in lossy.result.error.error.message
        body = {"model": "openai/text-embedding-3-small", "input": "Hi"}
        embeddings = {"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": body}
        other = made([embeddings], "/v1/embeddings")
        with pytest.raises(anthropic.BadRequestError, match="read it at /v1/batches/"):
            client.messages.batches.retrieve(other.replace("batch_", "msgbatch_"))


@pytest.mark.long
def test_lists_in_both_directions_and_a_cancel(suite: Suite) -> None:
    suite.sandbox("/sandbox/config", {"batch_seconds": 600})
    with sdk(suite, suite.new_key(f"lists-{secrets.token_hex(4)}")) as client:
        batches = client.messages.batches
        made = [batches.create(requests=[request("a")]).id for _ in range(5)]
        newest = list(reversed(made))
        assert [each.id for each in batches.list(limit=2)] == newest
        before = batches.list(limit=2, before_id=newest[3])
        assert [each.id for each in before.data] == newest[1:3]
        assert before.has_more
        assert batches.cancel(made[0]).processing_status in ("canceling", "ended")
        wait_for(lambda: batches.retrieve(made[0]).processing_status == "ended", "the cancel")
        [line] = batches.results(made[0])
        assert line.result.type == "canceled"
        with pytest.raises(anthropic.NotFoundError):
            sdk(suite).messages.batches.retrieve(made[0])
