"""What the sandbox answers."""

from __future__ import annotations

import base64
import json
import math
from array import array
from typing import Any

import anthropic
import openai
import pytest
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionMessageFunctionToolCall

from services.sandbox.answers import example_of, fingerprint, solve
from tests.support.sandbox.driving import (
    assert_exact,
    chat_line,
    create,
    message_request,
    results,
    rows,
    until,
)

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer", "minimum": 3},
        "unit": {"enum": ["C", "F"]},
        "tags": {"type": "array", "items": {"type": ["string", "null"]}},
        "wet": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
    },
    "required": ["city"],
}

STRICT = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"enum": ["C", "F"]}},
    "required": ["city"],
    "additionalProperties": False,
}
"""What Anthropic enforces as well."""


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Hello world! what is 13 + 25", "38"),
        ("What's 7 * -6?", "-42"),
        ("what is 1.5 - 2", "-0.5"),
        ("what is 1 / 8", "0.125"),
        ("what is 1 / 0", "undefined"),
        ("Hello world! what comes next in series 2 ,4, 6, 8, 10, ", "12"),
        ("what comes next in the series: 3, 9, 27", "81"),
        ("what comes next in series 5, 5, 5", "5"),
        ("what comes next in series 1, 2, 4, 7", ""),
        ("what comes next in series 0, 0, 1", ""),
        ("what is love", ""),
        ("", ""),
    ],
)
def test_solve(question: str, answer: str) -> None:
    assert solve(question) == answer


def test_fingerprint_tells_model_and_question_apart() -> None:
    assert len({fingerprint(*p) for p in (("a", "b"), ("ab", ""), ("b", "a"), ("a", "b "))}) == 4


def test_examples_fit_their_schema() -> None:
    assert example_of(SCHEMA, "x") == {
        "city": "x",
        "days": 3,
        "unit": "C",
        "tags": ["x"],
        "wet": True,
    }
    odds: list[Any] = [None, 5, {}, {"properties": 5}, {"enum": []}, {"enum": 5}, {"type": []}]
    for odd in odds:
        assert example_of(odd, "x") == "x"
    nested: dict[str, Any] = {}
    nested["properties"] = {"again": nested}
    assert json.dumps(example_of(nested, "x")).count("again") < 100


def completion(client: openai.OpenAI, content: Any, **body: Any) -> ChatCompletion:
    batch = until(client, create(client, [chat_line("a", content, **body)]))
    (row,) = rows(client, batch.output_file_id)
    assert_exact(ChatCompletion, row["response"]["body"])
    return ChatCompletion.model_validate(row["response"]["body"])


def test_chat_answers_the_last_user_message(openai_client: openai.OpenAI) -> None:
    messages = [
        {"role": "system", "content": "You are an unhelpful assistant."},
        {"role": "user", "content": "what is 1 + 1"},
        {"role": "assistant", "content": "2"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "what is"},
                {"type": "image_url", "image_url": {"url": "http://x/y.png"}},
                {"type": "text", "text": "2 + 2"},
            ],
        },
    ]
    answer = completion(openai_client, "", messages=messages)
    assert (answer.choices[0].message.content or "").endswith("\n\n4")


@pytest.mark.parametrize("model", ["gpt-4.1", "gpt-6.1-sol"])
def test_chat_is_cut_at_the_token_limit(openai_client: openai.OpenAI, model: str) -> None:
    answer = completion(openai_client, "what is 1 + 1", model=model, max_completion_tokens=3)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3
    assert answer.choices[0].message.content == ("sandbox answ" if model == "gpt-4.1" else "")


def test_chat_gives_as_many_choices_as_asked(openai_client: openai.OpenAI) -> None:
    answer = completion(openai_client, "Hi", n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "weather"}}]
)
def test_chat_calls_a_required_tool(openai_client: openai.OpenAI, choice: Any) -> None:
    function = {"name": "weather", "parameters": SCHEMA, "strict": True}
    tools = [{"type": "function", "function": function}]
    answer = completion(openai_client, "Berlin", tools=tools, tool_choice=choice)
    assert answer.choices[0].finish_reason == "tool_calls"
    (call,) = answer.choices[0].message.tool_calls or []
    assert isinstance(call, ChatCompletionMessageFunctionToolCall)
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments)["city"] == "Berlin"
    assert completion(openai_client, "Berlin", tools=tools).choices[0].finish_reason == "stop"


def test_chat_keeps_to_a_json_schema(openai_client: openai.OpenAI) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "weather", "schema": SCHEMA}}
    answer = completion(openai_client, "Berlin", response_format=wanted)
    assert "Berlin" in json.loads(answer.choices[0].message.content or "")["city"]
    answer = completion(openai_client, "Berlin", response_format={"type": "json_object"})
    assert "Berlin" in json.loads(answer.choices[0].message.content or "")["answer"]


