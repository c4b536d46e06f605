"""Members of an OpenAI request that are null, which mean the same as none.

Some models refuse a null where another one takes it, and programs that write all fields of
a class write many. Left out are those that the openai package 3.54 types as optional
(types/chat/completion_create_params.py and what it refers to, embedding_create_params.py);
what has to be there, and what we do not know, stays as it came.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

Raw = msgspec.Raw

NULL = Raw(b"null")

_fields = msgspec.json.Decoder(dict[str, Raw])
_items = msgspec.json.Decoder(list[Raw])
_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Shape:
    """Of an object, or of each object in a list."""

    optional: frozenset[str] = frozenset()
    """Members that are left out where they are null."""
    within: Mapping[str, Shape] = field(default_factory=dict)


_FUNCTION = Shape(frozenset({"description", "parameters", "strict"}))
_PART = Shape(frozenset({"prompt_cache_breakpoint"}), {"image_url": Shape(frozenset({"detail"}))})
_MESSAGE = Shape(
    # Not content: an assistant's may be null, and has to be there for the other roles.
    frozenset({"name", "tool_calls", "function_call", "refusal", "audio"}),
    {"content": _PART},
)

CHAT = Shape(
    frozenset(
        {
            "audio",
            "frequency_penalty",
            "function_call",
            "functions",
            "logit_bias",
            "logprobs",
            "max_completion_tokens",
            "max_tokens",
            "metadata",
            "modalities",
            "moderation",
            "n",
            "parallel_tool_calls",
            "prediction",
            "presence_penalty",
            "prompt_cache_key",
            "prompt_cache_options",
            "prompt_cache_retention",
            "reasoning_effort",
            "response_format",
            "safety_identifier",
            "seed",
            "service_tier",
            "stop",
            "store",
            "stream",
            "stream_options",
            "temperature",
            "tool_choice",
            "tools",
            "top_logprobs",
            "top_p",
            "user",
            "verbosity",
            "web_search_options",
        }
    ),
    {
        "messages": _MESSAGE,
        "tools": Shape(within={"function": _FUNCTION}),
        "functions": _FUNCTION,
        "response_format": Shape(
            within={"json_schema": Shape(frozenset({"description", "schema", "strict"}))}
        ),
    },
)
EMBEDDINGS = Shape(frozenset({"dimensions", "encoding_format", "user"}))
SHAPES = {"/v1/chat/completions": CHAT, "/v1/embeddings": EMBEDDINGS}


def drop_nulls(fields: dict[str, Raw], shape: Shape) -> dict[str, Raw]:
    """The members of an object without those that are null and optional."""
    kept = {
        key: value for key, value in fields.items() if value != NULL or key not in shape.optional
    }
    for key, inner in shape.within.items():
        if key in kept:
            kept[key] = _without(kept[key], inner)
    return kept


def _without(raw: Raw, shape: Shape) -> Raw:
    """A value without its nulls; the very same bytes where there is none to leave out."""
    text = bytes(raw)
    if b"null" not in text:
        return raw
    try:
        if text.startswith(b"{"):
            fields = _fields.decode(text)
            kept = drop_nulls(fields, shape)
            same = len(kept) == len(fields) and all(kept[key] is fields[key] for key in kept)
            return raw if same else Raw(_encoder.encode(kept))
        if text.startswith(b"["):
            items = _items.decode(text)
            cleared = [_without(item, shape) for item in items]
            same = all(new is old for new, old in zip(cleared, items, strict=True))
            return raw if same else Raw(_encoder.encode(cleared))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # The provider tells better than we what it does not understand.
        pass
    return raw
