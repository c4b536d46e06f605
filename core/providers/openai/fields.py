"""The fields of OpenAI's requests: openai 3.54 types/*_create_params.py and image_*_params.py.

An edit of images is JSON in batches: its `images` stand for the file parts of a form.
"""

from __future__ import annotations

from collections.abc import Mapping

from core.endpoints import (
    CHAT_COMPLETIONS,
    COMPLETIONS,
    EMBEDDINGS,
    IMAGE_EDITS,
    IMAGE_GENERATIONS,
    MODERATIONS,
    RESPONSES,
)
from core.providers.openai.nulls import CHAT
from core.providers.openai.nulls import EMBEDDINGS as EMBEDDING


def _names(*lines: str) -> frozenset[str]:
    return frozenset(name for line in lines for name in line.split())


_IMAGE = _names(
    "background complexity frame_count frame_duration_ms model moderation n output_compression",
    "output_format partial_images prompt quality response_format safety_identifier size stream",
    "svg user",
)

FIELDS: Mapping[str, frozenset[str]] = {
    CHAT_COMPLETIONS: CHAT.optional | {"messages", "model"},
    EMBEDDINGS: EMBEDDING.optional | {"input", "model"},
    RESPONSES: _names(
        "access_programs background background_options context_management conversation image",
        "include input instructions max_output_tokens max_tool_calls metadata model moderation",
        "parallel_tool_calls previous_response_id prompt prompt_cache_key prompt_cache_options",
        "prompt_cache_retention reasoning safety_identifier service_tier store stream",
        "stream_options temperature text tool_choice tools top_logprobs top_p truncation user",
    ),
    COMPLETIONS: _names(
        "best_of echo frequency_penalty logit_bias logprobs max_tokens model n presence_penalty",
        "prompt seed stop stream stream_options suffix temperature top_p user",
    ),
    MODERATIONS: _names("input model"),
    IMAGE_GENERATIONS: _IMAGE | {"style"},
    IMAGE_EDITS: _IMAGE | {"image", "images", "input_fidelity", "markup", "mask"},
}
"""By endpoint: every field that a request may have."""
