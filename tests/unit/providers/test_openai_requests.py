"""What is said of OpenAI's requests at upload: what a model refuses, and fields that are none."""

from __future__ import annotations

import json
from contextlib import suppress
from types import UnionType
from typing import Annotated, Any, Literal, NotRequired, Required, Union, get_args, get_origin

import msgspec
import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.completion_create_params import CompletionCreateParamsNonStreaming as LegacyParams
from openai.types.embedding_create_params import EmbeddingCreateParams
from openai.types.image_edit_params import ImageEditParamsNonStreaming
from openai.types.image_generate_params import ImageGenerateParamsNonStreaming
from openai.types.moderation_create_params import ModerationCreateParams
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from typing_extensions import get_type_hints

from core import endpoints
from core.providers.openai.fields import (
    ARRAY,
    BOOLEAN,
    FIELDS,
    INTEGER,
    NUMBER,
    OBJECT,
    RANGES,
    STRING,
)
from core.providers.openai.requests import check_plain, check_request
from core.providers.translation import PlainRequest

CHAT = endpoints.CHAT_COMPLETIONS
TOOL = {"type": "function", "function": {"name": "f"}}

PARAMS: list[tuple[str, Any]] = [
    (CHAT, CompletionCreateParamsNonStreaming),
    (endpoints.EMBEDDINGS, EmbeddingCreateParams),
    (endpoints.RESPONSES, ResponseCreateParamsNonStreaming),
    (endpoints.COMPLETIONS, LegacyParams),
    (endpoints.MODERATIONS, ModerationCreateParams),
    (endpoints.IMAGE_GENERATIONS, ImageGenerateParamsNonStreaming),
    (endpoints.IMAGE_EDITS, ImageEditParamsNonStreaming),
]


@pytest.mark.parametrize(("url", "params"), PARAMS)
def test_the_fields_and_their_types_are_those_of_the_sdk(url: str, params: Any) -> None:
    # In batches, `images` stands for the file parts of a form; an edit takes `moderation` as well.
    ours = {name: {*types} for name, types in FIELDS[url].items()}
    theirs = {name: types_of(kind) for name, kind in get_type_hints(params).items()}
    if url == endpoints.IMAGE_EDITS:
        for name in ("image", "images", "markup", "mask", "moderation"):
            assert ours.pop(name)
            theirs.pop(name, None)
    assert ours == theirs


