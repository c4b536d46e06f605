"""Answers that nobody should believe as they are, made of good ones.

Providers and gateways have been seen to give each of them with a good status: an empty object,
no choices, null, no content, an error, an end for a reason of their own. Each function takes the
row of a good answer and gives the same row as it would be then.
"""

from __future__ import annotations

from typing import Any

import msgspec

from services.sandbox.plan import Fate, marked_reason

_CATEGORY = "bio"
_WHY = "The sandbox was asked to refuse."
_MALFORMED = "Malformed function call: print(sandbox.answer("


def openai_row(row: object, fate: Fate, line: bytes) -> dict[str, Any]:
    """A row of OpenAI's output file."""
    made = _plain(row)
    response, body = made["response"], made["response"]["body"]
    items = body.get("choices", body.get("data"))
    match fate:
        case Fate.EMPTY | Fate.NULL:
            response["body"] = {} if fate is Fate.EMPTY else None
        case Fate.NO_CHOICES:
            items.clear()
        case Fate.NO_CONTENT:
            for item in items:
                item |= _without_content(item, "stop")
        case Fate.FINISH:
            for item in items:
                item |= _without_content(item, marked_reason(line, "error"))
        case Fate.REFUSAL:
            for item in items:
                item |= _without_content(item, "stop", refusal=_WHY)
        case Fate.NO_STATUS:
            del response["status_code"]
        case Fate.ERROR_BODY:
            response["body"] = {"error": {"message": _WHY, "code": "invalid_prompt"}}
        case Fate.RATE_LIMIT_BODY:
            response["body"] = {"error": {"message": "Rate limited upstream.", "code": 429}}
    return made


def _without_content(item: dict[str, Any], reason: str, **more: Any) -> dict[str, Any]:
    if "embedding" in item:
        return {"embedding": []}
    return {"message": item["message"] | {"content": None} | more, "finish_reason": reason}


def anthropic_line(row: object, fate: Fate, line: bytes) -> dict[str, Any]:
    """A line of Anthropic's results."""
    made = _plain(row)
    result = made["result"]
    message = result["message"]
    match fate:
        case Fate.EMPTY | Fate.NULL:
            result["message"] = {} if fate is Fate.EMPTY else None
        case Fate.NO_CHOICES:
            message["content"] = None
        case Fate.NO_CONTENT:
            message |= {"content": [], "stop_reason": "tool_use"}
        case Fate.FINISH:
            message |= {"content": [], "stop_reason": marked_reason(line, "of_tomorrow")}
        case Fate.REFUSAL:
            details = {"type": "refusal", "category": _CATEGORY, "explanation": _WHY}
            message |= {"content": [], "stop_reason": "refusal", "stop_details": details}
        case Fate.ERROR_BODY | Fate.RATE_LIMIT_BODY:
            passing = fate is Fate.RATE_LIMIT_BODY
            kind = "rate_limit_error" if passing else "invalid_request_error"
            result["message"] = {"type": "error", "error": {"type": kind, "message": _WHY}}
    return made


def gemini_line(row: object, fate: Fate, line: bytes) -> dict[str, Any]:
    """A line of the file with Gemini's responses."""
    made = _plain(row)
    response = made["response"]
    match fate:
        case Fate.EMPTY | Fate.NULL:
            made["response"] = {} if fate is Fate.EMPTY else None
        case Fate.NO_CHOICES:
            response["candidates"] = []
        case Fate.NO_CONTENT:
            response["candidates"] = [{"finishReason": "STOP", "index": 0}]
        case Fate.FINISH | Fate.REFUSAL:
            usual = "MALFORMED_FUNCTION_CALL" if fate is Fate.FINISH else "SAFETY"
            message = _MALFORMED if fate is Fate.FINISH else _WHY
            reason = marked_reason(line, usual)
            ended = {"finishReason": reason, "finishMessage": message, "index": 0}
            response["candidates"] = [ended]
        case Fate.ERROR_BODY:
            error = {"code": 400, "message": _WHY, "status": "INVALID_ARGUMENT"}
            made["response"] = {"error": error}
        case Fate.RATE_LIMIT_BODY:
            error = {"code": 429, "message": "Rate limited.", "status": "RESOURCE_EXHAUSTED"}
            made["response"] = {"error": error}
    return made


def _plain(row: object) -> dict[str, Any]:
    made: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(row))
    return made
