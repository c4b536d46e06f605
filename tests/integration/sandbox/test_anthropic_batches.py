"""Whole batches through Anthropic's own client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from time import monotonic
from typing import Any

import anthropic
import pytest
from anthropic.types.messages import (
    DeletedMessageBatch,
    MessageBatch,
    MessageBatchIndividualResponse,
)

from services.sandbox.answers import fingerprint
from tests.support.sandbox.driving import (
    PATIENCE,
    Sandbox,
    assert_exact,
    message_request,
    results,
    until_ended,
)

MODEL = "claude-sonnet-4-6"
HEADERS = {"x-api-key": "key", "anthropic-version": "2023-06-01"}
ASKED = {"role": "user", "content": "How warm is it?"}
SAID = {"role": "assistant", "content": "Wait."}
CALLED = {
    "role": "assistant",
    "content": [{"type": "tool_use", "id": "t1", "name": "weather", "input": {}}],
}
RESULT = {
    "role": "user",
    "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "cold"}],
}


def test_whole_batch(sandbox: Sandbox, anthropic_client: anthropic.Anthropic) -> None:
    questions = {f"row-{i}": f"Hello world! what is {i} * 3 " + "ü" * i for i in range(40)}
    sandbox.set(batch_seconds=3600)
    created = anthropic_client.messages.batches.create(
        requests=[message_request(custom_id, text) for custom_id, text in questions.items()]
    )
    assert created.processing_status == "in_progress"
    assert created.request_counts.processing == 40
    assert created.results_url is None
    assert created.ended_at is None
    assert (created.expires_at - created.created_at).total_seconds() == 86400
    assert_exact(MessageBatch, created.to_dict())
    with pytest.raises(anthropic.NotFoundError):
        anthropic_client.get(f"/v1/messages/batches/{created.id}/results", cast_to=object)
    sandbox.set(batch_seconds=0)

    batch = until_ended(anthropic_client, created)

    assert batch.request_counts.to_dict() == {
        "processing": 0,
        "succeeded": 40,
        "errored": 0,
        "canceled": 0,
        "expired": 0,
    }
    assert batch.results_url == f"{sandbox.url}/v1/messages/batches/{batch.id}/results"
    assert batch.ended_at
    answer = sandbox.http.get(f"/v1/messages/batches/{batch.id}", headers=HEADERS)
    assert_exact(MessageBatch, answer.json())
    answer = sandbox.http.get(batch.results_url, headers=HEADERS)
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert {line["custom_id"] for line in lines} == set(questions)
    assert [line["custom_id"] for line in lines] != list(questions), "results come unordered"
    for line in lines:
        assert_exact(MessageBatchIndividualResponse, line)
    for result in results(anthropic_client, batch.id):
        question = questions[result.custom_id]
        assert result.result.type == "succeeded"
        message = result.result.message
        assert message.stop_reason == "end_turn"
        assert message.model == MODEL
        (block,) = message.content
        assert block.type == "text"
        assert fingerprint(MODEL, question) in block.text
        assert question[:50] in block.text
        number = int(question.split()[4])
        assert block.text.endswith(f"\n\n{number * 3}")


def test_counts_do_not_move_before_the_end(
    sandbox: Sandbox, anthropic_client: anthropic.Anthropic
) -> None:
    sandbox.set(lines_per_second=200)
    batch = anthropic_client.messages.batches.create(
        requests=[message_request(f"{i}") for i in range(4000)]
    )
    deadline = monotonic() + PATIENCE
    while sandbox.bill()["providers"]["anthropic"]["lines_running"] == 0:
        assert monotonic() < deadline
    batch = anthropic_client.messages.batches.retrieve(batch.id)
    assert batch.request_counts.processing == 4000
    batch = anthropic_client.messages.batches.cancel(batch.id)
    batch = until_ended(anthropic_client, batch)
    assert batch.cancel_initiated_at
    counts = batch.request_counts
    assert counts.processing == counts.errored == counts.expired == 0
    assert 0 < counts.succeeded < 4000
    assert counts.succeeded + counts.canceled == 4000
    kinds = [line.result.type for line in results(anthropic_client, batch.id)]
    assert kinds.count("succeeded") == counts.succeeded
    assert kinds.count("canceled") == counts.canceled
    assert sandbox.bill()["lines_billed"] == counts.succeeded


def test_cancel_takes_its_time(sandbox: Sandbox, anthropic_client: anthropic.Anthropic) -> None:
    sandbox.set(batch_seconds=3600, cancel_seconds=3600)
    batch = anthropic_client.messages.batches.create(requests=[message_request("a")])
    assert anthropic_client.messages.batches.cancel(batch.id).processing_status == "canceling"
    assert anthropic_client.messages.batches.cancel(batch.id).processing_status == "canceling"
    sandbox.set(cancel_seconds=0)
    batch = until_ended(anthropic_client, batch)
    assert batch.request_counts.canceled == 1
    with pytest.raises(anthropic.BadRequestError):
        anthropic_client.messages.batches.cancel(batch.id)


def test_expiry(sandbox: Sandbox, anthropic_client: anthropic.Anthropic) -> None:
    sandbox.set(batch_seconds=3600)
    batch = anthropic_client.messages.batches.create(requests=[message_request("a")])
    sandbox.set(window_seconds=0)
    batch = until_ended(anthropic_client, batch)
    assert batch.request_counts.expired == 1
    (line,) = results(anthropic_client, batch.id)
    assert line.result.type == "expired"


def test_delete_only_after_the_end(sandbox: Sandbox, anthropic_client: anthropic.Anthropic) -> None:
    sandbox.set(batch_seconds=3600)
    batch = anthropic_client.messages.batches.create(requests=[message_request("a")])
    with pytest.raises(anthropic.BadRequestError):
        anthropic_client.messages.batches.delete(batch.id)
    sandbox.set(batch_seconds=0)
    until_ended(anthropic_client, batch)
    deleted = anthropic_client.messages.batches.delete(batch.id)
    assert_exact(DeletedMessageBatch, deleted.to_dict())
    with pytest.raises(anthropic.NotFoundError):
        anthropic_client.messages.batches.retrieve(batch.id)


def strict(name: str = "f", **schema: Any) -> dict[str, Any]:
    return {"name": name, "strict": True, "input_schema": {"type": "object"} | schema}


def answer_of(**schema: Any) -> dict[str, Any]:
    """A request for an answer of one property."""
    whole = {"type": "object", "properties": {"a": schema}, "additionalProperties": False}
    return {"output_config": {"format": {"type": "json_schema", "schema": whole}}}


def many(count: int, **kind: Any) -> dict[str, Any]:
    return {f"p{number}": {"type": "string"} | kind for number in range(count)}


CLOSED: dict[str, Any] = {"additionalProperties": False}
UNIONS = many(17, type=["string", "null"])


@pytest.mark.parametrize(
    ("params", "kind", "where"),
    [
        *(
            (params, "invalid_request_error", where)
            for params, where in (
                ({"tools": [strict(**CLOSED), strict(**CLOSED)]}, "unique"),
                ({"tools": [strict("a b", **CLOSED)]}, "name"),
                ({"tools": [strict()]}, "additionalProperties"),
                ({"tools": [strict(f"f{n}", **CLOSED) for n in range(21)]}, "strict tools"),
                ({"tools": [strict(properties=many(25), **CLOSED)]}, "optional parameters"),
                (
                    {"tools": [strict(properties=UNIONS, required=list(UNIONS), **CLOSED)]},
                    "union types",
                ),
                ({"tool_choice": {"type": "tool", "name": "g"}}, "tool_choice"),
                (answer_of(type="integer", minimum=1), "minimum"),
                (answer_of(type="string", pattern="(?=a)"), "Pattern"),
                (answer_of(type="string", format="phone"), "format"),
                (answer_of(type="array", minItems=2), "minItems"),
                ({**answer_of(allOf=[{"$ref": "#/properties/a"}])}, "allOf"),
                (answer_of(**{"$ref": "#/$defs/b"}), "$ref"),
                (answer_of(type="array", items={"$ref": "#"}), "Recursive"),
            )
        ),
        ({"max_tokens": 0}, "invalid_request_error", "max_tokens"),
        ({"messages": []}, "invalid_request_error", "messages"),
        ({"messages": [{"role": "user", "content": ""}]}, "invalid_request_error", "content"),
        ({"messages": [{"role": "system", "content": "x"}]}, "invalid_request_error", "role"),
        (
            {"messages": [{"role": "assistant", "content": "x"}]},
            "invalid_request_error",
            "first message",
        ),
        ({"temperature": 1.5}, "invalid_request_error", "temperature"),
        ({"max_completion_tokens": 5}, "invalid_request_error", "max_completion_tokens"),
        ({"stream": True}, "invalid_request_error", "stream"),
        ({"model": "claude-4.5-sonnet"}, "not_found_error", "model"),
        ({"model": "gpt-4.1"}, "not_found_error", "model"),
        ({"model": "claude-sonet-4-5"}, "not_found_error", "model"),
        ({"model": "claude-sonnet"}, "not_found_error", "model"),
        # Shut down by 2026-06-30.
        ({"model": "claude-3-5-haiku-20241022"}, "not_found_error", "model"),
        ({"model": "claude-opus-4-0"}, "not_found_error", "model"),
        ({"model": "claude-sonnet-4-20250514"}, "not_found_error", "model"),
        ({"model": "claude-mythos-preview"}, "not_found_error", "model"),
        ({"model": "claude-opus-4-7", "temperature": 0.5}, "invalid_request_error", "temperature"),
        ({"model": "claude-opus-5", "top_k": 5}, "invalid_request_error", "top_k"),
        ({"stop_sequences": ["END", " \n"]}, "invalid_request_error", "stop_sequences"),
        ({"messages": [ASKED, CALLED]}, "invalid_request_error", "immediately after: t1"),
        ({"messages": [ASKED, CALLED, ASKED]}, "invalid_request_error", "immediately after: t1"),
        (
            {"messages": [ASKED, CALLED, ASKED, SAID, RESULT]},
            "invalid_request_error",
            "immediately after: t1",
        ),
        ({"messages": [RESULT]}, "invalid_request_error", "messages.0.content: unexpected"),
        (
            {"messages": [ASKED, CALLED, RESULT, RESULT]},
            "invalid_request_error",
            "messages.3.content: unexpected",
        ),
    ],
)
def test_bad_params_cost_only_their_line(
    sandbox: Sandbox,
    anthropic_client: anthropic.Anthropic,
    params: dict[str, Any],
    kind: str,
    where: str,
) -> None:
    batch = anthropic_client.messages.batches.create(
        requests=[message_request("good"), message_request("bad", **params)]
    )
    batch = until_ended(anthropic_client, batch)
    assert batch.request_counts.succeeded == batch.request_counts.errored == 1
    found = {line.custom_id: line for line in results(anthropic_client, batch.id)}
    assert found["good"].result.type == "succeeded"
    result = found["bad"].result
    assert result.type == "errored"
    assert result.error.error.type == kind
    assert where in result.error.error.message
    assert result.error.request_id
    assert sandbox.bill()["lines_billed"] == 1


def test_messages_of_one_role_are_one_turn(
    sandbox: Sandbox, anthropic_client: anthropic.Anthropic
) -> None:
    messages = [ASKED, SAID, CALLED, SAID, RESULT, ASKED]
    batch = anthropic_client.messages.batches.create(
        requests=[message_request("a", messages=messages)]
    )
    (line,) = results(anthropic_client, until_ended(anthropic_client, batch).id)
    assert line.result.type == "succeeded"


def test_a_number_out_of_range_costs_only_its_line(
    sandbox: Sandbox, anthropic_client: anthropic.Anthropic
) -> None:
    requests = [message_request("good"), message_request("bad", temperature=0.125)]
    body = json.dumps({"requests": requests}).replace("0.125", "1e400")
    headers = {"x-api-key": "key", "anthropic-version": "2023-06-01"}
    made = sandbox.http.post("/v1/messages/batches", content=body, headers=headers)
    assert made.status_code == 200
    assert made.json()["request_counts"]["processing"] == 2


def test_sampling_settings_end_with_the_newer_version(
    sandbox: Sandbox, anthropic_client: anthropic.Anthropic
) -> None:
    for version, expected in (("2023-06-01", "succeeded"), ("2026-10-21", "errored")):
        batch = anthropic_client.messages.batches.create(
            requests=[message_request("a", temperature=0.5)],
            extra_headers={"anthropic-version": version},
        )
        (line,) = results(anthropic_client, batch.id)
        assert line.result.type == expected


@pytest.mark.parametrize("custom_id", ["", "with space", "x" * 65, "ü", "a.b"])
def test_a_bad_custom_id_refuses_the_whole_create(
    sandbox: Sandbox, anthropic_client: anthropic.Anthropic, custom_id: str
) -> None:
    with pytest.raises(anthropic.BadRequestError, match=r"requests\.1\.custom_id"):
        anthropic_client.messages.batches.create(
            requests=[message_request("good"), message_request(custom_id)]
        )
    assert sandbox.bill()["batches_created"] == 0


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"requests":[]}', "at least 1 item"),
        (b'{"requests":[{"custom_id":"a","params":{}},{"custom_id":"a","params":{}}]}', "unique"),
        (b'{"requests":[{"params":{}}]}', "requests.0.custom_id: Field required"),
        (b'{"requests":[{"custom_id":"a"}]}', "requests.0.params: Field required"),
        (b'{"requests":[{"custom_id":1,"params":{}}]}', "valid string"),
        (b'{"requests":[{"custom_id":"a","params":{},"x":1}]}', "requests.0.x: Extra"),
        (b'{"requests":[{"custom_id":"a","params":{]}]}', "not valid JSON"),
        (b'{"requests":[{"custom_id":"a","params":{}}', "unexpected end"),
        (b'{"requests":[{"custom_id":"a","params":{}}]} x', "unexpected end"),
        (b'{"requests":[{"custom_id":"a","params":{}},]}', "must be an object"),
        (b'{"requests":[5]}', "must be an object"),
        (b'{"requests":[' + b"[" * 100_000, "must be an object"),
        (b'{"requests":[{"custom_id":"a","params":' + b"[" * 5000 + b"]" * 5000 + b"}]}", "JSON"),
        (b'{"other":[]}', "requests"),
        (b"", "requests"),
    ],
)
def test_what_create_refuses(sandbox: Sandbox, body: bytes, message: str) -> None:
    answer = sandbox.http.post("/v1/messages/batches", content=body, headers=HEADERS)
    assert answer.status_code == 400, answer.text
    assert answer.json()["type"] == "error"
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert message in answer.json()["error"]["message"]
    assert answer.headers["request-id"]


@pytest.mark.long
def test_more_than_100000_requests_are_refused(sandbox: Sandbox) -> None:
    requests = b",".join(b'{"custom_id":"%d","params":{}}' % i for i in range(100_001))
    answer = sandbox.http.post(
        "/v1/messages/batches", content=b'{"requests":[' + requests + b"]}", headers=HEADERS
    )
    assert answer.status_code == 400
    assert "100000" in answer.json()["error"]["message"]


@pytest.mark.long
def test_more_than_256_mb_are_refused(sandbox: Sandbox) -> None:
    text = b"x" * 1024 * 1024

    def body() -> Iterator[bytes]:
        yield b'{"requests":['
        for i in range(257):
            yield b'{"custom_id":"%d","params":{"x":"%b"}},' % (i, text)

    answer = sandbox.http.post("/v1/messages/batches", content=body(), headers=HEADERS)
    assert answer.status_code == 413
    assert answer.json()["error"]["type"] == "request_too_large"


def test_list_is_paged_newest_first(
    sandbox: Sandbox, anthropic_client: anthropic.Anthropic
) -> None:
    batches = anthropic_client.messages.batches
    made = [batches.create(requests=[message_request("a")]).id for _ in range(5)]
    page = batches.list(limit=2)
    assert [b.id for b in page.data] == [made[4], made[3]]
    assert page.has_more
    assert (page.first_id, page.last_id) == (made[4], made[3])
    assert [b.id for b in batches.list(limit=2)] == made[::-1]
    before = batches.list(limit=2, before_id=made[0])
    assert [b.id for b in before.data] == [made[2], made[1]]
    assert before.has_more
    with pytest.raises(anthropic.BadRequestError):
        batches.list(limit=1001)
    sandbox.set(list_lag_seconds=3600)
    assert batches.list().data == []
    with pytest.raises(anthropic.NotFoundError):
        batches.retrieve(made[0])


def test_keys_and_versions(sandbox: Sandbox, anthropic_client: anthropic.Anthropic) -> None:
    batch = anthropic_client.messages.batches.create(requests=[message_request("a")])
    with sandbox.anthropic("another") as other, pytest.raises(anthropic.NotFoundError):
        other.messages.batches.retrieve(batch.id)
    with (
        sandbox.anthropic("invalid-key") as stranger,
        pytest.raises(anthropic.AuthenticationError) as caught,
    ):
        stranger.messages.batches.list()
    assert caught.value.request_id
    path = f"/v1/messages/batches/{batch.id}"
    assert sandbox.http.get(path, headers=HEADERS).status_code == 200
    bearer = {"authorization": "Bearer key", "anthropic-version": "2026-10-21"}
    assert sandbox.http.get(path, headers=bearer).status_code == 200
    assert sandbox.http.get(path, headers={"x-api-key": "key"}).status_code == 400
    assert sandbox.http.get(path, headers={"anthropic-version": "2023-06-01"}).status_code == 401