def types_of(kind: Any) -> set[str]:
    """The types in JSON that a type of the SDK stands for; none for null."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is type(None):
        return set()
    if origin in (Required, NotRequired, Annotated):
        return types_of(arguments[0])
    if origin in (Union, UnionType):
        return set().union(*map(types_of, arguments))
    if origin is Literal:
        return set().union(*(types_of(type(value)) for value in arguments))
    if origin is not None:
        return {OBJECT} if issubclass(origin, dict) else {ARRAY}
    simple = {str: STRING, bool: BOOLEAN, int: INTEGER, float: NUMBER}
    return {simple.get(kind, OBJECT)}


@pytest.mark.parametrize(
    ("url", "options", "fields"),
    [
        (CHAT, {"temperature": "0.5", "stop": 7, "tools": {}}, ["temperature", "stop", "tools"]),
        (CHAT, {"n": 1.5, "logprobs": 1, "metadata": None}, ["n", "logprobs"]),
        (CHAT, {"n": 1.0, "temperature": 1, "stop": ["x"]}, []),
        (
            endpoints.RESPONSES,
            {"text": "x", "max_output_tokens": "9"},
            ["text", "max_output_tokens"],
        ),
        (endpoints.COMPLETIONS, {"prompt": "x", "logprobs": True}, ["logprobs"]),
        (endpoints.IMAGE_GENERATIONS, {"prompt": "x", "n": "2", "size": 1024}, ["n", "size"]),
        (endpoints.MODERATIONS, {"input": {}}, ["input"]),
    ],
)
def test_a_value_of_another_type_is_refused(
    url: str, options: dict[str, Any], fields: list[str]
) -> None:
    notes = check_request(url, "openai/gpt-4.1", json.dumps(options).encode())
    assert [(note.field, note.reason) for note in notes] == [
        (f"body.{field}", "wrong_type") for field in fields
    ]


@pytest.mark.parametrize(
    ("url", "options", "fields"),
    [
        (CHAT, {"temperature": 3, "top_p": 1.5}, ["temperature", "top_p"]),
        (CHAT, {"temperature": -0.1}, ["temperature"]),
        (CHAT, {"n": 0, "max_completion_tokens": 0}, ["n", "max_completion_tokens"]),
        (CHAT, {"max_tokens": 0, "top_logprobs": 21}, ["max_tokens", "top_logprobs"]),
        (CHAT, {"presence_penalty": -2.5, "n": 129}, ["presence_penalty", "n"]),
        (CHAT, {"temperature": 2, "top_p": 0.0, "n": 128, "max_tokens": 1}, []),
        (CHAT, {"temperature": 1e-9, "top_p": None}, []),
        (
            endpoints.RESPONSES,
            {"max_output_tokens": 15, "top_p": 2},
            ["max_output_tokens", "top_p"],
        ),
        (endpoints.RESPONSES, {"max_output_tokens": 16}, []),
        (endpoints.COMPLETIONS, {"logprobs": 6, "max_tokens": -1}, ["logprobs", "max_tokens"]),
        (endpoints.COMPLETIONS, {"max_tokens": 0, "echo": True, "logprobs": 5}, []),
        (endpoints.EMBEDDINGS, {"dimensions": 0}, ["dimensions"]),
        (endpoints.IMAGE_GENERATIONS, {"n": 11, "partial_images": 4}, ["n", "partial_images"]),
        (endpoints.IMAGE_EDITS, {"n": 10, "output_compression": 100}, []),
    ],
)
def test_a_number_out_of_its_documented_range_is_refused(
    url: str, options: dict[str, Any], fields: list[str]
) -> None:
    assert said("gpt-4.1", url, **options) == [
        (f"body.{field}", "unsupported_value", "refused") for field in fields
    ]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["a"] * 2049, "2,049 items"),
        ([1] * 2049, "2,049 items"),
        ([[1] * 5, [1] * 8193], "8,193 tokens"),
        ([[1] * 8000] * 38, "304,000 tokens in all"),
        (["a"] * 2048, ""),
        ([[1] * 8192], ""),
        ("a" * 100_000, ""),
        ({}, None),
    ],
)
def test_an_input_of_embeddings_that_is_too_much_is_refused(given: Any, told: str | None) -> None:
    body = json.dumps({"input": given}).encode()
    notes = check_request(endpoints.EMBEDDINGS, "text-embedding-3-small", body)
    if told is None:
        assert [note.reason for note in notes] == ["wrong_type"]
        return
    assert [(note.field, note.weight) for note in notes] == (
        [("body.input", "refused")] * bool(told)
    )
    assert all(told in note.message for note in notes)


def test_a_range_says_what_was_expected() -> None:
    (note,) = check_request(CHAT, "gpt-4.1", b'{"temperature":3}')
    assert note.message == "temperature is out of range: expected from 0 to 2."
    (note,) = check_request(endpoints.RESPONSES, "gpt-4.1", b'{"max_output_tokens":1}')
    assert note.message == "max_output_tokens is out of range: expected at least 16."


def test_every_endpoint_has_its_fields() -> None:
    assert FIELDS.keys() == RANGES.keys() == endpoints.OPENAI
    for url, ranges in RANGES.items():
        assert ranges.keys() <= FIELDS[url].keys()


def said(model: str, url: str = CHAT, **options: Any) -> list[tuple[str, str, str]]:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]} | options
    if url != CHAT:
        del body["messages"]
    raw = json.dumps(body).encode()
    notes = check_request(url, f"openai/{model}", raw)
    if url == CHAT and notes:
        # The short way takes nothing that is to be said.
        with suppress(msgspec.DecodeError):
            assert check_plain(msgspec.json.decode(raw, type=PlainRequest)) is None
    return [(note.field, note.reason, note.weight) for note in notes]


def refused(*fields: str) -> list[tuple[str, str, str]]:
    return [(f"body.{field}", "unsupported_parameter", "refused") for field in fields]


@pytest.mark.parametrize(
    ("model", "options", "fields"),
    [
        ("o3", {"max_tokens": 5}, ["max_tokens"]),
        ("gpt-5-mini", {"max_tokens": 5, "temperature": 0.2}, ["max_tokens", "temperature"]),
        ("gpt-5", {"stop": "x"}, ["stop"]),
        ("gpt-5", {"logprobs": True, "top_logprobs": 2}, ["logprobs", "top_logprobs"]),
        ("o3", {"presence_penalty": 1, "logit_bias": {"5": 1}}, ["presence_penalty", "logit_bias"]),
        ("ft:o4-mini:org::id", {"top_p": 0.5}, ["top_p"]),
        ("gpt-6-luna", {"temperature": 0.2}, ["temperature"]),
        ("gpt-5.2", {"temperature": 0, "reasoning_effort": "low"}, ["temperature"]),
        ("gpt-6-astra", {"tools": [TOOL]}, ["tools"]),
        ("gpt-6-sol", {"tools": [TOOL]}, ["tools"]),
        ("gpt-5.4", {"tools": [TOOL], "reasoning_effort": "low"}, ["tools"]),
        # What they take.
        ("gpt-5.2", {"temperature": 0.2}, []),
        ("gpt-6-luna", {"temperature": 0.2, "reasoning_effort": "none"}, []),
        ("gpt-6-luna", {"tools": [TOOL], "reasoning_effort": "none"}, []),
        ("gpt-5.4", {"tools": [TOOL]}, []),
        ("o3", {"temperature": 1, "top_p": 1.0, "presence_penalty": 0, "logprobs": False}, []),
        ("o3", {"max_tokens": None, "temperature": None, "stop": None, "tools": []}, []),
        ("gpt-4.1", {"max_tokens": 5, "temperature": 0.2, "stop": "x", "tools": [TOOL]}, []),
        ("gpt-of-tomorrow", {"max_tokens": 5, "temperature": 0.2, "reasoning_effort": "max"}, []),
    ],
)
def test_what_a_model_refuses(model: str, options: dict[str, Any], fields: list[str]) -> None:
    assert said(model, **options) == refused(*fields)


@pytest.mark.parametrize(
    ("model", "effort"),
    [("gpt-5", "none"), ("gpt-5.1", "minimal"), ("gpt-6-astra", "none"), ("gpt-4.1", "low")],
)
def test_efforts_that_a_model_has_not(model: str, effort: str) -> None:
    expected = [("body.reasoning_effort", "unsupported_value", "refused")]
    assert said(model, reasoning_effort=effort) == expected


def test_responses_of_models_that_reason() -> None:
    url = endpoints.RESPONSES
    assert said("gpt-6-luna", url, temperature=0.2) == refused("temperature")
    assert said("gpt-6-luna", url, temperature=0.2, reasoning={"effort": "none"}) == []
    assert said("gpt-6-astra", url, tools=[{"type": "function", "name": "f"}]) == []


def test_a_misspelled_field_is_told_with_the_one_that_is_meant() -> None:
    body = b'{"model":"gpt-4.1","messages":[],"max_completion_token":5,"xyzzy":1}'
    near, far = check_request(CHAT, "gpt-4.1", body)
    assert (near.field, near.reason, near.weight) == (
        "body.max_completion_token",
        "unknown_field",
        "harmless",
    )
    assert near.message.endswith("is max_completion_tokens meant?")
    assert far.field == "body.xyzzy"
    assert "meant" not in far.message


def test_what_is_no_request_is_left_to_others() -> None:
    assert check_request(CHAT, "o3", b"[]") == ()


def test_of_fields_that_are_none_the_first_are_named() -> None:
    body = {"model": "gpt-4.1", "messages": [], **{f"max_token{n}": 1 for n in range(20_000)}}
    notes = check_request(CHAT, "gpt-4.1", json.dumps(body).encode())
    named = [note for note in notes if note.reason == "unknown_field"]
    assert len(named) == 21
    assert named[0].message.endswith("is max_tokens meant?")
    assert (named[-1].field, "19,980 more" in named[-1].message) == ("body", True)
