"""Whole batches through OpenAI's own client."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai.types import Batch, FileObject
from openai.types.chat import ChatCompletion

from services.sandbox.answers import fingerprint
from tests.support.sandbox.driving import Sandbox, assert_exact, chat_line, create, rows, until


def raw(sandbox: Sandbox, path: str) -> Any:
    answer = sandbox.http.get(f"/v1{path}", headers={"authorization": "Bearer key"})
    assert answer.status_code == 200
    return answer.json()


def test_whole_batch(sandbox: Sandbox, openai_client: openai.OpenAI) -> None:
    questions = {f"row {i} / ü": f"Hello world! what is {i} + 25" for i in range(40)}
    created = create(
        openai_client,
        [chat_line(custom_id, question) for custom_id, question in questions.items()],
        metadata={"intent": "01J"},
    )
    assert created.status == "validating"
    assert created.request_counts is not None
    assert created.request_counts.total == 0
    assert_exact(Batch, created.to_dict())

    batch = until(openai_client, created)

    assert batch.status == "completed"
    assert batch.metadata == {"intent": "01J"}
    assert batch.error_file_id is None
    assert batch.model == "gpt-4.1"
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 40, "completed": 40, "failed": 0}
    assert None not in (batch.in_progress_at, batch.finalizing_at, batch.completed_at)
    never = (batch.failed_at, batch.expired_at, batch.cancelling_at, batch.cancelled_at)
    assert never == (None,) * 4
    assert_exact(Batch, raw(sandbox, f"/batches/{batch.id}"))
    output = rows(openai_client, batch.output_file_id)
    assert {row["custom_id"] for row in output} == set(questions)
    assert [row["custom_id"] for row in output] != list(questions), "results come unordered"
    for row in output:
        assert row["error"] is None
        assert row["response"]["status_code"] == 200
        assert row["response"]["request_id"]
        assert_exact(ChatCompletion, row["response"]["body"])
        completion = ChatCompletion.model_validate(row["response"]["body"])
        question = questions[row["custom_id"]]
        content = completion.choices[0].message.content or ""
        assert content.startswith(f"sandbox answer {fingerprint('gpt-4.1', question)} to: ")
        assert question in content
        number = int(question.split()[4])
        assert content.endswith(f"\n\n{number + 25}")
    usage = [row["response"]["body"]["usage"] for row in output]
    assert batch.usage is not None
    assert batch.usage.input_tokens == sum(u["prompt_tokens"] for u in usage)
    assert batch.usage.output_tokens == sum(u["completion_tokens"] for u in usage)
    assert batch.usage.total_tokens == sum(u["total_tokens"] for u in usage)
    assert len({row["id"] for row in output}) == 40


def test_reading_results_again_gives_the_same(openai_client: openai.OpenAI) -> None:
    batch = until(openai_client, create(openai_client, [chat_line(f"{i}") for i in range(20)]))
    assert batch.output_file_id
    first = openai_client.files.content(batch.output_file_id).content
    assert openai_client.files.content(batch.output_file_id).content == first
    described = openai_client.files.retrieve(batch.output_file_id)
    assert described.bytes == len(first)
    assert described.purpose == "batch_output"
    assert_exact(FileObject, described.to_dict())


def test_a_batch_outlives_its_input_file(openai_client: openai.OpenAI) -> None:
    batch = create(openai_client, [chat_line("a")])
    openai_client.files.delete(batch.input_file_id)
    batch = until(openai_client, batch)
    assert [row["custom_id"] for row in rows(openai_client, batch.output_file_id)] == ["a"]


def test_when_every_line_fails_there_is_no_output_file(openai_client: openai.OpenAI) -> None:
    batch = until(
        openai_client,
        create(openai_client, [chat_line("a", temperature=3), chat_line("b", unheard_of=1)]),
    )
    assert batch.status == "completed"
    assert batch.output_file_id is None
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 2, "completed": 0, "failed": 2}
    assert batch.usage is not None
    assert batch.usage.total_tokens == 0
    errors = {row["custom_id"]: row for row in rows(openai_client, batch.error_file_id)}
    assert {row["response"]["status_code"] for row in errors.values()} == {400}
    assert errors["a"]["response"]["body"]["error"]["param"] == "temperature"
    assert errors["b"]["response"]["body"]["error"]["code"] == "unknown_parameter"


TOOL = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"model": "gpt-5", "max_tokens": 10}, "max_tokens"),
        ({"model": "o3", "temperature": 0.5}, "temperature"),
        ({"model": "o3", "stop": "x"}, "stop"),
        ({"model": "gpt-5.2", "reasoning_effort": "low", "top_p": 0.5}, "top_p"),
        ({"model": "gpt-6-astra", "reasoning_effort": "none"}, "reasoning_effort"),
        (
            {"model": "gpt-6-luna", "tools": [{"type": "function", "function": {"name": "f"}}]},
            "tools",
        ),
        ({"tools": 5}, "tools"),
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "messages[0].role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}]},
            "messages[0].content[0].type",
        ),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [TOOL], "tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "any"}}, "tool_choice.type"),
        ({"service_tier": "gold"}, "service_tier"),
        ({"prompt_cache_retention": "1y"}, "prompt_cache_retention"),
        ({"verbosity": "loud"}, "verbosity"),
    ],
)
def test_a_wrong_body_costs_only_its_line(
    openai_client: openai.OpenAI, body: dict[str, Any], param: str | None
) -> None:
    batch = until(openai_client, create(openai_client, [chat_line("a", **body)]))
    (row,) = rows(openai_client, batch.error_file_id)
    assert row["response"]["body"]["error"]["type"] == "invalid_request_error"
    assert row["response"]["body"]["error"]["param"] == param


def test_timeline_is_held_and_released_by_knobs(
    sandbox: Sandbox, openai_client: openai.OpenAI
) -> None:
    sandbox.set(validation_seconds=3600, batch_seconds=3600, finalizing_seconds=3600)
    batch = create(openai_client, [chat_line("a"), chat_line("b")])
    assert openai_client.batches.retrieve(batch.id).status == "validating"
    sandbox.set(validation_seconds=0)
    batch = until(openai_client, batch, "in_progress")
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 2, "completed": 0, "failed": 0}
    sandbox.set(batch_seconds=0)
    batch = until(openai_client, batch, "finalizing")
    assert batch.finalizing_at
    assert batch.output_file_id is None
    sandbox.set(finalizing_seconds=0)
    assert until(openai_client, batch).status == "completed"


def test_an_expired_batch_delivers_what_was_finished(
    sandbox: Sandbox, openai_client: openai.OpenAI
) -> None:
    sandbox.set(lines_per_second=200)
    batch = create(openai_client, [chat_line(f"{i}") for i in range(4000)])
    while not (batch.request_counts and batch.request_counts.completed):
        batch = openai_client.batches.retrieve(batch.id)
    sandbox.set(window_seconds=0)
    batch = until(openai_client, batch)
    assert batch.status == "expired"
    assert batch.expired_at
    output = rows(openai_client, batch.output_file_id)
    errors = rows(openai_client, batch.error_file_id)
    assert 0 < len(output) < 4000
    assert len(output) + len(errors) == 4000
    assert {row["error"]["code"] for row in errors} == {"batch_expired"}
    assert {row["response"] for row in errors} == {None}
    assert sandbox.bill()["lines_billed"] == len(output)


@pytest.mark.parametrize("keeps", [True, False])
def test_cancel_part_way(sandbox: Sandbox, openai_client: openai.OpenAI, keeps: bool) -> None:
    sandbox.set(lines_per_second=200, cancel_seconds=3600, cancel_keeps_results=keeps)
    batch = create(openai_client, [chat_line(f"{i}") for i in range(4000)])
    while not (batch.request_counts and batch.request_counts.completed):
        batch = openai_client.batches.retrieve(batch.id)
    batch = openai_client.batches.cancel(batch.id)
    assert batch.status == "cancelling"
    assert batch.cancelling_at
    assert openai_client.batches.cancel(batch.id).status == "cancelling"
    sandbox.set(cancel_seconds=0)
    batch = until(openai_client, batch)
    assert batch.status == "cancelled"
    assert batch.cancelled_at
    assert openai_client.batches.cancel(batch.id).status == "cancelled"
    output = rows(openai_client, batch.output_file_id)
    errors = rows(openai_client, batch.error_file_id)
    assert {row["error"]["code"] for row in errors} == {"batch_cancelled"}
    billed = sandbox.bill()["lines_billed"]
    assert 0 < billed == 4000 - len(errors)
    assert len(output) == (billed if keeps else 0)
    assert (batch.output_file_id is not None) is keeps


def test_cancel_while_validating_runs_nothing(
    sandbox: Sandbox, openai_client: openai.OpenAI
) -> None:
    sandbox.set(validation_seconds=3600)
    batch = create(openai_client, [chat_line("a")])
    openai_client.batches.cancel(batch.id)
    batch = until(openai_client, batch)
    assert batch.status == "cancelled"
    assert batch.output_file_id is None
    assert sandbox.bill()["lines_billed"] == 0


def test_expiry_while_validating_runs_nothing(
    sandbox: Sandbox, openai_client: openai.OpenAI
) -> None:
    sandbox.set(validation_seconds=3600)
    batch = create(openai_client, [chat_line("a")])
    sandbox.set(window_seconds=0)
    batch = until(openai_client, batch)
    assert batch.status == "expired"
    assert (batch.output_file_id, batch.error_file_id) == (None, None)
    assert sandbox.bill()["lines_asked"] == 0


def test_cancel_race_completes(sandbox: Sandbox, openai_client: openai.OpenAI) -> None:
    sandbox.set(batch_seconds=3600, cancel_race=True)
    batch = until(openai_client, create(openai_client, [chat_line("a")]), "in_progress")
    openai_client.batches.cancel(batch.id)
    batch = until(openai_client, batch)
    assert batch.status == "completed"
    assert len(rows(openai_client, batch.output_file_id)) == 1


def test_cancel_of_a_completed_batch_conflicts(openai_client: openai.OpenAI) -> None:
    batch = until(openai_client, create(openai_client, [chat_line("a")]))
    with pytest.raises(openai.ConflictError) as caught:
        openai_client.batches.cancel(batch.id)
    assert caught.value.code is None


def test_list_is_paged_newest_first(openai_client: openai.OpenAI) -> None:
    made = [create(openai_client, [chat_line("a")]).id for _ in range(5)]
    page = openai_client.batches.list(limit=2)
    assert [batch.id for batch in page.data] == [made[4], made[3]]
    assert page.has_more
    assert [batch.id for batch in openai_client.batches.list(limit=2)] == made[::-1]
    assert [b.id for b in openai_client.batches.list(after=made[1])] == [made[0]]


def test_list_lag_hides_new_batches(sandbox: Sandbox, openai_client: openai.OpenAI) -> None:
    sandbox.set(list_lag_seconds=3600)
    batch = create(openai_client, [chat_line("a")])
    assert openai_client.batches.list().data == []
    with pytest.raises(openai.NotFoundError):
        openai_client.batches.retrieve(batch.id)
    sandbox.set(list_lag_seconds=0)
    assert [b.id for b in openai_client.batches.list()] == [batch.id]


def test_keys_do_not_see_each_other(sandbox: Sandbox, openai_client: openai.OpenAI) -> None:
    batch = create(openai_client, [chat_line("a")])
    with sandbox.openai("another") as other:
        with pytest.raises(openai.NotFoundError):
            other.batches.retrieve(batch.id)
        with pytest.raises(openai.NotFoundError):
            other.files.retrieve(batch.input_file_id)
        assert other.batches.list().data == []
        foreign = other.batches.create(
            input_file_id=batch.input_file_id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
        )
        assert until(other, foreign).status == "failed"
    with sandbox.openai("invalid-key") as stranger, pytest.raises(openai.AuthenticationError) as e:
        stranger.batches.list()
    assert e.value.code == "invalid_api_key"
    assert e.value.request_id


@pytest.mark.parametrize(
    ("options", "code", "param"),
    [
        ({"endpoint": "/v1/nothing"}, "invalid_value", "endpoint"),
        ({"completion_window": "48h"}, "invalid_value", "completion_window"),
        ({"metadata": {"a": 1}}, "invalid_type", "metadata.a"),
        ({"metadata": {"a": "x" * 513}}, "string_above_max_length", "metadata.a"),
        ({"metadata": {str(i): "" for i in range(17)}}, "object_above_max_properties", "metadata"),
        (
            {"output_expires_after": {"anchor": "created_at", "seconds": 1}},
            "invalid_value",
            "output_expires_after",
        ),
    ],
)
def test_what_create_refuses(
    openai_client: openai.OpenAI, options: dict[str, Any], code: str, param: str
) -> None:
    wanted: Any = {
        "input_file_id": "file-x",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        **options,
    }
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.batches.create(**wanted)
    assert (caught.value.code, caught.value.param) == (code, param)
    assert caught.value.type == "invalid_request_error"
