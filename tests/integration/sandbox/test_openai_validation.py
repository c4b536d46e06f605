"""The asynchronous check of a new OpenAI batch: every code of the fact sheet's section 7."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai.types import Batch

from tests.support.sandbox.driving import Sandbox, assert_exact, chat_line, create, errors, until


def lines(*bad: Any) -> bytes:
    """A good line, the given ones, and another good line."""
    texts = [
        line if isinstance(line, str) else json.dumps(line)
        for line in (chat_line("first"), *bad, chat_line("last"))
    ]
    return "\n".join(texts).encode()


def without(name: str) -> dict[str, Any]:
    line = chat_line("bad")
    del line[name]
    return line


def body_without(name: str) -> dict[str, Any]:
    line = chat_line("bad")
    del line["body"][name]
    return line


EMBEDDING = {
    "custom_id": "bad",
    "method": "POST",
    "url": "/v1/embeddings",
    "body": {"model": "gpt-4.1", "input": "x"},
}


@pytest.mark.parametrize(
    ("bad", "code", "param"),
    [
        ('{"custom_id": ', "invalid_json_line", None),
        ("[1]", "invalid_json_line", None),
        ("", "invalid_json_line", None),
        (without("custom_id"), "missing_required_parameter", "custom_id"),
        (without("method"), "missing_required_parameter", "method"),
        (without("url"), "missing_required_parameter", "url"),
        (without("body"), "missing_required_parameter", "body"),
        (chat_line("first"), "duplicate_custom_id", "custom_id"),
        (chat_line("bad") | {"url": "/v1/embeddings"}, "invalid_url", "url"),
        (EMBEDDING, "invalid_request", "body.messages"),
        (chat_line("bad") | {"method": "GET"}, "invalid_method", "method"),
        (chat_line("bad") | {"custom_id": 7}, "invalid_request", "custom_id"),
        (chat_line("bad") | {"body": []}, "invalid_request", "body"),
        (chat_line("bad") | {"body": "x"}, "invalid_request", "body"),
        (chat_line("bad", model="gpt-4o"), "mismatched_model", "body.model"),
        (chat_line("bad", model=7), "invalid_request", "body.model"),
        (body_without("model"), "invalid_request", "body.model"),
        (body_without("messages"), "invalid_request", "body.messages"),
        (chat_line("bad", messages=[]), "invalid_request", "body.messages"),
        (chat_line("bad", stream=True), "streaming_unsupported", "body.stream"),
        (chat_line("bad", stream=True, top_p=9), "streaming_unsupported", "body.stream"),
    ],
)
def test_a_bad_line_fails_the_batch(
    sandbox: Sandbox, openai_client: openai.OpenAI, bad: Any, code: str, param: str | None
) -> None:
    batch = until(openai_client, create(openai_client, lines(bad)))
    assert batch.status == "failed"
    assert batch.failed_at
    (error,) = errors(batch)
    assert (error.code, error.param, error.line) == (code, param, 2)
    assert error.message
    assert batch.request_counts is not None
    assert batch.request_counts.total == 0
    assert batch.output_file_id is None
    assert_exact(Batch, batch.to_dict())
    assert sandbox.bill()["lines_billed"] == 0
    assert openai_client.files.retrieve(batch.input_file_id).id == batch.input_file_id


@pytest.mark.parametrize(
    "model",
    [
        "openai/gpt-4.1",
        "claude-sonnet-4-5",
        "gpt-realtime-2",
        "gpt-41",
        "gpt-7-mega",
        # Shut down on 2026-10-23.
        "gpt-4.1-nano",
        "gpt-4.1-nano-2025-04-14",
        "o4-mini",
        "o3-mini",
        "o1",
        "gpt-4-turbo",
        "gpt-4",
        "gpt-3.5-turbo",
        "gpt-4o-2024-05-13",
    ],
)
def test_an_unknown_or_retired_model_is_not_found(openai_client: openai.OpenAI, model: str) -> None:
    batch = until(openai_client, create(openai_client, [chat_line("a", model=model)]))
    (error,) = errors(batch)
    assert (error.code, error.param, error.line) == ("model_not_found", "body.model", 1)


@pytest.mark.parametrize("model", ["gpt-4.1-mini", "o3", "gpt-6.2-astra", "gpt-4o-2024-08-06"])
def test_a_model_that_is_served_is_found(openai_client: openai.OpenAI, model: str) -> None:
    batch = until(openai_client, create(openai_client, [chat_line("a", model=model)]))
    assert batch.status == "completed"


def too_many_lines() -> tuple[Any, str]:
    return [chat_line(f"{i}") for i in range(50_001)], "/v1/chat/completions"


def too_many_inputs() -> tuple[Any, str]:
    body = {"model": "text-embedding-3-small", "input": ["x"] * 2000}
    many = [EMBEDDING | {"custom_id": f"{i}", "body": body} for i in range(26)]
    return many, "/v1/embeddings"


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: (b"", "/v1/chat/completions"), "empty_file"),
        (too_many_lines, "too_many_tasks"),
        (too_many_inputs, "too_many_tasks"),
    ],
)
def test_what_is_wrong_with_a_file_as_a_whole(
    openai_client: openai.OpenAI, make: Callable[[], tuple[Any, str]], code: str
) -> None:
    content, endpoint = make()
    batch = until(openai_client, create(openai_client, content, endpoint))
    (error,) = errors(batch)
    assert (error.code, error.param, error.line) == (code, None, None)


def test_every_error_when_asked(sandbox: Sandbox, openai_client: openai.OpenAI) -> None:
    sandbox.set(validation_errors="all")
    bad = lines("nonsense", chat_line("first"), without("url"), chat_line("first"))
    batch = until(openai_client, create(openai_client, bad))
    assert [(e.code, e.line) for e in errors(batch)] == [
        ("invalid_json_line", 2),
        ("duplicate_custom_id", 3),
        ("missing_required_parameter", 4),
        ("duplicate_custom_id", 5),
    ]


def test_an_unknown_file_fails_the_batch_or_the_create(
    sandbox: Sandbox, openai_client: openai.OpenAI
) -> None:
    def attempt() -> Batch:
        return openai_client.batches.create(
            input_file_id="file-nowhere",
            endpoint="/v1/chat/completions",
            completion_window="24h",
        )

    batch = until(openai_client, attempt())
    (error,) = errors(batch)
    assert (error.code, error.param, error.line) == ("invalid_request", "file_id", None)
    sandbox.set(create_checks_file=True)
    with pytest.raises(openai.BadRequestError):
        attempt()


def test_a_file_with_another_purpose_fails_the_batch(openai_client: openai.OpenAI) -> None:
    file = openai_client.files.create(file=("x.jsonl", lines()), purpose="user_data")
    batch = openai_client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    batch = until(openai_client, batch)
    (error,) = errors(batch)
    assert error.code == "invalid_request"


def test_enqueued_tokens_are_limited_per_model(
    sandbox: Sandbox, openai_client: openai.OpenAI
) -> None:
    sandbox.set(enqueued_token_limit=150, batch_seconds=3600)
    long = "x" * 400
    first = until(openai_client, create(openai_client, [chat_line("a", long)]), "in_progress")
    second = until(openai_client, create(openai_client, [chat_line("b", long)]))
    assert second.status == "failed"
    (error,) = errors(second)
    assert (error.code, error.param, error.line) == ("token_limit_exceeded", None, None)
    assert "gpt-4.1" in (error.message or "")
    assert "150" in (error.message or "")
    other = create(openai_client, [chat_line("c", long, model="gpt-4o")])
    assert until(openai_client, other, "in_progress").status == "in_progress"
    with sandbox.openai("another") as client:
        theirs = create(client, [chat_line("d", long)])
        assert until(client, theirs, "in_progress").status == "in_progress"
    sandbox.set(batch_seconds=0)
    until(openai_client, first)
    again = until(openai_client, create(openai_client, [chat_line("b", long)]))
    assert again.status == "completed"


@pytest.mark.parametrize("code", ["token_limit_exceeded", "billing_hard_limit_reached"])
def test_a_batch_can_be_made_to_fail(
    sandbox: Sandbox, openai_client: openai.OpenAI, code: str
) -> None:
    sandbox.fault("fail_batch", code=code, count=1)
    batch = until(openai_client, create(openai_client, [chat_line("a")]))
    assert batch.status == "failed"
    (error,) = errors(batch)
    assert error.code == code
    assert until(openai_client, create(openai_client, [chat_line("a")])).status == "completed"


def test_last_line_may_lack_its_newline_and_lines_may_end_in_crlf(
    openai_client: openai.OpenAI,
) -> None:
    content = b"\r\n".join(json.dumps(chat_line(f"{i}")).encode() for i in range(3))
    batch = until(openai_client, create(openai_client, content))
    assert batch.request_counts is not None
    assert batch.request_counts.completed == 3


def test_creates_are_limited_by_the_hour(sandbox: Sandbox, openai_client: openai.OpenAI) -> None:
    assert sandbox.set()["creates_per_hour"] == 2000
    sandbox.set(creates_per_hour=2)
    for _ in range(2):
        create(openai_client, lines())
    with pytest.raises(openai.RateLimitError) as refused:
        create(openai_client, lines())
    assert (refused.value.code, refused.value.response.headers.get("retry-after")) == (
        "rate_limit_exceeded",
        None,
    )
    with sandbox.openai("another") as other:
        create(other, lines())
    sandbox.set(creates_per_hour=3)
    create(openai_client, lines())
