"""Usage of Gemini's responses, read in the kinds that are priced apart.

google-genai 3.4.0 types.GenerateContentResponseUsageMetadata: `promptTokenCount` includes what was
read from a cache, not what the model's tools brought; `candidatesTokenCount` does not include
the thoughts. Both are billed: input and output "including thinking tokens"
(ai.google.dev/gemini-api/docs/pricing).
"""

from __future__ import annotations

from typing import Any

import msgspec

from core.prices.usage import Usage, whole
from core.providers.parsing import token_count


class GeminiUsage(msgspec.Struct, rename="camel"):
    """usageMetadata; a field in an odd form must not cost the line."""

    prompt_token_count: Any = 0
    tool_use_prompt_token_count: Any = 0
    cached_content_token_count: Any = 0
    candidates_token_count: Any = 0
    thoughts_token_count: Any = 0
    prompt_tokens_details: Any = None
    tool_use_prompt_tokens_details: Any = None
    cache_tokens_details: Any = None
    candidates_tokens_details: Any = None


_decoder = msgspec.json.Decoder(GeminiUsage | str | list[Any] | int | float | bool | None)


def read_usage(raw: bytes | msgspec.Raw) -> Usage:
    """The JSON of usageMetadata; nothing where it is none."""
    try:
        found = _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Usage()
    return usage_of(found) if isinstance(found, GeminiUsage) else Usage()


def usage_of(given: GeminiUsage) -> Usage:
    """The same of a decoded object."""
    prompt = token_count(given.prompt_token_count) + token_count(given.tool_use_prompt_token_count)
    cached_audio = _of(given.cache_tokens_details, "AUDIO")
    cached_image = _of(given.cache_tokens_details, "IMAGE")
    cached = whole(token_count(given.cached_content_token_count), cached_audio, cached_image)
    reasoning = token_count(given.thoughts_token_count)
    drawn = _of(given.candidates_tokens_details, "IMAGE")
    spoken = _of(given.candidates_tokens_details, "AUDIO")
    tools = given.tool_use_prompt_tokens_details
    audio = whole(_of(given.prompt_tokens_details, "AUDIO") + _of(tools, "AUDIO"), cached_audio)
    image = whole(_of(given.prompt_tokens_details, "IMAGE") + _of(tools, "IMAGE"), cached_image)
    return Usage(
        input=max(whole(prompt, cached), audio + image),
        cached_input=cached,
        output=whole(token_count(given.candidates_token_count), drawn, spoken) + reasoning,
        reasoning=reasoning,
        audio_input=audio,
        audio_output=spoken,
        image_input=image,
        image_output=drawn,
        cached_audio_input=cached_audio,
        cached_image_input=cached_image,
    )


def _of(details: Any, modality: str) -> int:
    """The tokens of a modality: [{"modality": "AUDIO", "tokenCount": 12}, ...]."""
    if not isinstance(details, list):
        return 0
    return sum(
        token_count(each.get("tokenCount"))
        for each in details
        if isinstance(each, dict) and each.get("modality") == modality
    )
