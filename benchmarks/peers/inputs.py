"""Input files in OpenAI's form, which every peer takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MODEL = "gpt-4.1"
_TEXT = (
    "Summarise the customer's complaint in two sentences, name the product that it is about, "
    "and say whether the tone is polite, neutral or angry. Quote nothing. The complaint: "
)


def write_lines(
    path: Path, lines: int, *, line_bytes: int = 0, special: Mapping[int, str] | None = None
) -> None:
    """Write so many lines.

    `line_bytes`: the length of each, newline included; 0: as it comes. `special`: what
    stands in the place of the lines with these numbers (1-based).
    """
    longer = _TEXT * (line_bytes // len(_TEXT) + 1)
    with path.open("w", encoding="ascii") as out:
        for number in range(1, lines + 1):
            text = (special or {}).get(number)
            if text is None:
                text = line(number)
                text = line(number, longer[: max(0, line_bytes - len(text) - 1)])
            out.write(f"{text}\n")


def line(number: int, more: str = "", **body: Any) -> str:
    """The line of a number, with more in its message and its body."""
    return json.dumps(
        {
            "custom_id": custom_id(number),
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {
                "model": MODEL,
                "messages": [{"role": "user", "content": f"{number}: {_TEXT}{more}"}],
                "max_completion_tokens": 200,
                **body,
            },
        }
    )


def custom_id(number: int) -> str:
    """That of the line of a number."""
    return f"request-{number:08d}"
