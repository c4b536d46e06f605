"""Anthropic's SDK, unchanged, against the running suite: only base_url and api_key are ours."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic

from tests.support.e2e.stories import check_bill
from tests.support.e2e.suite import Suite, wait_for


def sdk(suite: Suite, key: str | None = None) -> Anthropic:
    own = Path(suite.ready["api_key_file"]).read_text().strip()
    return Anthropic(base_url=f"{suite.ready['web']}/anthropic", api_key=key or own)


@pytest.fixture
def client(suite: Suite) -> Iterator[Anthropic]:
    with sdk(suite) as client:
        yield client


def request(custom_id: str, text: str = "Hi", **params: Any) -> Any:
    return {
        "custom_id": custom_id,
        "params": {
            "model": "claude-sonnet-4-5",
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


def test_what_no_batch_can_have_is_refused_whole(suite: Suite) -> None:
    with sdk(suite, suite.new_key(f"refused-{secrets.token_hex(4)}")) as client:
        for requests, named in (
            ([request("a"), request("a")], "requests.1.custom_id"),
            ([request("a"), request("b", model="openai/gpt-4.1")], "requests.1.params.model"),
            ([], "at least one request"),
        ):
            with pytest.raises(anthropic.BadRequestError, match=named) as refused:
                client.messages.batches.create(requests=requests)
            body: Any = refused.value.body
            assert body["error"]["type"] == "invalid_request_error"
        assert not client.messages.batches.list().data
    with pytest.raises(anthropic.AuthenticationError):
        sdk(suite, "wrong").messages.batches.create(requests=[request("a")])


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
