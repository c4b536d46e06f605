"""Answers that nobody should believe, on request: in batches, and in single calls."""

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
    rows,
    until,
    until_ended,
)

CHAT = "/v1/chat/completions"


def test_of_openai(sandbox: Sandbox, openai_client: openai.OpenAI) -> None:
    marks = ["answer=empty", "answer=no_choices", "answer=null", "answer=no_content"]
    marks += ["answer=no_status", "finish=abort", "answer=error_body", "answer=rate_limit_body"]
    lines = [chat_line(mark, f"[[sandbox:{mark}]]") for mark in marks]
    batch = until(openai_client, create(openai_client, lines))
    found = {row["custom_id"]: row for row in rows(openai_client, batch.output_file_id)}
    assert found.keys() == set(marks[:6])
    bodies = {mark: row["response"]["body"] for mark, row in found.items()}
    assert (bodies["answer=empty"], bodies["answer=null"]) == ({}, None)
    assert bodies["answer=no_choices"]["choices"] == []
    assert bodies["answer=no_content"]["choices"][0]["message"]["content"] is None
    assert bodies["finish=abort"]["choices"][0]["finish_reason"] == "abort"
    assert "status_code" not in found["answer=no_status"]["response"]
    for row in rows(openai_client, batch.error_file_id):
        assert row["response"]["status_code"] == 200
        assert row["response"]["body"]["error"]["message"]
    assert sandbox.bill()["lines_billed"] == 6, "an error costs nothing"
    assert sandbox.http.post(CHAT, json=lines[0]["body"]).json() == {}
    assert sandbox.http.post(CHAT, json=lines[7]["body"]).json()["error"]["code"] == 429


def test_as_a_fault(sandbox: Sandbox, openai_client: openai.OpenAI) -> None:
    sandbox.fault("line", outcome="rate_limit_body", count=1)
    lines = [chat_line(str(number)) for number in range(3)]
    batch = until(openai_client, create(openai_client, lines))
    assert len(rows(openai_client, batch.error_file_id)) == 1
    assert len(rows(openai_client, batch.output_file_id)) == 2


def test_of_anthropic(sandbox: Sandbox, anthropic_client: anthropic.Anthropic) -> None:
    batch = anthropic_client.messages.batches.create(
        requests=[message_request("a", "[[sandbox:answer=refusal]]")]
    )
    (line,) = results(anthropic_client, until_ended(anthropic_client, batch).id)
    assert line.result.type == "succeeded"
    message = line.result.message
    assert (message.stop_reason, message.content) == ("refusal", [])
    assert message.stop_details is not None
    assert message.stop_details.category == "bio"


@pytest.mark.parametrize(
    ("thinking", "problem"),
    [
        ({"type": "enabled", "budget_tokens": 2000}, "must be greater than"),
        ({"type": "enabled", "budget_tokens": 1000}, "budget_tokens"),
        ({"type": "enabled"}, "budget_tokens"),
        ({"type": "enabled", "budget_tokens": 1999}, ""),
        ({"type": "disabled"}, ""),
    ],
)
def test_a_budget_has_to_fit(
    sandbox: Sandbox, anthropic_client: anthropic.Anthropic, thinking: Any, problem: str
) -> None:
    """As documented: 1,024 tokens or more, and less than max_tokens."""
    asked = message_request("a", max_tokens=2000, thinking=thinking)
    batch = anthropic_client.messages.batches.create(requests=[asked])
    (line,) = results(anthropic_client, until_ended(anthropic_client, batch).id)
    if problem:
        assert line.result.type == "errored"
        assert problem in line.result.error.error.message
    else:
        assert line.result.type == "succeeded"
