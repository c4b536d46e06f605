"""Input files for end-to-end tests, and the check that answers belong to their lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from polybatch import ResultLine

MODELS = (("openai", "openai/gpt-4.1"), ("anthropic", "anthropic/claude-4.6-sonnet"))


def chat(number: int, text: str | None = None, **extra: Any) -> dict[str, Any]:
    """A chat request; its question names its number."""
    provider, model = MODELS[number % 2]
    question = f"question {number}." if text is None else f"question {number}. {text}"
    return {
        "custom_id": f"line-{number}",
        "provider": provider,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "model": model,
            "messages": [{"role": "user", "content": question}],
            "max_tokens": 100,
            **extra,
        },
    }


def write(path: Path, lines: Iterable[dict[str, Any] | str]) -> Path:
    with path.open("w") as file:
        for line in lines:
            file.write((line if isinstance(line, str) else json.dumps(line)) + "\n")
    return path


def check_answers(lines: Iterable[ResultLine], numbers: Iterable[int]) -> Iterator[ResultLine]:
    """Yield result lines after checking that each answers its own question, in order."""
    for line, number in zip(lines, numbers, strict=True):
        assert line.custom_id == f"line-{number}"
        if line.ok:
            assert f"question {number}." in (line.text or ""), line.raw
        yield line
