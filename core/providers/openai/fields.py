"""The fields of OpenAI's requests, the JSON types of their values, and the ranges of numbers.

Source: openai 3.54 types/*_create_params.py and image_*_params.py; of n, top_p and the least
numbers of tokens: openai-openapi, and the API's answers of code `integer_below_min_value`.

An edit of images is JSON in batches: its `images` stand for the file parts of a form.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from core.endpoints import (
    CHAT_COMPLETIONS,
    COMPLETIONS,
    EMBEDDINGS,
    IMAGE_EDITS,
    IMAGE_GENERATIONS,
    MODERATIONS,
    RESPONSES,
)

STRING, INTEGER, NUMBER = "a string", "a whole number", "a number"
BOOLEAN, OBJECT, ARRAY = "true or false", "an object", "an array"

Types = tuple[str, ...]
"""Those that a value may have; null stands for no value and is always taken."""

_BY_TYPE: Mapping[Types, str] = {
    (STRING,): """
        background complexity encoding_format input_fidelity instructions model output_format
        previous_response_id prompt prompt_cache_key prompt_cache_retention quality
        reasoning_effort safety_identifier service_tier size style suffix truncation user verbosity
    """,
    (INTEGER,): """
        best_of dimensions frame_count frame_duration_ms max_completion_tokens max_output_tokens
        max_tokens max_tool_calls n output_compression partial_images seed top_logprobs
    """,
    (NUMBER,): "frequency_penalty presence_penalty temperature top_p",
    (BOOLEAN,): "echo logprobs parallel_tool_calls store stream",
    (OBJECT,): """
        access_programs audio background_options image logit_bias metadata moderation prediction
        prompt_cache_options reasoning response_format stream_options svg text web_search_options
    """,
    (ARRAY,): "context_management functions images include messages modalities tools",
    (STRING, ARRAY): "input stop",
    (STRING, OBJECT): "conversation function_call markup mask tool_choice",
}
_TYPES = {name: types for types, names in _BY_TYPE.items() for name in names.split()}


def _fields(names: str, **other: Types) -> Mapping[str, Types]:
    """`other`: fields whose type is another at this endpoint."""
    return {name: other.get(name, _TYPES[name]) for name in names.split()}


_IMAGE = """
    background complexity frame_count frame_duration_ms model moderation n output_compression
    output_format partial_images prompt quality response_format safety_identifier size stream
    svg user
"""

FIELDS: Mapping[str, Mapping[str, Types]] = {
    CHAT_COMPLETIONS: _fields(
        """
        audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens
        max_tokens messages metadata modalities model moderation n parallel_tool_calls prediction
        presence_penalty prompt_cache_key prompt_cache_options prompt_cache_retention
        reasoning_effort response_format safety_identifier seed service_tier stop store stream
        stream_options temperature tool_choice tools top_logprobs top_p user verbosity
        web_search_options
        """
    ),
    EMBEDDINGS: _fields("dimensions encoding_format input model user"),
    RESPONSES: _fields(
        """
        access_programs background background_options context_management conversation image
        include input instructions max_output_tokens max_tool_calls metadata model moderation
        parallel_tool_calls previous_response_id prompt prompt_cache_key prompt_cache_options
        prompt_cache_retention reasoning safety_identifier service_tier store stream
        stream_options temperature text tool_choice tools top_logprobs top_p truncation user
        """,
        background=(BOOLEAN,),
        prompt=(OBJECT,),
    ),
    COMPLETIONS: _fields(
        """
        best_of echo frequency_penalty logit_bias logprobs max_tokens model n presence_penalty
        prompt seed stop stream stream_options suffix temperature top_p user
        """,
        logprobs=(INTEGER,),
        prompt=(STRING, ARRAY),
    ),
    MODERATIONS: _fields("input model"),
    IMAGE_GENERATIONS: _fields(f"{_IMAGE} style", moderation=(STRING,), response_format=(STRING,)),
    IMAGE_EDITS: _fields(
        f"{_IMAGE} image images input_fidelity markup mask",
        image=(STRING, ARRAY, OBJECT),
        moderation=(STRING,),
        response_format=(STRING,),
    ),
}
"""By endpoint: every field that a request may have, and the types of its value."""

Range = tuple[float, float]
"""The least and the most that a number may be."""

_SAMPLED: Mapping[str, Range] = {
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "temperature": (0, 2),
    "top_p": (0, 1),
}
_SOME = (1, inf)
_IMAGES: Mapping[str, Range] = {
    "frame_count": (2, 16),
    "n": (1, 10),
    "output_compression": (0, 100),
    "partial_images": (0, 3),
}

RANGES: Mapping[str, Mapping[str, Range]] = {
    CHAT_COMPLETIONS: {
        **_SAMPLED,
        "max_completion_tokens": _SOME,
        "max_tokens": _SOME,
        "n": (1, 128),
        "top_logprobs": (0, 20),
    },
    EMBEDDINGS: {"dimensions": _SOME},
    RESPONSES: {
        "max_output_tokens": (16, inf),
        "temperature": _SAMPLED["temperature"],
        "top_logprobs": (0, 20),
        "top_p": _SAMPLED["top_p"],
    },
    # No tokens at all: for the log probabilities of a prompt that is echoed.
    COMPLETIONS: {**_SAMPLED, "logprobs": (0, 5), "max_tokens": (0, inf), "n": (1, 128)},
    MODERATIONS: {},
    IMAGE_GENERATIONS: _IMAGES,
    IMAGE_EDITS: _IMAGES,
}
"""By endpoint: what the numbers of a request may be, as far as that is documented."""
