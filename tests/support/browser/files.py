"""What is uploaded in the stories: good lines, bad lines, and lines that fail on purpose."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

HOSTILE = "<img src=x onerror=alert(1)>"
SCRIPT = "<script>alert(1)</script>"
REFUSED = "[[sandbox:error=invalid]]"
MODELS = ("openai/gpt-4.1-mini", "anthropic/claude-haiku-4-5", "gemini/gemini-2.5-flash")
QUESTIONS = (
    "The invoice of October lists the licence twice. What should I answer?",
    "Summarise this ticket in one sentence: the export stops at 65,536 rows.",
    "Which team owns this: 'Password reset mails arrive a day late'?",
)


def ticket(number: int, text: str = "") -> dict[str, Any]:
    """One line, for one of three providers."""
    return {
        "custom_id": f"ticket-{4100 + number}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "model": MODELS[number % 3],
            "messages": [{"role": "user", "content": text or QUESTIONS[number % 3]}],
            "max_tokens": 200,
        },
    }


def good_file(count: int, texts: Mapping[int, str]) -> bytes:
    """So many lines; `texts`: what some of them ask, by number from 0."""
    lines = (ticket(number, texts.get(number, "")) for number in range(count))
    return "".join(f"{json.dumps(each)}\n" for each in lines).encode()


def bad_file() -> bytes:
    """41 lines, of which four cannot be sent."""
    lines: list[dict[str, Any]] = [ticket(number) for number in range(40)]
    del lines[11]["body"]["model"]
    lines[23]["custom_id"] = lines[22]["custom_id"]
    lines[31]["body"]["max_tokens"] = "many"
    return "".join(json.dumps(each) + "\n" for each in lines).encode() + b"{not json\n"


def large_file(size: int) -> Iterator[bytes]:
    """About so many bytes, in pieces; the first line lacks its model."""
    first = ticket(0)
    del first["body"]["model"]
    yield json.dumps(first).encode() + b"\n"
    made, number = 0, 0
    while made < size:
        piece = bytearray()
        while len(piece) < 1 << 20:
            number += 1
            piece += json.dumps(ticket(number, "word " * 800)).encode() + b"\n"
        made += len(piece)
        yield bytes(piece)
