"""What is looked at in a request's body before it is sent, at OpenAI and at servers in its form."""

from __future__ import annotations

import msgspec

from core.providers.contract import LineRejected

TRUE = msgspec.Raw(b"true")
FALSE = msgspec.Raw(b"false")


TIER = "service_tier"
_NO_TIERS = frozenset({b"null", b'"auto"', b'"default"'})


def asks_for_tier(tier: msgspec.Raw | None) -> bool:
    """Whether a request's service_tier says something."""
    return tier is not None and bytes(tier) not in _NO_TIERS


class _EmbeddingBody(msgspec.Struct):
    input: str | list[msgspec.Raw]


MAX_ITEMS = 2048
MAX_TOKENS = 8192
MAX_TOKENS_IN_ALL = 300_000
"""Of one embeddings request (openai-openapi, CreateEmbeddingRequest.input): items of any list,
tokens of an item, tokens of all."""

_embedding_body = msgspec.json.Decoder(_EmbeddingBody)
_input = msgspec.json.Decoder(str | list[msgspec.Raw])
_list = msgspec.json.Decoder(list[msgspec.Raw])


def refuse_streaming(stream: msgspec.Raw) -> None:
    """Raise LineRejected if a request's `stream` is true."""
    if stream == TRUE:
        raise LineRejected(
            "body.stream", "unsupported_parameter", "Batches do not stream: leave out stream."
        )


def embedding_inputs(body: bytes) -> int:
    """How many inputs an embeddings request holds; towards Limits.max_embedding_inputs."""
    try:
        given = _embedding_body.decode(body).input
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 1
    if not isinstance(given, list):
        return 1
    # A list of numbers is one input, given as tokens.
    return 1 if given and bytes(given[0])[:1].isdigit() else len(given)


def input_problem(raw: msgspec.Raw) -> str:
    """What OpenAI refuses of the input of an embeddings request; empty if nothing is known.

    The tokens of texts are not counted: that takes the model's own encoding.
    """
    try:
        items = _input.decode(raw)
        if isinstance(items, str):
            return ""
        if len(items) > MAX_ITEMS:
            return (
                f"input has {len(items):,} items; expected at most {MAX_ITEMS:,}: "
                "spread them over several lines."
            )
        counts = [len(_list.decode(item)) for item in items if bytes(item)[:1] == b"["]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    if counts and max(counts) > MAX_TOKENS:
        return f"an item of input has {max(counts):,} tokens; expected at most {MAX_TOKENS:,}."
    if sum(counts) > MAX_TOKENS_IN_ALL:
        return (
            f"the items of input have {sum(counts):,} tokens in all; expected at most "
            f"{MAX_TOKENS_IN_ALL:,}: spread them over several lines."
        )
    return ""
