"""Usage as providers report it, in the kinds that are priced apart."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.prices.usage import Usage
from core.providers.anthropic import usage as anthropic
from core.providers.gemini import usage as gemini
from core.providers.openai import usage as openai


@pytest.mark.parametrize(
    ("reported", "usage"),
    [
        pytest.param(
            {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "total_tokens": 150,
                "prompt_tokens_details": {
                    "cached_tokens": 30,
                    "cache_write_tokens": 20,
                    "audio_tokens": 10,
                    "image_tokens": 7,
                    "text_tokens": 83,
                },
                "completion_tokens_details": {
                    "reasoning_tokens": 12,
                    "audio_tokens": 8,
                    "rejected_prediction_tokens": 5,
                },
            },
            Usage(
                input=100,
                cached_input=30,
                cache_write_5m=20,
                audio_input=10,
                image_input=7,
                output=50,
                reasoning=12,
                audio_output=8,
            ),
            id="chat",
        ),
        pytest.param(
            {
                "input_tokens": 100,
                "input_tokens_details": {
                    "cached_tokens": 30,
                    "cache_write_tokens": 60,
                    "cache_write_tokens_details": {"ttl_12h_tokens": 45, "ttl_30m_tokens": 15},
                },
                "output_tokens": 50,
                "output_tokens_details": {"reasoning_tokens": 12},
                "total_tokens": 150,
            },
            Usage(
                input=100,
                cached_input=30,
                cache_write_5m=15,
                cache_write_1h=45,
                output=50,
                reasoning=12,
            ),
            id="responses",
        ),
        pytest.param(
            {
                "prompt_tokens": 52,
                "completion_tokens": 27,
                "total_tokens": 79,
                "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": None},
            },
            Usage(input=52, output=27),
            id="chat without parts",
        ),
        pytest.param(
            {
                "prompt_tokens": 10**12 + 1,
                "completion_tokens": -1,
                "prompt_tokens_details": {},
                "completion_tokens_details": {},
            },
            Usage(),
            id="counts out of range",
        ),
        pytest.param({"prompt_tokens": 9, "total_tokens": 9}, Usage(input=9), id="embeddings"),
        pytest.param(
            {
                "prompt_tokens": 32,
                "completion_tokens": 9,
                "total_tokens": 135,
                "prompt_tokens_details": {"cached_tokens": 6},
                "completion_tokens_details": {"reasoning_tokens": 94},
            },
            Usage(input=32, cached_input=6, output=103, reasoning=94),
            id="a server that leaves thoughts out of the answer's",
        ),
        pytest.param(
            {
                "prompt_tokens": 32,
                "completion_tokens": 103,
                "completion_tokens_details": {"reasoning_tokens": 94},
            },
            Usage(input=32, output=103, reasoning=94),
            id="thoughts without a total",
        ),
        pytest.param(
            {"prompt_tokens": 2**32 - 1, "completion_tokens": 10**9},
            Usage(output=10**9),
            id="no request has as many tokens as a count below 0 becomes",
        ),
        pytest.param(
            {
                "input_tokens": 60,
                "input_tokens_details": {"image_tokens": 50, "text_tokens": 10},
                "output_tokens": 1_000,
                "output_tokens_details": {"image_tokens": 990, "text_tokens": 10},
            },
            Usage(input=60, image_input=50, output=1_000, image_output=990),
            id="images",
        ),
        pytest.param(
            {
                "input_tokens": 10,
                "input_tokens_details": {"image_tokens": 0, "text_tokens": 10},
                "output_tokens": 1_000,
            },
            Usage(input=10, output=1_000, image_output=1_000),
            id="images without details of the output, which is images",
        ),
        pytest.param(
            {"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 90}},
            Usage(input=90, cached_input=90),
            id="a server that leaves cached tokens out of the prompt's",
        ),
        pytest.param(
            {"prompt_tokens": 10.5, "completion_tokens": "7", "prompt_tokens_details": [3]},
            Usage(),
            id="odd counts",
        ),
    ],
)
def test_openai(reported: dict[str, Any], usage: Usage) -> None:
    assert openai.read_usage(json.dumps(reported).encode()) == usage


@pytest.mark.parametrize(
    ("reported", "usage"),
    [
        pytest.param(
            {
                "input_tokens": 100,
                "cache_creation_input_tokens": 70,
                "cache_read_input_tokens": 30,
                "cache_creation": {
                    "ephemeral_5m_input_tokens": 20,
                    "ephemeral_1h_input_tokens": 50,
                },
                "output_tokens": 40,
                "output_tokens_details": {"thinking_tokens": 15},
                "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1},
                "service_tier": "batch",
            },
            Usage(
                input=200,
                cached_input=30,
                cache_write_5m=20,
                cache_write_1h=50,
                output=40,
                reasoning=15,
                web_searches=2,
            ),
            id="everything",
        ),
        pytest.param(
            {
                "input_tokens": 10,
                "output_tokens": 4,
                "inference_geo": "us",
                "iterations": [{"type": "compaction", "input_tokens": 5, "output_tokens": 2}],
            },
            Usage(input=15, output=6, us_inference=1),
            id="bound to the US",
        ),
        pytest.param(
            {"input_tokens": 10, "output_tokens": 4, "inference_geo": "global"},
            Usage(input=10, output=4),
            id="run anywhere",
        ),
        pytest.param({"inference_geo": "us"}, Usage(), id="nothing in the US"),
        pytest.param(
            {"input_tokens": 1, "cache_creation_input_tokens": 7, "output_tokens": 2},
            Usage(input=8, cache_write_5m=7, output=2),
            id="writes of an untold lifetime are the default one's",
        ),
        pytest.param(
            {"input_tokens": 1, "cache_creation": {"ephemeral_1h_input_tokens": 7}},
            Usage(input=8, cache_write_1h=7),
            id="writes that are told by lifetime only",
        ),
        pytest.param(
            {
                "input_tokens": 10,
                "output_tokens": 4,
                "iterations": [
                    {
                        "type": "compaction",
                        "input_tokens": 100,
                        "cache_read_input_tokens": 50,
                        "cache_creation_input_tokens": 7,
                        "cache_creation": {"ephemeral_1h_input_tokens": 7},
                        "output_tokens": 30,
                    },
                    {"type": "message", "input_tokens": 10, "output_tokens": 4},
                    "odd",
                ],
            },
            Usage(input=167, cached_input=50, cache_write_1h=7, output=34),
            id="a compaction, which the sums leave out",
        ),
        pytest.param({"input_tokens": 1, "iterations": "odd"}, Usage(input=1), id="odd iterations"),
        pytest.param(
            {"input_tokens": 1, "cache_creation": None, "server_tool_use": None},
            Usage(input=1),
            id="nothing told",
        ),
    ],
)
def test_anthropic(reported: dict[str, Any], usage: Usage) -> None:
    assert anthropic.read_usage(json.dumps(reported).encode()) == usage


@pytest.mark.parametrize(
    ("reported", "usage"),
    [
        pytest.param(
            {
                "promptTokenCount": 100,
                "toolUsePromptTokenCount": 11,
                "cachedContentTokenCount": 40,
                "candidatesTokenCount": 50,
                "thoughtsTokenCount": 9,
                "promptTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 60},
                    {"modality": "AUDIO", "tokenCount": 25},
                    {"modality": "IMAGE", "tokenCount": 15},
                ],
                "toolUsePromptTokensDetails": [{"modality": "IMAGE", "tokenCount": 6}],
                "cacheTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 30},
                    {"modality": "AUDIO", "tokenCount": 10},
                ],
                "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 44}],
            },
            Usage(
                input=111,
                cached_input=40,
                output=59,
                reasoning=9,
                audio_input=25,
                image_input=21,
                image_output=44,
                cached_audio_input=10,
            ),
            id="everything",
        ),
        pytest.param(
            {
                "promptTokenCount": 5,
                "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 10}],
            },
            Usage(input=10, cached_input=10, audio_input=10, cached_audio_input=10),
            id="parts without their wholes",
        ),
        pytest.param(
            {"promptTokenCount": 3, "candidatesTokenCount": 4, "promptTokensDetails": "odd"},
            Usage(input=3, output=4),
            id="odd details",
        ),
    ],
)
def test_gemini(reported: dict[str, Any], usage: Usage) -> None:
    assert gemini.read_usage(json.dumps(reported).encode()) == usage


@pytest.mark.parametrize("raw", [b"null", b"[]", b'"odd"', b"17", b"{", b"\xff", b"1e999"])
@pytest.mark.parametrize("reader", [openai, anthropic, gemini])
def test_what_is_no_usage_costs_nobody_a_result(reader: Any, raw: bytes) -> None:
    assert reader.read_usage(raw) == Usage()
