"""Usage of Anthropic's messages, read in the kinds that are priced apart.

anthropic 2.12.0 types/usage.py, cache_creation.py, server_tool_usage.py: `input_tokens` are those
that were neither read from a cache nor written to one; `cache_creation` splits the written ones
by lifetime; `output_tokens` are all that is billed, thoughts included. What a compaction used is in
`iterations` alone (types/beta/beta_usage.py). `inference_geo` is where the inference ran.
"""

from __future__ import annotations

from operator import add
from typing import Any

import msgspec

from core.prices.usage import NO_USAGE, Usage, whole
from core.providers.parsing import token_count
from core.struct_types import prepared


@prepared
class AnthropicUsage(msgspec.Struct, gc=False):
    """The usage object of a message; a field in an odd form must not cost the line."""

    input_tokens: Any = 0
    cache_creation_input_tokens: Any = 0
    cache_read_input_tokens: Any = 0
    cache_creation: Any = None
    output_tokens: Any = 0
    output_tokens_details: Any = None
    server_tool_use: Any = None
    iterations: Any = None
    inference_geo: Any = None


_decoder = msgspec.json.Decoder(AnthropicUsage | str | list[Any] | int | float | bool | None)


def read_usage(raw: bytes | msgspec.Raw) -> Usage:
    """The JSON of a usage object; nothing where it is none."""
    try:
        found = _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Usage()
    return usage_of(found) if isinstance(found, AnthropicUsage) else Usage()


def usage_of(given: AnthropicUsage) -> Usage:
    """The same of a decoded object."""
    found = _of_message(given)
    if isinstance(given.iterations, list):
        for each in given.iterations:
            if isinstance(each, dict) and each.get("type") == "compaction":
                found = _both(found, _of_message(msgspec.convert(each, AnthropicUsage)))
    if given.inference_geo == "us" and found != NO_USAGE:
        return msgspec.structs.replace(found, us_inference=1)
    return found


def _both(one: Usage, other: Usage) -> Usage:
    return Usage(*map(add, msgspec.structs.astuple(one), msgspec.structs.astuple(other)))


def _of_message(given: AnthropicUsage) -> Usage:
    given_input, cached = (
        token_count(given.input_tokens),
        token_count(given.cache_read_input_tokens),
    )
    written, output = (
        token_count(given.cache_creation_input_tokens),
        token_count(given.output_tokens),
    )
    if given.cache_creation is given.output_tokens_details is given.server_tool_use is None:
        # Most have no parts.
        return Usage(given_input + cached + written, cached, written, 0, output)
    short = _part(given.cache_creation, "ephemeral_5m_input_tokens")
    long = _part(given.cache_creation, "ephemeral_1h_input_tokens")
    # Of an unknown lifetime: the default one, 5 minutes.
    written = whole(written, short, long)
    thinking = _part(given.output_tokens_details, "thinking_tokens")
    return Usage(
        input=given_input + cached + written,
        cached_input=cached,
        cache_write_5m=written - long,
        cache_write_1h=long,
        output=whole(output, thinking),
        reasoning=thinking,
        web_searches=_part(given.server_tool_use, "web_search_requests"),
    )


def _part(details: Any, name: str) -> int:
    return token_count(details.get(name)) if isinstance(details, dict) else 0
