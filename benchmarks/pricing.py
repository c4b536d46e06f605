"""What it takes to price a line, as the collector does it, beside decoding its JSON."""

from __future__ import annotations

import json
import os
import time
from array import array
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import msgspec

from benchmarks.figures import Figure
from benchmarks.options import Options
from core.pipeline import PricedModel
from core.prices.rates import Price, Processing
from core.prices.snapshot import read_snapshot
from core.prices.table import PriceTable
from core.prices.usage import Usage
from core.providers import ResultLine
from core.providers.anthropic.translation import read_line
from core.providers.openai.rows import read_row
from services.collector.tally import Tally

LINES = 1_000_000
_LIMIT = "the promise"
_KINDS = 1_000
"""Different lines that are priced again and again."""
_TEXT = "The collector prices what the provider has counted. " * 20


async def measure(_options: Options) -> list[Figure]:
    """Price a million lines, and see what they leave in memory."""
    return [
        *_figures("OpenAI", _price("openai", "gpt-5.4"), read_row, _openai_row),
        *_figures(
            "Anthropic",
            _price("anthropic", "claude-haiku-5-5"),
            lambda line: read_line(line, 0),
            _anthropic_row,
        ),
    ]


def _price(provider: str, model: str) -> Price:
    """As it is kept with a batch: the services price from that."""
    asked = (provider, model, Processing.BATCH)
    stored = PriceTable().snapshot([asked], date(2026, 11, 28)).encode()
    price = read_snapshot(stored).price(*asked)
    assert isinstance(price, Price)
    return price


def _figures(
    name: str, price: Price, read: Callable[[bytes], ResultLine], make: Callable[[int], object]
) -> list[Figure]:
    lines = [json.dumps(make(number)).encode() for number in range(_KINDS)]
    usages = [read(each).usage for each in lines]
    assert len(set(usages)) == _KINDS
    tally = Tally(array("H", bytes(2 * _KINDS)), {0: PricedModel(price.model, price)})
    _reckon(tally, usages)
    before = _resident()
    reckoned = _microseconds(lambda: _reckon(tally, usages))
    grown = _resident() - before
    decoding = _microseconds(lambda: [msgspec.json.decode(each) for each in lines])
    reading = _microseconds(lambda: [read(each) for each in lines])
    size = sum(map(len, lines)) // _KINDS
    return [
        Figure(f"pricing a line, {name}", reckoned, "us", limit=2.0, basis=_LIMIT),
        Figure(f"decoding the JSON of the same lines, {size} bytes, {name}", decoding, "us"),
        Figure(f"reading them as result lines, {name}", reading, "us"),
        Figure(f"memory after {LINES} priced lines, {name}", grown, "MiB", 1.0, basis=_LIMIT),
    ]


def _reckon(tally: Tally, usages: Sequence[Usage]) -> None:
    for position, usage in enumerate(usages):
        tally.add(position, usage, answered=True)


def _microseconds(work: Callable[[], object]) -> float:
    """For one line, of a million."""
    begun = time.process_time()
    for _ in range(LINES // _KINDS):
        work()
    return (time.process_time() - begun) / LINES * 1e6


def _resident() -> float:
    """MiB of this process, now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _openai_row(number: int) -> object:
    usage = {
        "prompt_tokens": 1_000 + number * 300,
        "completion_tokens": 300,
        "prompt_tokens_details": {"cached_tokens": 500 + number},
        "completion_tokens_details": {"reasoning_tokens": 100},
    }
    message = {"role": "assistant", "content": _TEXT, "refusal": None}
    body = {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "model": "gpt-5.4",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": usage,
    }
    response = {"status_code": 200, "request_id": "", "body": body}
    return {"id": "b", "custom_id": f"s-t-{number}", "response": response, "error": None}


def _anthropic_row(number: int) -> object:
    usage = {
        "input_tokens": 100 + number * 300,
        "cache_creation_input_tokens": 900,
        "cache_read_input_tokens": 4_000,
        "cache_creation": {"ephemeral_5m_input_tokens": 400, "ephemeral_1h_input_tokens": 500},
        "output_tokens": 300,
    }
    message = {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-5-5",
        "content": [{"type": "text", "text": _TEXT}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": usage,
    }
    return {"custom_id": f"s-t-{number}", "result": {"type": "succeeded", "message": message}}
