"""Everything that the sandbox does wrong on request."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx2
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
)

OPENAI = {"authorization": "Bearer key"}
ANTHROPIC = {"x-api-key": "key", "anthropic-version": "2023-06-01"}


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
def test_openai_status(
    sandbox: Sandbox,
    openai_client: openai.OpenAI,
    status: int,
    error: type[openai.APIStatusError],
) -> None:
    sandbox.fault("status", status=status, retry_after=2.5, count=1, provider="openai")
    with pytest.raises(error) as caught:
        openai_client.batches.list()
    assert caught.value.response.headers["retry-after"] == "3"
    assert caught.value.response.headers["retry-after-ms"] == "2500"
    assert caught.value.response.headers["x-request-id"]
    assert set(caught.value.response.json()["error"]) == {"message", "type", "param", "code"}
    openai_client.batches.list()


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (402, anthropic.APIStatusError, "billing_error"),
        (429, anthropic.RateLimitError, "rate_limit_error"),
        (500, anthropic.InternalServerError, "api_error"),
        (529, anthropic.APIStatusError, "overloaded_error"),
    ],
)
def test_anthropic_status(
    sandbox: Sandbox,
    anthropic_client: anthropic.Anthropic,
    status: int,
    error: type[anthropic.APIStatusError],
    kind: str,
) -> None:
    sandbox.fault("status", status=status, count=1, provider="anthropic")
    with pytest.raises(error) as caught:
        anthropic_client.messages.batches.list()
    assert caught.value.status_code == status
    assert caught.value.response.json()["type"] == "error"
    assert caught.value.response.json()["error"]["type"] == kind
    assert caught.value.response.headers["request-id"]
    anthropic_client.messages.batches.list()


def test_a_fault_strikes_only_where_it_is_aimed(
    sandbox: Sandbox, openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic
) -> None:
    sandbox.fault("status", method="POST", path="/v1/batches$", provider="openai")
    openai_client.batches.list()
    openai_client.files.create(file=("a.jsonl", b"{}"), purpose="batch")
    anthropic_client.messages.batches.create(requests=[message_request("a")])
    with pytest.raises(openai.InternalServerError):
        create(openai_client, [chat_line("a")])
    sandbox.fault("status", probability=0)
    openai_client.batches.list()
    sandbox.fault("status", seconds=0)
    openai_client.batches.list()
    sandbox.fault("status", seconds=3600)
    for _ in range(2):
        with pytest.raises(openai.InternalServerError):
            openai_client.batches.list()


def test_reset_before_handling(sandbox: Sandbox, openai_client: openai.OpenAI) -> None:
    sandbox.fault("reset_before", method="POST", path="/v1/files$", count=1)
    with pytest.raises(openai.APIConnectionError):
        create(openai_client, [chat_line("a")])
    assert openai_client.files.list().data == []


def test_reset_after_handling_leaves_the_batch(
    sandbox: Sandbox, openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic
) -> None:
    sandbox.fault("reset_after", method="POST", path="/batches$", count=2)
    with pytest.raises(openai.APIConnectionError):
        create(openai_client, [chat_line("a")], metadata={"intent": "x"})
    (batch,) = openai_client.batches.list().data
    assert batch.metadata == {"intent": "x"}
    assert until(openai_client, batch).status == "completed"
    with pytest.raises(anthropic.APIConnectionError):
        anthropic_client.messages.batches.create(requests=[message_request("a")])
    assert len(anthropic_client.messages.batches.list().data) == 1


def test_garbage_instead_of_json(sandbox: Sandbox) -> None:
    sandbox.fault("garbage", count=1)
    answer = sandbox.http.get("/v1/batches", headers=OPENAI)
    assert answer.status_code == 200
    assert answer.text.startswith("<html>")


@pytest.mark.parametrize("after", [0, 1000])
def test_cut_off_results(sandbox: Sandbox, openai_client: openai.OpenAI, after: int) -> None:
    batch = until(openai_client, create(openai_client, [chat_line(f"{i}") for i in range(2000)]))
    sandbox.fault("cut", path="/content$", after_bytes=after, count=1)
    received: list[bytes] = []

    def read() -> None:
        path = f"/v1/files/{batch.output_file_id}/content"
        with sandbox.http.stream("GET", path, headers=OPENAI) as answer:
            received.extend(answer.iter_raw())

    with pytest.raises(httpx2.RemoteProtocolError):
        read()
    assert sum(map(len, received)) == after
    assert len(rows(openai_client, batch.output_file_id)) == 2000


def test_slow_body(sandbox: Sandbox) -> None:
    sandbox.fault("slow", path="/v1/batches$", delay=3600)
    with pytest.raises(httpx2.ReadTimeout):
        sandbox.http.get("/v1/batches", headers=OPENAI, timeout=0.2)
    sandbox.fault("slow", path="/v1/batches$", delay=0.01)
    assert sandbox.http.get("/v1/batches", headers=OPENAI).status_code == 200


MARKED = {
    "good": "Hi",
    "lost": "Hi [[sandbox:lost]]",
    "double": "Hi [[sandbox:duplicate]]",
    "torn": "Hi [[sandbox:garbage]]",
    "rate": "Hi [[sandbox:error=rate_limit]]",
    "bad": "Hi [[sandbox:error=invalid]]",
    "server": "Hi [[sandbox:error=server]]",
    "over": "Hi [[sandbox:error=overloaded]]",
    "slow": "Hi [[sandbox:error=timeout]]",
    "typo": "Hi [[sandbox:error=nonsense]]",
}


def parsed(text: str) -> tuple[list[str], int]:
    """(the custom_ids of the lines that are JSON, how many lines are not)."""
    ids, torn = [], 0
    for line in text.splitlines():
        try:
            ids.append(json.loads(line)["custom_id"])
        except json.JSONDecodeError:
            torn += 1
    return sorted(ids), torn


def test_markers_at_openai(sandbox: Sandbox, openai_client: openai.OpenAI) -> None:
    lines = [chat_line(custom_id, text) for custom_id, text in MARKED.items()]
    batch = until(openai_client, create(openai_client, lines))
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 10, "completed": 5, "failed": 5}
    assert batch.output_file_id
    output = openai_client.files.content(batch.output_file_id).text
    assert parsed(output) == (["double", "double", "good", "typo"], 1)
    errors = {row["custom_id"]: row["response"] for row in rows(openai_client, batch.error_file_id)}
    assert {custom_id: response["status_code"] for custom_id, response in errors.items()} == {
        "rate": 429,
        "bad": 400,
        "server": 500,
        "over": 503,
        "slow": 408,
    }
    assert errors["rate"]["body"]["error"]["code"] == "rate_limit_exceeded"
    assert sandbox.bill()["lines_billed"] == 5


def test_markers_at_anthropic(sandbox: Sandbox, anthropic_client: anthropic.Anthropic) -> None:
    batch = anthropic_client.messages.batches.create(
        requests=[message_request(custom_id, text) for custom_id, text in MARKED.items()]
    )
    batch = anthropic_client.messages.batches.retrieve(batch.id)
    assert (batch.request_counts.succeeded, batch.request_counts.errored) == (5, 5)
    answer = sandbox.http.get(f"/v1/messages/batches/{batch.id}/results", headers=ANTHROPIC)
    ids, torn = parsed(answer.text)
    assert torn == 1
    assert ids == sorted(["double", *(set(MARKED) - {"lost", "torn"})])
    kinds = {}
    for line in answer.text.splitlines():
        if '"errored"' in line:
            read: Any = json.loads(line)
            kinds[read["custom_id"]] = read["result"]["error"]["error"]["type"]
    assert kinds == {
        "rate": "rate_limit_error",
        "bad": "invalid_request_error",
        "server": "api_error",
        "over": "overloaded_error",
        "slow": "timeout_error",
    }


def test_a_flaky_line_succeeds_in_the_end(
    sandbox: Sandbox, openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic
) -> None:
    text = "Hi [[sandbox:flaky=2]]"
    seen = []
    for attempt in range(3):
        batch = until(openai_client, create(openai_client, [chat_line(f"a{attempt}", text)]))
        seen.append(batch.output_file_id is not None)
    assert seen == [False, False, True]
    kinds = []
    for attempt in range(3):
        made = anthropic_client.messages.batches.create(
            requests=[message_request(f"a{attempt}", text)]
        )
        kinds += [line.result.type for line in results(anthropic_client, made.id)]
    assert kinds == ["errored", "errored", "succeeded"]
    assert sandbox.bill()["lines_billed"] == 2


def test_fates_dealt_by_count_and_probability(
    sandbox: Sandbox, openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic
) -> None:
    sandbox.set(
        faults=[
            {"kind": "line", "outcome": "lost", "count": 3, "provider": "openai"},
            {"kind": "line", "outcome": "overloaded", "probability": 0.5},
        ]
    )
    lines = [chat_line(f"{i}", f"{i}") for i in range(1000)]
    batch = until(openai_client, create(openai_client, lines))
    good = rows(openai_client, batch.output_file_id)
    bad = rows(openai_client, batch.error_file_id)
    assert len(good) + len(bad) == 997
    assert 300 < len(bad) < 700
    made = anthropic_client.messages.batches.create(
        requests=[message_request(f"{i}") for i in range(100)]
    )
    assert len(results(anthropic_client, made.id)) == 100


def test_wrong_counts_and_unknown_lines(
    sandbox: Sandbox, openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic
) -> None:
    sandbox.set(counts_skew=-1, unknown_result_lines=2)
    batch = until(openai_client, create(openai_client, [chat_line("a"), chat_line("b")]))
    assert batch.request_counts is not None
    assert batch.request_counts.completed == 1
    output = rows(openai_client, batch.output_file_id)
    assert len(output) == 4
    assert sum(row["custom_id"].startswith("unknown-") for row in output) == 2
    made = anthropic_client.messages.batches.create(requests=[message_request("a")])
    made = anthropic_client.messages.batches.retrieve(made.id)
    assert made.request_counts.succeeded == 0
    assert len(results(anthropic_client, made.id)) == 3
