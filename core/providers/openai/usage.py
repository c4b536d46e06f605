"""Usage in OpenAI's form, read in the kinds that are priced apart.

Of chat completions, Responses, embeddings and images: openai 3.54.0 types/completion_usage.py,
responses/response_usage.py, create_embedding_response.py, images_response.py. Also read where a
line failed: a body with an error may tell what it cost.
"""

from __future__ import annotations

from typing import Any

import msgspec

from core.prices.usage import Usage, whole
from core.providers.parsing import MAX_TOKENS, token_count

Loose = str | list[Any] | int | float | bool | None
"""Anything but an object: a field in an odd form must not cost the line."""


class InputDetails(msgspec.Struct, gc=False):
    """What the tokens of a prompt were."""

    cached_tokens: Any = 0
    cached_tokens_details: Any = None
    cache_write_tokens: Any = 0
    cache_write_tokens_details: Any = None
    audio_tokens: Any = None
    image_tokens: Any = None


class OutputDetails(msgspec.Struct, gc=False):
    """What the tokens of an answer were."""

    reasoning_tokens: Any = 0
    audio_tokens: Any = None
    image_tokens: Any = None


class OpenAIUsage(msgspec.Struct, gc=False):
    """The usage object of a body."""

    # Chat completions and embeddings.
    prompt_tokens: Any = 0
    completion_tokens: Any = 0
    total_tokens: Any = 0
    prompt_tokens_details: InputDetails | Loose = None
    completion_tokens_details: OutputDetails | Loose = None
    # Responses and images.
    input_tokens: Any = 0
    output_tokens: Any = 0
    input_tokens_details: InputDetails | Loose = None
    output_tokens_details: OutputDetails | Loose = None


_NO_INPUT = InputDetails()
_NO_OUTPUT = OutputDetails()

_decoder = msgspec.json.Decoder(OpenAIUsage | Loose)


def read_usage(raw: bytes | msgspec.Raw) -> Usage:
    """The JSON of a usage object; nothing where it is none."""
    try:
        found = _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Usage()
    return usage_of(found) if isinstance(found, OpenAIUsage) else Usage()


def usage_of(given: OpenAIUsage) -> Usage:
    """The same of a decoded object."""
    prompt, answer = given.prompt_tokens, given.completion_tokens
    into, out = given.prompt_tokens_details, given.completion_tokens_details
    if (
        type(prompt) is type(answer) is int
        and 0 < prompt <= MAX_TOKENS
        and 0 < answer <= MAX_TOKENS
        and type(into) is InputDetails
        and type(out) is OutputDetails
        and not (into.cached_tokens or into.cache_write_tokens or into.cached_tokens_details)
        and not (into.cache_write_tokens_details or into.audio_tokens or into.image_tokens)
        and not (out.reasoning_tokens or out.audio_tokens or out.image_tokens)
    ):
        # Of a chat completion without any part, as most are.
        return Usage(prompt, 0, 0, 0, answer)
    return _examined(given)


def _examined(given: OpenAIUsage) -> Usage:
    prompt = token_count(given.prompt_tokens) or token_count(given.input_tokens)
    answer = token_count(given.completion_tokens) or token_count(given.output_tokens)
    into = given.prompt_tokens_details or given.input_tokens_details
    out = given.completion_tokens_details or given.output_tokens_details
    if not isinstance(into, InputDetails):
        into = _NO_INPUT
    told = isinstance(out, OutputDetails)
    if not isinstance(out, OutputDetails):
        out = _NO_OUTPUT
    if into.image_tokens is not None and into is given.input_tokens_details and not told:
        # Only the images API tells how the input splits into images and text in this form;
        # where it says nothing of the output, that is the images.
        out = OutputDetails(image_tokens=answer)
    cached, written = token_count(into.cached_tokens), token_count(into.cache_write_tokens)
    long = _part(into.cache_write_tokens_details, "ttl_12h_tokens")
    written = max(written, long)
    reasoning = token_count(out.reasoning_tokens)
    if reasoning and given.total_tokens == prompt + answer + reasoning:
        # xAI's answers are told without the thoughts, which only their total has
        # (vercel/ai#12425, langchain-ai/langchain#34603).
        answer += reasoning
    plain = Usage(
        input=max(prompt, cached + written),
        cached_input=cached,
        cache_write_5m=written - long,
        cache_write_1h=long,
        output=max(answer, reasoning),
        reasoning=reasoning,
    )
    if into.audio_tokens or into.image_tokens or into.cached_tokens_details:
        return _with_media(plain, into, out)
    return _with_media(plain, into, out) if out.audio_tokens or out.image_tokens else plain


def _with_media(plain: Usage, into: InputDetails, out: OutputDetails) -> Usage:
    """With the tokens that are no text; few lines have any."""
    cached_audio = _part(into.cached_tokens_details, "audio_tokens")
    cached_image = _part(into.cached_tokens_details, "image_tokens")
    cached = whole(plain.cached_input, cached_audio, cached_image)
    audio = whole(token_count(into.audio_tokens), cached_audio)
    image = whole(token_count(into.image_tokens), cached_image)
    spoken, drawn = token_count(out.audio_tokens), token_count(out.image_tokens)
    written = plain.cache_write_5m + plain.cache_write_1h
    return Usage(
        input=max(whole(plain.input, cached, written), audio + image),
        cached_input=cached,
        cache_write_5m=plain.cache_write_5m,
        cache_write_1h=plain.cache_write_1h,
        output=whole(plain.output, plain.reasoning, spoken, drawn),
        reasoning=plain.reasoning,
        audio_input=audio,
        audio_output=spoken,
        image_input=image,
        image_output=drawn,
        cached_audio_input=cached_audio,
        cached_image_input=cached_image,
    )


def _part(details: Any, name: str) -> int:
    return token_count(details.get(name)) if isinstance(details, dict) else 0