def test_messages_tools_limits_and_schemas(anthropic_client: anthropic.Anthropic) -> None:
    tools = [{"name": "weather", "input_schema": SCHEMA}]
    batch = anthropic_client.messages.batches.create(
        requests=[
            message_request("any", "Berlin", tools=tools, tool_choice={"type": "any"}),
            message_request(
                "tool", "Berlin", tools=tools, tool_choice={"type": "tool", "name": "weather"}
            ),
            message_request("auto", "Berlin", tools=tools),
            message_request("cut", "Berlin", max_tokens=2),
            message_request(
                "schema",
                "Berlin",
                system=[{"type": "text", "text": "Be brief."}],
                output_config={"format": {"type": "json_schema", "schema": STRICT}},
            ),
        ]
    )
    messages = {}
    for line in results(anthropic_client, batch.id):
        assert line.result.type == "succeeded"
        messages[line.custom_id] = line.result.message
    for custom_id in ("any", "tool"):
        assert messages[custom_id].stop_reason == "tool_use"
        (block,) = messages[custom_id].content
        assert block.type == "tool_use"
        assert block.input["city"] == "Berlin"
    assert messages["auto"].stop_reason == "end_turn"
    assert messages["cut"].stop_reason == "max_tokens"
    assert messages["cut"].usage.output_tokens == 2
    (block,) = messages["schema"].content
    assert block.type == "text"
    assert "Berlin" in json.loads(block.text)["city"]


def embeddings(client: openai.OpenAI, *bodies: dict[str, Any]) -> list[dict[str, Any]]:
    """The answers to embeddings requests, in their order."""
    lines = [
        {"custom_id": f"{i}", "method": "POST", "url": "/v1/embeddings", "body": body}
        for i, body in enumerate(bodies)
    ]
    batch = until(client, create(client, lines, "/v1/embeddings"))
    assert batch.error_file_id is None
    found = sorted(rows(client, batch.output_file_id), key=lambda row: int(row["custom_id"]))
    return [row["response"]["body"] for row in found]


@pytest.mark.parametrize(
    ("model", "dimensions"),
    [
        ("text-embedding-3-small", 1536),
        ("text-embedding-3-large", 3072),
        ("text-embedding-ada-002", 1536),
    ],
)
def test_embeddings(openai_client: openai.OpenAI, model: str, dimensions: int) -> None:
    one, same, many = embeddings(
        openai_client,
        {"model": model, "input": "Meditation"},
        {"model": model, "input": "Meditation", "encoding_format": "base64"},
        {"model": model, "input": ["Meditation", "", "another"]},
    )
    assert_exact(CreateEmbeddingResponse, one)
    assert_exact(CreateEmbeddingResponse, many)
    vector = one["data"][0]["embedding"]
    assert len(vector) == dimensions
    assert math.isclose(sum(x * x for x in vector), 1.0, abs_tol=1e-6)
    packed = array("f", base64.b64decode(same["data"][0]["embedding"]))
    assert packed.tolist() == pytest.approx(vector, abs=1e-8)
    assert [item["index"] for item in many["data"]] == [0, 1, 2]
    assert many["data"][0]["embedding"] == vector
    assert many["data"][2]["embedding"] != vector
    assert one["usage"]["prompt_tokens"] == one["usage"]["total_tokens"] > 0


@pytest.mark.parametrize("dimensions", [1, 8, 255, 256, 1000])
def test_embeddings_of_other_lengths(openai_client: openai.OpenAI, dimensions: int) -> None:
    model = "text-embedding-3-small"
    answers = embeddings(
        openai_client,
        *({"model": model, "input": f"{i}", "dimensions": dimensions} for i in range(50)),
    )
    vectors = {tuple(answer["data"][0]["embedding"]) for answer in answers}
    assert {len(vector) for vector in vectors} == {dimensions}
    assert len(vectors) == (50 if dimensions > 1 else 2)
    for vector in vectors:
        assert math.isclose(sum(x * x for x in vector), 1.0, abs_tol=1e-6)


def test_embeddings_of_tokens(openai_client: openai.OpenAI) -> None:
    model = "text-embedding-3-small"
    one, two = embeddings(
        openai_client, {"model": model, "input": [1, 2, 3]}, {"model": model, "input": [[1], [2]]}
    )
    assert len(one["data"]) == 1
    assert one["usage"]["prompt_tokens"] == 3
    assert len(two["data"]) == 2


@pytest.mark.parametrize(
    "body",
    [
        {"input": [""] * 2049},
        {"input": ["x" * 40_000]},
        {"input": "x", "dimensions": 1537},
        {"input": "x", "encoding_format": "hex"},
    ],
)
def test_embeddings_that_are_refused(openai_client: openai.OpenAI, body: dict[str, Any]) -> None:
    line = {
        "custom_id": "a",
        "method": "POST",
        "url": "/v1/embeddings",
        "body": {"model": "text-embedding-3-small", **body},
    }
    batch = until(openai_client, create(openai_client, [line], "/v1/embeddings"))
    (row,) = rows(openai_client, batch.error_file_id)
    assert row["response"]["status_code"] == 400
