"""Input files: chat completions, every other line for OpenAI and for Anthropic."""

from __future__ import annotations

import json
from pathlib import Path

MODELS = {"openai": "openai/gpt-4.1", "anthropic": "anthropic/claude-4.6-sonnet"}
URL = "/v1/chat/completions"
_TEXT = (
    "Summarise the customer's complaint in two sentences, name the product that it is about, "
    "and say whether the tone is polite, neutral or angry. Quote nothing. The complaint: "
)


def write_input(path: Path, *, lines: int, line_bytes: int) -> None:
    """Write a file of so many lines of exactly so many bytes, newlines included."""
    text = _TEXT * (line_bytes // len(_TEXT) + 2)
    with path.open("w", encoding="ascii") as out:
        for number in range(1, lines + 1):
            head = line(number, "")
            missing = line_bytes - len(head) - 1
            if missing < 1:
                raise ValueError(f"a line has {len(head) + 1} bytes at least")
            start = number % len(_TEXT)
            out.write(line(number, text[start : start + missing]) + "\n")


def provider_of(number: int) -> str:
    """The provider of the line of a number (1-based)."""
    return "openai" if number % 2 else "anthropic"


def line(number: int, content: str) -> str:
    """The line of a number (1-based)."""
    provider = provider_of(number)
    return json.dumps(
        {
            "custom_id": f"request-{number:08d}",
            "provider": provider,
            "method": "POST",
            "url": URL,
            "body": {
                "model": MODELS[provider],
                "messages": [{"role": "user", "content": content}],
                "max_completion_tokens": 200,
            },
        }
    )
