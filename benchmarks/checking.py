"""Checking: what a line costs in this thread, by its length and by what it asks for."""

from __future__ import annotations

import asyncio
import json
import time
import tracemalloc
from functools import partial
from statistics import median
from typing import Any

from pydantic import SecretStr

from benchmarks.figures import Figure, MeasurementFailed
from benchmarks.inputs import MODELS, URL, line
from benchmarks.options import Options
from core.batchfile import LineScanner, Rules
from core.providers import known_providers
from core.providers.anthropic.translation import translate_request
from core.providers.catalogue import find_model
from core.settings import ProviderAccess, Settings
from services.gateway.checks import upload_rules

LINES = 10_000
LONG = 4096
"""Bytes of a long line."""
MOST_FOR_A_MB = 1.0
"""Milliseconds, of long lines."""
MOST_FOR_A_LINE = 10.0
"""Microseconds."""
CHUNK = 1024 * 1024
LARGEST = 16e6
OWN = 1000
"""Lines, each with tools of its own: more than are remembered, and larger than most."""

_TEXT = "Say in two sentences what the customer complains of, and how polite the tone is. " * 3
_PLACE = {
    "type": "object",
    "properties": {
        "place": {"type": "string", "description": "The name of the city."},
        "unit": {"type": "string", "enum": ["C", "F"]},
        "days": {"type": "integer"},
    },
    "required": ["place", "unit", "days"],
    "additionalProperties": False,
}
_OPEN = {key: value for key, value in _PLACE.items() if key != "additionalProperties"}


def _tools(*names: str, about: str = "The weather.") -> dict[str, Any]:
    functions = [
        {"name": name, "description": about, "parameters": _PLACE, "strict": True} for name in names
    ]
    return {"tools": [{"type": "function", "function": function} for function in functions]}


def _schema(schema: dict[str, Any]) -> dict[str, Any]:
    described = {"name": "weather", "schema": schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": described}}


KINDS = {
    "a temperature": {"temperature": 0.3},
    "tools": _tools("now", "tomorrow"),
    "a schema": _schema(_PLACE),
    "a schema that is changed": _schema(_OPEN),
}


_LONG_LINES = f"lines of {LONG} bytes"
_OWN_TOOLS = {
    "temperature": 0.3,
    "tools": [{"name": "now", "description": "The weather.", "input_schema": _PLACE}],
}


async def measure(options: Options) -> list[Figure]:
    """Check files of each kind by turns; then translate lines that have nothing in common."""
    return await asyncio.to_thread(_measure, options)


def _measure(options: Options) -> list[Figure]:
    nobody = SecretStr("none")
    known = known_providers(
        ProviderAccess(anthropic_api_key=nobody, openai_api_key=nobody), Settings()
    )
    rules = upload_rules(known)
    files = {"": _file({}), _LONG_LINES: _long_file()}
    files |= {f"a line with {kind}": _file(more) for kind, more in KINDS.items()}
    files |= {
        "Claude's own line": _native_file({}),
        "Claude's own line with tools": _native_file(_OWN_TOOLS),
    }
    taken: dict[str, list[float]] = {kind: [] for kind in files}
    for number in range(1 + options.rounds):
        for kind, content in files.items():
            seconds = _checked(content, rules)
            if number:
                taken[kind].append(seconds)
    plain = median(taken.pop(""))
    long = median(taken.pop(_LONG_LINES))
    figures = [
        Figure(
            f"check of {_LONG_LINES}",
            long / len(files[_LONG_LINES]) * 1e9,
            "ms/MB",
            limit=MOST_FOR_A_MB,
            basis=f"{LINES} lines; the first thousand are looked at twice",
        ),
        *(
            Figure(
                f"check of {kind}",
                median(seconds) / LINES * 1e6,
                "us",
                limit=MOST_FOR_A_LINE,
                basis=f"a plain one takes {plain / LINES * 1e6:.1f} us",
            )
            for kind, seconds in taken.items()
        ),
    ]
    figures.append(
        Figure(
            f"memory that translation keeps of {OWN} sets of tools",
            _kept() / 1e6,
            "MB",
            limit=LARGEST / 1e6,
            basis="64 sets of 64 KB at most, with what was made of them and of their schemas",
        )
    )
    return figures


def _file(more: dict[str, Any]) -> bytes:
    body = {
        "model": MODELS["anthropic"],
        "messages": [{"role": "user", "content": _TEXT}],
        "max_completion_tokens": 200,
    }
    rest = {"provider": "anthropic", "method": "POST", "url": URL, "body": body | more}
    return b"".join(
        json.dumps({"custom_id": f"request-{number:08d}", **rest}).encode() + b"\n"
        for number in range(LINES)
    )


def _native_file(more: dict[str, Any]) -> bytes:
    body = {
        "model": MODELS["anthropic"].removeprefix("anthropic/"),
        "messages": [{"role": "user", "content": _TEXT}],
        "max_tokens": 200,
    }
    return b"".join(
        json.dumps({"custom_id": f"request-{number:08d}", "params": body | more}).encode() + b"\n"
        for number in range(LINES)
    )


def _long_file() -> bytes:
    text = _TEXT * (LONG // len(_TEXT) + 1)
    head = len(line(1, "")) + 1
    return b"".join(line(number, text[: LONG - head]).encode() + b"\n" for number in range(LINES))


def _checked(content: bytes, rules: Rules) -> float:
    """Seconds of this thread."""
    scanner = LineScanner(rules, max_line_bytes=CHUNK, max_lines=LINES)
    begun = time.thread_time()
    for start in range(0, len(content), CHUNK):
        for scanned in scanner.feed(content[start : start + CHUNK]):
            if scanned.problems:
                raise MeasurementFailed(f"a line was refused: {scanned.problems[0].message}")
    _, summary = scanner.finish()
    seconds = time.thread_time() - begun
    if summary.line_count != LINES:
        raise MeasurementFailed(f"the check found {summary.line_count} lines")
    return seconds


def _own_tools(number: int) -> dict[str, Any]:
    names = [f"tool_{number}_{each}" for each in range(20)]
    return _tools(*names, about=f"Tool of line {number}. " * 100)


def _kept() -> int:
    """Bytes that are held when all has been translated."""
    translate = partial(translate_request, find_model("anthropic", MODELS["anthropic"]))
    tracemalloc.start()
    try:
        for number in range(OWN):
            body = {
                "model": "m",
                "messages": [{"role": "user", "content": _TEXT}],
                "max_completion_tokens": 200,
            }
            translate(json.dumps(body | _own_tools(number)).encode())
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
