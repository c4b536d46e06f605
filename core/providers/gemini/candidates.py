"""Gemini's responses as they come: what is read of them, and what would be lost.

Source: google-genai 3.4 types.py (GenerateContentResponse, Candidate, Part). A field in a form
that nobody knows must never cost the line.
"""

from __future__ import annotations

from typing import Any

import msgspec

Raw = msgspec.Raw
NULL = Raw(b"null")


class FunctionCall(msgspec.Struct):
    """What the model wants called."""

    name: Any = None
    id: Any = None
    args: Raw = NULL


class Part(msgspec.Struct):
    """A part of any kind; of those without a text or a call nothing is read."""

    text: Any = None
    thought: Any = None
    thoughtSignature: Any = None
    functionCall: FunctionCall | None = None


class _Content(msgspec.Struct):
    parts: tuple[Part, ...] | None = None


class Candidate(msgspec.Struct):
    """One answer."""

    content: _Content | None = None
    finishReason: Any = None
    finishMessage: Any = None
    index: Any = 0


class Feedback(msgspec.Struct, omit_defaults=True):
    """Why there is no answer."""

    blockReason: Any = None
    blockReasonMessage: Any = None


class Response(msgspec.Struct):
    """A response in any form that can be read."""

    candidates: tuple[Candidate, ...] | None = None
    promptFeedback: Feedback | None = None
    usageMetadata: Raw = NULL
    modelVersion: Any = None
    responseId: Any = None
    embedding: Raw = NULL


class _KnownFunctionCall(FunctionCall, forbid_unknown_fields=True):
    pass


class _KnownPart(Part, forbid_unknown_fields=True):
    functionCall: _KnownFunctionCall | None = None


class _KnownContent(_Content, forbid_unknown_fields=True):
    parts: tuple[_KnownPart, ...] | None = None
    role: Any = None


class _KnownCandidate(Candidate, forbid_unknown_fields=True):
    content: _KnownContent | None = None
    finishMessage: None = None


class _KnownResponse(Response, forbid_unknown_fields=True):
    """One without a member that a chat completion has no field for, but in its parts."""

    candidates: tuple[_KnownCandidate, ...]
    promptFeedback: None = None


class _RawContent(msgspec.Struct):
    parts: list[Raw] | None = None


class _RawCandidate(msgspec.Struct):
    content: _RawContent | None = None


class _RawCandidates(msgspec.Struct):
    """A response once more, for the parts that a chat completion has no place for."""

    candidates: list[_RawCandidate] | None = None


class _Members(msgspec.Struct):
    """A response once more, for the members of its candidates."""

    candidates: list[dict[str, Raw]] | None = None


_known_response = msgspec.json.Decoder(_KnownResponse)
_response = msgspec.json.Decoder(Response)
_raw_candidates = msgspec.json.Decoder(_RawCandidates)
_members = msgspec.json.Decoder(_Members)
_known_part = msgspec.json.Decoder(_KnownPart)
_fields = msgspec.json.Decoder(dict[str, Raw])

_TRANSLATED = frozenset(
    {"candidates", "promptFeedback", "usageMetadata", "modelVersion", "responseId", "embedding"}
)
_TRANSLATED_OF_CANDIDATES = frozenset({"content", "finishReason", "index"})

Places = list[tuple[int, int]]
"""Of parts: numbers of the candidate and of the part in it."""


def read_response(raw: Raw) -> Response:
    """A response. Raises msgspec.DecodeError, UnicodeDecodeError, RecursionError."""
    try:
        return _known_response.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _response.decode(raw)


def members_left(response: Response, raw: Raw) -> tuple[list[dict[str, Raw]], dict[str, Raw]]:
    """The members that a chat completion has no field for: of each candidate, if one has any,
    and of the response."""
    if type(response) is _KnownResponse:
        return [], {}
    others = _left(_fields.decode(raw), _TRANSLATED)
    candidates = _members.decode(raw).candidates if response.candidates else None
    left = [_left(members, _TRANSLATED_OF_CANDIDATES) for members in candidates or ()]
    return left if any(left) else [], others


def unknown_parts(response: Response, raw: Raw) -> Places:
    """The places of parts with members that nobody knows."""
    if type(response) is _KnownResponse or not response.candidates:
        return []
    return [
        (number, place)
        for number, candidate in enumerate(_raw_candidates.decode(raw).candidates or ())
        for place, part in enumerate((candidate.content and candidate.content.parts) or ())
        if not _is_known(part)
    ]


def _left(members: dict[str, Raw], translated: frozenset[str]) -> dict[str, Raw]:
    return {key: value for key, value in members.items() if key not in translated and value != NULL}


def _is_known(part: Raw) -> bool:
    try:
        _known_part.decode(part)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def parts_at(raw: Raw, places: Places) -> list[Raw]:
    """Parts as they came."""
    candidates = _raw_candidates.decode(raw).candidates or []
    found = []
    for number, place in places:
        content = candidates[number].content
        if content is not None and content.parts is not None:
            found.append(content.parts[place])
    return found
