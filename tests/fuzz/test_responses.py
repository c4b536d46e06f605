"""Odd requests for /v1/responses and odd answers: refused or translated, never a crash."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.json_depth import deeper_than
from core.providers.anthropic.translation import check_translation, translate_request
from core.providers.catalogue import find_model
from core.providers.contract import LineRejected, Outcome, ResultLine
from core.providers.translation.responses import check_through_chat, marked, restored, through_chat
from tests.fuzz.budget import examples
from tests.fuzz.json_values import changed

CLAUDE = find_model("anthropic", "claude-sonnet-4-5")
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
REQUEST: dict[str, Any] = {
    "model": "claude-sonnet-4-5",
    "instructions": "x",
    "input": [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"role": "user", "content": [{"type": "input_image", "image_url": "https://x/y.png"}]},
        {"type": "reasoning", "id": "rs", "summary": []},
        {"role": "assistant", "content": [{"type": "output_text", "text": "x"}], "phase": None},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "caller": None},
        {"type": "function_call_output", "call_id": "c", "output": "1"},
        {"role": "user", "content": [{"type": "input_file", "file_data": "JVBERi0="}]},
    ],
    "tools": [{"type": "function", "name": "f", "parameters": SCHEMA, "strict": None}],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []},
    "text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}, "verbosity": "low"},
    "reasoning": {"effort": "low", "summary": "auto", "context": "auto", "mode": "standard"},
    "include": ["reasoning.encrypted_content"],
    "truncation": "auto",
    "max_output_tokens": 2000,
    "temperature": 0.5,
}
CHAT: dict[str, Any] = {
    "id": "chatcmpl-1",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "message": {
                "content": [{"type": "thinking", "thinking": [{"text": "x"}]}],
                "refusal": "no",
                "annotations": [{"type": "url_citation", "url_citation": {"start_index": 0}}],
                "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}],
                "function_call": {"name": "f", "arguments": {}},
                "reasoning": "x",
            },
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": 1}},
    "service_tier": "default",
    "native": {},
}


@given(changed(REQUEST), st.booleans())
@settings(max_examples=examples(150), suppress_health_check=list(HealthCheck))
def test_any_request_is_translated_or_refused_by_its_field(body: bytes, lenient: bool) -> None:
    # The check of an upload refuses deeper lines before any translation sees them.
    if deeper_than(body):
        return
    notes = check_through_chat(partial(check_translation, CLAUDE), body, model=CLAUDE)
    assert all(note.field.startswith("body") and note.message for note in notes)
    try:
        made, _ = through_chat(partial(translate_request, CLAUDE), body, lenient=lenient)
    except LineRejected as error:
        refused, made = error.field, b"{}"
    else:
        refused = ""
    assert refused.startswith("body") or not refused
    assert not refused or any(note.weight != "harmless" for note in notes)
    assert b"\n" not in made
    msgspec.json.decode(made)


@given(changed(CHAT))
@settings(max_examples=examples(150), suppress_health_check=list(HealthCheck))
def test_any_answer_is_a_response_or_stays(body: bytes) -> None:
    response = b'{"status_code":200,"body":%b}' % body
    line = restored(ResultLine(marked("s-t-1"), Outcome.SUCCEEDED, response, None))
    assert line.custom_id == "s-t-1"
    assert line.response is not None
    if line.response != response:
        assert json.loads(line.response, parse_int=str)["body"]["object"] == "response"
