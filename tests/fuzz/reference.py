"""Which lines of a file are valid, by the json module: slow, simple, and nobody's idea of fast.

Says nothing of duplicates, and knows no provider's own check.
"""

from __future__ import annotations

import json
from typing import Any

from core.batchfile.bodies import MAX_MODEL
from core.batchfile.schema import MAX_CUSTOM_ID
from core.endpoints import CHAT_COMPLETIONS, EMBEDDINGS

PROVIDERS = {
    "openai": frozenset({CHAT_COMPLETIONS, EMBEDDINGS}),
    "anthropic": frozenset({CHAT_COMPLETIONS}),
}


def valid_lines(content: bytes, *, max_line_bytes: int, max_depth: int) -> list[int]:
    """1-based numbers of the lines that are valid."""
    found: list[int] = []
    endpoint = ""
    for number, piece in enumerate(content.split(b"\n"), 1):
        raw = piece.removesuffix(b"\r")
        if len(raw) > max_line_bytes:
            continue
        if number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        url = url_of_valid(raw, max_depth)
        if url and url == (endpoint or url):
            endpoint = url
            found.append(number)
    return found


def url_of_valid(raw: bytes, max_depth: int) -> str:
    """The url of a line that is valid for itself; empty for any other."""
    try:
        line: Any = json.loads(raw.decode(), parse_constant=refuse)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(line, dict) or depth_of(line) > max_depth:
        return ""
    body, url, provider = line.get("body"), line.get("url"), line.get("provider")
    if not is_text(line.get("custom_id"), MAX_CUSTOM_ID) or line.get("method") != "POST":
        return ""
    if url not in (CHAT_COMPLETIONS, EMBEDDINGS) or not isinstance(body, dict):
        return ""
    model = body.get("model")
    if not is_text(model, MAX_MODEL) or not model.isprintable():
        return ""
    prefix, slash, name = model.partition("/")
    if slash and prefix in PROVIDERS:
        if not name or provider not in (None, prefix):
            return ""
        provider = prefix
    if not isinstance(provider, str) or url not in PROVIDERS.get(provider, ()):
        return ""
    if body.get("stream") not in (None, False) or isinstance(body.get("stream"), (int, float)) > (
        body.get("stream") is False
    ):
        return ""
    fits = is_messages(body.get("messages")) if url == CHAT_COMPLETIONS else is_input(body)
    return url if fits else ""


def refuse(text: str) -> None:
    raise ValueError(text)


def depth_of(value: Any) -> int:
    depth, layer = 0, [value]
    while layer := [each for each in layer if isinstance(each, (dict, list))]:
        depth += 1
        layer = [
            inner for each in layer for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return depth


def is_text(value: Any, limit: int) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= limit


def is_messages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) for each in value)


def is_input(body: dict[str, Any]) -> bool:
    value = body.get("input")
    if isinstance(value, str):
        return bool(value)
    if not isinstance(value, list) or not value:
        return False
    return (
        all(isinstance(each, str) and each for each in value)
        or all(map(is_token, value))
        or all(isinstance(each, list) and each and all(map(is_token, each)) for each in value)
    )


def is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
