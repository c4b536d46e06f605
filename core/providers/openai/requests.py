"""What OpenAI is documented to refuse of a request, by its model, and fields that it does not have.

A request is sent as it is: what is refused here would come back as a failed line. Which model
refuses what is in models.toml, with the sources. A field that the SDK does not know is told: the
API may answer it with "Unrecognized request argument supplied".
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import inf
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from core.endpoints import CHAT_COMPLETIONS, EMBEDDINGS, RESPONSES
from core.providers.catalogue import Model, find_model
from core.providers.openai.bodies import TIER, asks_for_tier, input_problem
from core.providers.openai.fields import (
    ARRAY,
    BOOLEAN,
    FIELDS,
    INTEGER,
    NUMBER,
    OBJECT,
    RANGES,
    STRING,
    Range,
    Types,
)
from core.providers.translation import Note, PlainRequest
from core.providers.translation.report import IGNORED

Fields = dict[str, Raw]

_fields = msgspec.json.Decoder(Fields)
_number = msgspec.json.Decoder(float)
_object = msgspec.json.Decoder(dict[str, Raw])
_text = msgspec.json.Decoder(str)

_NULL = Raw(b"null")
_JSON_TYPES = {
    ord('"'): STRING,
    ord("{"): OBJECT,
    ord("["): ARRAY,
    ord("t"): BOOLEAN,
    ord("f"): BOOLEAN,
    ord("n"): "null",
}
_SAMPLING = {
    "temperature": 1,
    "top_p": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "top_logprobs": 0,
}
"""What a model that reasons takes of these: their defaults alone."""
_TEMPERATURE, _TOP_P = (RANGES[CHAT_COMPLETIONS][name] for name in ("temperature", "top_p"))
_NO_TIER = Note(
    f"body.{TIER}", IGNORED, f"{TIER} means nothing in a batch, and is not sent: leave it out."
)
_ASKS_NOTHING = {"logprobs": b"false", "logit_bias": b"{}"}


_MOST_UNKNOWN = 20
"""Fields of one line that are named for being none."""


def check_request(url: str, name: str, body: bytes | Raw) -> Sequence[Note]:
    """What is to be said of a request: what its model refuses, and fields that are none."""
    try:
        fields = _fields.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # The form of a line is checked elsewhere.
        return ()
    known = FIELDS.get(url)
    notes: list[Note] = []
    unknown = 0
    if known is not None:
        for key, raw in fields.items():
            if key not in known:
                unknown += 1
                # What is meant takes a millisecond each to find, and a line may have a million.
                if unknown <= _MOST_UNKNOWN:
                    notes.append(_unknown(url, key))
            elif not _is_one_of(known[key], raw):
                expected = " or ".join(known[key])
                text = f"{key} is {_json_type(raw)}; expected {expected}."
                notes.append(Note(f"body.{key}", "wrong_type", text, "refused"))
            elif key == TIER and asks_for_tier(raw):
                notes.append(_NO_TIER)
            elif (limits := RANGES[url].get(key)) and not _is_within(limits, raw):
                notes.append(_out_of_range(key, limits))
    if unknown > _MOST_UNKNOWN:
        text = f"{url} has not {unknown - _MOST_UNKNOWN:,} more of the fields, and may refuse them."
        notes.append(Note("body", "unknown_field", text))
    model = find_model("openai", name)
    if url == CHAT_COMPLETIONS:
        notes += _refused_in_chat(model, fields)
    elif url == EMBEDDINGS and (problem := input_problem(fields.get("input", _NULL))):
        notes.append(Note("body.input", "unsupported_value", problem, "refused"))
    elif url == RESPONSES and model.reasons:
        effort = _effort(_member(fields, "reasoning", "effort"), model)
        notes += _refused_sampling(model, fields, effort)
    return notes


def check_plain(request: PlainRequest) -> Sequence[Note] | None:
    """What is to be said of a chat completion; None: check_request tells."""
    model = find_model("openai", request.model)
    if request.reasoning_effort is not UNSET:
        return None
    temperature, top_p = request.temperature, request.top_p
    if temperature is not UNSET and not _is_plainly_within(_TEMPERATURE, temperature):
        return None
    if top_p is not UNSET and not _is_plainly_within(_TOP_P, top_p):
        return None
    fits = not model.reasons or (
        request.max_tokens is None
        and temperature is UNSET
        and top_p is UNSET
        and (model.tools_while_reasoning or request.tools is UNSET)
    )
    return () if fits else None


def _json_type(raw: Raw) -> str:
    return _JSON_TYPES.get(memoryview(raw)[0], NUMBER)


def _is_one_of(types: Types, raw: Raw) -> bool:
    found = _json_type(raw)
    if found in types or found == "null":
        return True
    if found != NUMBER or INTEGER not in types:
        return False
    whole = _decoded(_number, raw)
    return whole is not None and float(whole).is_integer()


def _is_within(limits: Range, raw: Raw) -> bool:
    """True for what is no number, too: that is told as such."""
    number = _decoded(_number, raw)
    return number is None or limits[0] <= number <= limits[1]


def _is_plainly_within(limits: Range, raw: Raw) -> bool:
    try:
        return limits[0] <= float(raw) <= limits[1]
    except ValueError:
        return False


def _out_of_range(key: str, limits: Range) -> Note:
    least, most = limits
    expected = f"at least {least:g}" if most == inf else f"from {least:g} to {most:g}"
    text = f"{key} is out of range: expected {expected}."
    return Note(f"body.{key}", "unsupported_value", text, "refused")


def _refused_in_chat(model: Model, fields: Fields) -> list[Note]:
    given = {key: raw for key, raw in fields.items() if raw != _NULL}
    notes: list[Note] = []
    asked = _decoded(_text, given.get("reasoning_effort"))
    if asked is not None and asked not in model.efforts:
        takes = f"expected one of {', '.join(model.efforts)}" if model.efforts else "leave it out"
        text = f"{model.id} does not take reasoning_effort {asked[:20]!r}: {takes}."
        return [Note("body.reasoning_effort", "unsupported_value", text, "refused")]
    if not model.reasons:
        return []
    if "max_tokens" in given:
        notes.append(_refusal("max_tokens", model, "use max_completion_tokens"))
    if "stop" in given and not model.stops:
        notes.append(_refusal("stop", model, "leave it out"))
    effort = asked or model.effort
    if given.get("tools", b"[]") != b"[]" and effort != "none" and not model.tools_while_reasoning:
        can = "with reasoning_effort none, or " if "none" in model.efforts else "only "
        text = f"{model.id} takes tools {can}by /v1/responses."
        notes.append(Note("body.tools", "unsupported_parameter", text, "refused"))
    return notes + _refused_sampling(model, given, effort)


def _refused_sampling(model: Model, given: Fields, effort: str) -> list[Note]:
    if effort == "none":
        return []
    remedy = "leave it out"
    if "none" in model.efforts:
        remedy += ", or set the reasoning effort to none"
    return [
        _refusal(key, model, remedy)
        for key, raw in given.items()
        if (key in _SAMPLING and _decoded(_number, raw) not in (None, _SAMPLING[key]))
        or (key in _ASKS_NOTHING and bytes(raw) not in (_ASKS_NOTHING[key], b"null"))
    ]


def _refusal(key: str, model: Model, remedy: str) -> Note:
    text = f"{model.id} does not take this {key}: {remedy}."
    return Note(f"body.{key}", "unsupported_parameter", text, "refused")


def _effort(raw: Raw | None, model: Model) -> str:
    return _decoded(_text, raw) or model.effort


def _member(fields: Fields, outer: str, inner: str) -> Raw | None:
    found = _decoded(_object, fields.get(outer))
    return None if found is None else found.get(inner)


def _decoded(decoder: msgspec.json.Decoder[Any], raw: Raw | None) -> Any:
    """A value; None where there is none, or where it is something else: the provider says so."""
    if raw is None or raw == _NULL:
        return None
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


@lru_cache(maxsize=1024)
def _unknown(url: str, key: str) -> Note:
    """A field that the endpoint does not have, with the one that may be meant."""
    # Only here, as it is held by every service otherwise.
    from difflib import get_close_matches

    quoted = key if len(key) <= 80 else key[:80] + "…"
    text = f'{url} has no field "{quoted}", and may refuse it'
    near = get_close_matches(key, FIELDS[url], n=1) if quoted == key else []
    return Note(
        f"body.{quoted}", "unknown_field", f"{text}; is {near[0]} meant?" if near else f"{text}."
    )
