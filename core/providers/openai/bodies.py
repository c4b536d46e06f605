"""What is looked at in a request's body before it is sent, at OpenAI and at servers in its form."""

from __future__ import annotations

import msgspec

from core.providers.contract import LineRejected

TRUE = msgspec.Raw(b"true")
FALSE = msgspec.Raw(b"false")


class _EmbeddingBody(msgspec.Struct):
    input: str | list[msgspec.Raw]


_embedding_body = msgspec.json.Decoder(_EmbeddingBody)


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
