"""The bill, and the control API."""

from __future__ import annotations

from typing import Any

import anthropic
import openai
import pytest

from tests.support.sandbox.driving import (
    Sandbox,
    chat_line,
    create,
    message_request,
    results,
    until,
    until_ended,
)


def test_the_bill_of_both_providers(
    sandbox: Sandbox, openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic
) -> None:
    lines = [chat_line(f"{i}", f"{i}") for i in range(7)]
    batch = until(openai_client, create(openai_client, [*lines, chat_line("refused", n=0)]))
    requests = [message_request(f"{i}", f"{i}") for i in range(3)]
    requests += [message_request("other", "x", model="claude-opus-4-1")]
    made = anthropic_client.messages.batches.create(requests=requests)
    usage = [
        line.result.message.usage
        for line in results(anthropic_client, made.id)
        if line.result.type == "succeeded"
    ]
    bill = sandbox.bill()
    assert bill["batches_created"] == 2
    assert bill["lines_asked"] == 12
    assert bill["lines_billed"] == 11
    assert bill["distinct_lines_billed_more_than_once"] == 0
    account = bill["providers"]["openai"]
    assert account["batches_created"] == 1
    assert account["lines_asked"] == 8
    assert batch.usage is not None
    assert account["models"] == {
        "gpt-4.1": {
            "lines_billed": 7,
            "input_tokens": batch.usage.input_tokens,
            "output_tokens": batch.usage.output_tokens,
        }
    }
    models = bill["providers"]["anthropic"]["models"]
    assert {model: sums["lines_billed"] for model, sums in models.items()} == {
        "claude-opus-4-1": 1,
        "claude-sonnet-4-6": 3,
    }
    assert sum(sums["input_tokens"] for sums in models.values()) == sum(
        u.input_tokens for u in usage
    )
    assert sum(sums["output_tokens"] for sums in models.values()) == sum(
        u.output_tokens for u in usage
    )


def test_lines_billed_twice_are_found_by_content(
    sandbox: Sandbox, openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic
) -> None:
    until(openai_client, create(openai_client, [chat_line("a", "1"), chat_line("b", "2")]))
    assert sandbox.bill()["distinct_lines_billed_more_than_once"] == 0
    for custom_id in ("c", "d"):
        until(openai_client, create(openai_client, [chat_line(custom_id, "1")]))
    for custom_id in ("x", "y"):
        made = anthropic_client.messages.batches.create(requests=[message_request(custom_id)])
        until_ended(anthropic_client, made)
    bill = sandbox.bill()
    assert bill["distinct_lines_billed_more_than_once"] == 2
    assert bill["extra_billings"] == 3
    assert sandbox.bill() == bill


def test_a_batch_is_billed_though_nobody_asks_for_it(
    sandbox: Sandbox, openai_client: openai.OpenAI
) -> None:
    sandbox.set(batch_seconds=3600)
    until(openai_client, create(openai_client, [chat_line("a")]), "in_progress")
    assert sandbox.bill()["lines_billed"] == 0
    sandbox.set(batch_seconds=0)
    assert sandbox.bill()["lines_billed"] == 1


def test_reset_forgets_everything(sandbox: Sandbox, openai_client: openai.OpenAI) -> None:
    batch = until(openai_client, create(openai_client, [chat_line("a")]))
    sandbox.set(batch_seconds=5, faults=[{"kind": "garbage", "path": "/nowhere"}])
    sandbox.http.post("/sandbox/reset").raise_for_status()
    assert sandbox.bill()["lines_asked"] == 0
    assert openai_client.files.list().data == []
    with pytest.raises(openai.NotFoundError):
        openai_client.batches.retrieve(batch.id)
    config = sandbox.http.get("/sandbox/config").json()
    assert config["batch_seconds"] == 0
    assert config["faults"] == []


def test_config_shows_what_is_left_of_faults(
    sandbox: Sandbox, openai_client: openai.OpenAI
) -> None:
    config = sandbox.set(faults=[{"kind": "status", "count": 2}], batch_seconds=1.5)
    assert config["batch_seconds"] == 1.5
    with pytest.raises(openai.InternalServerError):
        openai_client.batches.list()
    assert sandbox.http.get("/sandbox/config").json()["faults"][0]["count"] == 1
    assert sandbox.set(shuffle=False)["faults"][0]["count"] == 1
    with pytest.raises(openai.InternalServerError):
        openai_client.batches.list()
    assert sandbox.http.get("/sandbox/config").json()["faults"] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"no_such_knob": 1},
        {"batch_seconds": -1},
        {"batch_seconds": "soon"},
        {"faults": [{"kind": "no such kind"}]},
        {"faults": [{"kind": "status", "path": "("}]},
        {"faults": [{"kind": "status", "probability": 2}]},
        [],
    ],
)
def test_wrong_knobs_are_refused(sandbox: Sandbox, changes: Any) -> None:
    before = sandbox.http.get("/sandbox/config").json()
    answer = sandbox.http.post("/sandbox/config", json=changes)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert sandbox.http.get("/sandbox/config").json() == before
