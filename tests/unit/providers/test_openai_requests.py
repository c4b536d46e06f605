"""What is said of OpenAI's requests at upload: what a model refuses, and fields that are none."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.completion_create_params import (
    CompletionCreateParamsNonStreaming as LegacyParams,
)
from openai.types.embedding_create_params import EmbeddingCreateParams
from openai.types.image_edit_params import ImageEditParamsNonStreaming
from openai.types.image_generate_params import ImageGenerateParamsNonStreaming
from openai.types.moderation_create_params import ModerationCreateParams
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming

from core import endpoints
from core.providers.openai.fields import FIELDS
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
def test_the_fields_are_those_of_the_sdk(url: str, params: Any) -> None:
    assert FIELDS[url] - {"images", "moderation"} == params.__annotations__.keys() - {"moderation"}


def test_every_endpoint_has_its_fields() -> None:
    assert FIELDS.keys() == endpoints.OPENAI


def said(model: str, url: str = CHAT, **options: Any) -> list[tuple[str, str, str]]:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]} | options
    if url != CHAT:
        body["input"] = body.pop("messages")
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
    assert check_request(CHAT, "o3", b'{"temperature":"hot","reasoning_effort":5}') == []
