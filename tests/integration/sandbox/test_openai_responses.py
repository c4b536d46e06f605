"""The sandbox's /v1/responses: OpenAI's form of answers, and what OpenAI refuses."""

from __future__ import annotations

from typing import Any

import httpx2
import openai
import pytest
from openai.types.responses import Response, response_create_params

from services.sandbox.openai.responses import Responses
from tests.support.sandbox.driving import Sandbox, assert_exact, create, errors, rows, until

URL = "/v1/responses"
ASKED = {"role": "user", "content": "what is 1 + 1"}
CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "2"}
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}


def line(**body: Any) -> dict[str, Any]:
    asked = {"model": "gpt-4.1", "input": "what is 1 + 1"} | body
    return {"custom_id": "a", "method": "POST", "url": URL, "body": asked}


def call(sandbox: Sandbox, **body: Any) -> httpx2.Response:
    return sandbox.http.post(URL, json=line(**body)["body"])


def answer(sandbox: Sandbox, **body: Any) -> Response:
    found = call(sandbox, **body)
    assert found.status_code == 200, found.text
    assert_exact(Response, found.json())
    return Response.model_validate(found.json())


def test_every_field_of_the_sdk_is_known() -> None:
    asked = {
        *response_create_params.ResponseCreateParamsBase.__annotations__,
        *response_create_params.ResponseCreateParamsNonStreaming.__annotations__,
    }
    assert set(Responses.__struct_fields__) == asked


def test_a_batch(sandbox: Sandbox, openai_client: openai.OpenAI) -> None:
    bad = line(max_output_tokens=5) | {"custom_id": "b"}
    batch = until(openai_client, create(openai_client, [line(), bad], URL))
    (row,) = rows(openai_client, batch.output_file_id)
    body = row["response"]["body"]
    assert_exact(Response, body)
    found = Response.model_validate(body)
    assert found.output_text.endswith("\n\n2")
    assert found.usage is not None
    assert batch.usage is not None
    assert batch.usage.input_tokens == found.usage.input_tokens
    (refused,) = rows(openai_client, batch.error_file_id)
    assert refused["response"]["status_code"] == 400
    assert refused["response"]["body"]["error"]["param"] == "max_output_tokens"
    assert sandbox.bill()["lines_billed"] == 1


@pytest.mark.parametrize(
    ("bad", "code", "param"),
    [
        (line(input=None), "invalid_request", "body.input"),
        (line(model=None), "invalid_request", "body.model"),
        (line(stream=True), "streaming_unsupported", "body.stream"),
        (line(model="text-embedding-3-small"), "model_not_found", "body.model"),
        (line() | {"url": "/v1/chat/completions"}, "invalid_url", "url"),
    ],
)
def test_what_fails_a_batch(
    openai_client: openai.OpenAI, bad: dict[str, Any], code: str, param: str
) -> None:
    batch = until(openai_client, create(openai_client, [bad], URL))
    (error,) = errors(batch)
    assert (error.code, error.param, error.line) == (code, param, 1)


def test_items(sandbox: Sandbox) -> None:
    items = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": "what is 2 + 2"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "4"}]},
        CALL,
        OUTPUT,
    ]
    found = answer(sandbox, input=items, instructions="Say it.", metadata={"a": "b"})
    assert found.output_text.endswith("\n\n4")
    assert (found.instructions, found.metadata) == ("Say it.", {"a": "b"})


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "f"}])
def test_calls(sandbox: Sandbox, choice: Any) -> None:
    tool = {"type": "function", "name": "f", "parameters": SCHEMA}
    found = answer(sandbox, tools=[{"type": "web_search"}, tool], tool_choice=choice)
    (item,) = found.output
    assert item.type == "function_call"
    assert (item.name, item.arguments) == ("f", '{"n":1}')
    assert found.tools[1].type == "function"
    assert found.tools[1].strict is True


def test_formats(sandbox: Sandbox) -> None:
    wanted = {"type": "json_schema", "name": "n", "schema": SCHEMA}
    assert answer(sandbox, text={"format": wanted}).output_text == '{"n":1}'
    assert "answer" in answer(sandbox, text={"format": {"type": "json_object"}}).output_text


@pytest.mark.parametrize("model", ["gpt-4.1", "gpt-6.1-sol"])
def test_an_answer_that_is_cut(sandbox: Sandbox, model: str) -> None:
    found = answer(sandbox, model=model, input="long " * 50, max_output_tokens=16)
    assert found.status == "incomplete"
    assert found.incomplete_details is not None
    assert found.incomplete_details.reason == "max_output_tokens"
    # All of it went into thoughts.
    assert [item.type for item in found.output] == (
        ["message"] if model == "gpt-4.1" else ["reasoning"]
    )


USER_PART = {"type": "input_text", "text": "x"}
TEXT_AS_IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,aGVsbG8="}
CHAT_TOOL = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"messages": [ASKED]}, "unsupported_parameter", "messages"),
        ({"max_tokens": 50}, "unsupported_parameter", "max_tokens"),
        ({"response_format": {"type": "text"}}, "unsupported_parameter", "response_format"),
        ({"reasoning_effort": "low"}, "unsupported_parameter", "reasoning_effort"),
        ({"stop": "x"}, "unknown_parameter", "stop"),
        ({"text": {"colour": 1}}, "unknown_parameter", "text.colour"),
        ({"max_output_tokens": 15}, "integer_below_min_value", "max_output_tokens"),
        ({"temperature": 3}, "invalid_value", "temperature"),
        ({"tools": [CHAT_TOOL]}, "missing_required_parameter", "tools[0].name"),
        ({"tools": [{"type": "magic"}]}, "invalid_value", "tools[0].type"),
        (
            {"text": {"format": {"type": "json_schema", "schema": SCHEMA}}},
            "missing_required_parameter",
            "text.format.name",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]},
            "invalid_value",
            "input[0].content[0].type",
        ),
        (
            {"input": [{"role": "user", "content": [TEXT_AS_IMAGE]}]},
            "invalid_image_format",
            "input[0].content[0]",
        ),
        (
            {"input": [ASKED, {"role": "assistant", "content": [USER_PART]}]},
            "invalid_value",
            "input[1].content[0]",
        ),
        ({"input": [{"role": "user"}]}, "missing_required_parameter", "input[0].content"),
        ({"input": [ASKED, CALL]}, "invalid_value", "input"),
        ({"input": [ASKED, OUTPUT]}, "invalid_value", "input"),
        (
            {"previous_response_id": "resp_1"},
            "previous_response_not_found",
            "previous_response_id",
        ),
        ({"conversation": "conv_1"}, "conversation_not_found", "conversation"),
    ],
)
def test_what_is_refused(sandbox: Sandbox, body: dict[str, Any], code: str, param: str) -> None:
    found = call(sandbox, **body)
    error = found.json()["error"]
    assert (found.status_code, error["code"], error["param"]) == (400, code, param)
    assert error["message"]
    assert sandbox.bill()["lines_billed"] == 0


def test_mistral_has_no_responses(sandbox: Sandbox) -> None:
    with sandbox.openai() as client:
        file = client.files.create(file=("lines.jsonl", b"{}"), purpose="batch")
    creation = {"input_files": [file.id], "endpoint": URL, "model": "m"}
    headers = {"authorization": f"Bearer {client.api_key}"}
    assert sandbox.http.post("/v1/batch/jobs", json=creation, headers=headers).status_code == 422
