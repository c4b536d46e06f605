"""What OpenAI's /v1/responses answers."""

from __future__ import annotations

from typing import Any

import msgspec

from services.sandbox import answers
from services.sandbox.openai.responses import Responses

_encode = msgspec.json.Encoder().encode

_ECHOED = (
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "reasoning",
    "safety_identifier",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
)
"""What an answer repeats of its request."""

_DEFAULTS: dict[str, Any] = {
    "background": False,
    "error": None,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "service_tier": "default",
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}


def respond(
    body: Responses, raw: bytes | msgspec.Raw, name: str, created: int, *, reasons: bool
) -> dict[str, Any]:
    """The Response to a request; `reasons`: of a model that thinks before it answers."""
    question = body.question
    print_ = answers.fingerprint(body.model, question)
    base = f"{print_}{name}"
    output: list[dict[str, Any]] = []
    if reasons:
        output.append({"id": f"rs_{base}", "type": "reasoning", "summary": []})
    tool, cut = body.forced_tool(), False
    if tool is not None:
        output.append(
            {
                "id": f"fc_{base}",
                "type": "function_call",
                "status": "completed",
                "call_id": f"call_{base}",
                "name": tool.name,
                "arguments": _encode(answers.example_object(tool.parameters, question)).decode(),
            }
        )
    else:
        text, cut = answers.compose(print_, question, body.max_output_tokens)
        if not (cut and reasons):
            output.append(_message(base, text if cut else _as_json(body, text), cut))
    asked, given = body.measure(question)
    return {
        **_DEFAULTS,
        **_echo(raw),
        "id": f"resp_{base}",
        "object": "response",
        "created_at": created,
        "completed_at": None if cut else created,
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "model": body.model,
        "output": output,
        "usage": {
            "input_tokens": asked,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": given,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": asked + given,
        },
    }


def _message(base: str, text: str, cut: bool) -> dict[str, Any]:
    return {
        "id": f"msg_{base}",
        "type": "message",
        "status": "incomplete" if cut else "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}],
    }


def _as_json(body: Responses, text: str) -> str:
    wanted = body.text.format if body.text else None
    if wanted is None or wanted.type == "text":
        return text
    if wanted.type == "json_object":
        return _encode({"answer": text}).decode()
    return _encode(answers.example_of(wanted.schema, text)).decode()


def _echo(raw: bytes | msgspec.Raw) -> dict[str, Any]:
    asked = msgspec.json.decode(raw)
    echo = {key: asked[key] for key in _ECHOED if asked.get(key) is not None}
    if "text" in echo:
        echo["text"] = {**_DEFAULTS["text"], **echo["text"]}
    for tool in echo.get("tools", ()):
        if tool["type"] == "function":
            # As the API does: strict unless told otherwise.
            tool.setdefault("strict", True)
            tool.setdefault("parameters", None)
    return echo
