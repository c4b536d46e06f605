"""Translations to Gemini's form, checked as the tests need it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from google.genai import types
from pydantic import BaseModel, ConfigDict

from core.providers.contract import LineRejected
from core.providers.gemini.request import check_request, translate_request
from services.sandbox.gemini.lines import Generate
from tests.support.providers.chat_requests import encode, request

NEW = "gemini-3.8-flash"
NEW_PRO = "gemini-3.1-pro-preview"
OLD = "gemini-2.5-flash"
OLD_PRO = "gemini-2.5-pro"
OLDEST = "gemini-2.0-flash"


class SdkRequest(BaseModel):
    """A GenerateContentRequest of the SDK's types, which know no field beside theirs."""

    model_config = ConfigDict(extra="forbid")

    contents: list[types.Content]
    systemInstruction: types.Content | None = None
    generationConfig: types.GenerationConfig | None = None
    tools: list[types.Tool] | None = None
    toolConfig: types.ToolConfig | None = None


def validate(encoded: bytes, model: str) -> dict[str, Any]:
    """The request, which the SDK and the sandbox take."""
    assert b"\n" not in encoded
    SdkRequest.model_validate_json(encoded)
    problem = msgspec.json.decode(encoded, type=Generate).problem(model)
    assert not problem, problem
    made: dict[str, Any] = json.loads(encoded)
    return made


def translate(
    body: dict[str, Any], model: str = NEW, *, lenient: bool = False
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The request, and field and reason of each note."""
    encoded, notes = translate_request(model, encode(body), lenient=lenient)
    assert list(check_request(model, encode(body))) == list(notes)
    return validate(encoded, model), [(note.field, note.reason) for note in notes]


def config_of(model: str = NEW, **options: Any) -> dict[str, Any]:
    """The generation config of a short request with some options, beside its limit."""
    made, notes = translate(request(**options), model)
    assert notes == []
    config: dict[str, Any] = made["generationConfig"]
    assert config.pop("maxOutputTokens") == 2000
    return config


def assert_refused(body: dict[str, Any], field: str, reason: str, model: str = NEW) -> None:
    """No mode sends the request, and the check at upload says so too."""
    for lenient in (False, True):
        with pytest.raises(LineRejected) as caught:
            translate_request(model, encode(body), lenient=lenient)
        assert (caught.value.field, caught.value.reason) == (field, reason)
        assert caught.value.message
    last = check_request(model, encode(body))[-1]
    assert (last.field, last.reason, last.weight) == (field, reason, "refused")


def assert_lost(
    body: dict[str, Any],
    field: str,
    model: str = NEW,
    *,
    reason: str = "unsupported_parameter",
) -> dict[str, Any]:
    """Only the lenient mode sends the request; gives what it sends."""
    with pytest.raises(LineRejected) as caught:
        translate_request(model, encode(body))
    assert (caught.value.field, caught.value.reason) == (field, reason)
    made, notes = translate(body, model, lenient=True)
    assert (field, reason) in notes
    return made
