"""What it takes to price a line: read its usage as the provider reports it, and reckon."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.options import Options
from core.prices.rates import Price, Processing
from core.prices.snapshot import read_snapshot
from core.prices.table import PriceTable
from core.prices.usage import Usage
from core.providers.anthropic import usage as anthropic
from core.providers.openai import usage as openai

LINES = 1_000_000
_LIMIT = "the issue's promise"
_KINDS = 1_000
"""Different usages that are priced again and again."""


async def measure(_options: Options) -> list[Figure]:
    """Price a million lines, and see what they leave in memory."""
    return [
        *_figures("OpenAI", _price("openai", "gpt-5.4"), openai.read_usage, _chat),
        *_figures(
            "Anthropic", _price("anthropic", "claude-haiku-5-5"), anthropic.read_usage, _message
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
    name: str, price: Price, read: Callable[[bytes], Usage], make: Callable[[int], object]
) -> list[Figure]:
    reported = [json.dumps(make(number)).encode() for number in range(_KINDS)]
    usages = [read(each) for each in reported]
    _reckon(price, usages)
    before = _resident()
    reckoned = _microseconds(lambda: _reckon(price, usages))
    grown = _resident() - before
    reading = _microseconds(lambda: [read(each) for each in reported])
    return [
        Figure(f"pricing a line, {name}", reckoned, "us", limit=2.0, basis=_LIMIT),
        Figure(f"memory after {LINES} priced lines, {name}", grown, "MiB", 1.0, basis=_LIMIT),
        Figure(f"reading a usage, {name}", reading, "us"),
    ]


def _reckon(price: Price, usages: Sequence[Usage]) -> None:
    for usage in usages:
        price.cost(usage)


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


def _chat(number: int) -> object:
    return {
        "prompt_tokens": 1_000 + number * 300,
        "completion_tokens": 300,
        "prompt_tokens_details": {"cached_tokens": 500 + number},
        "completion_tokens_details": {"reasoning_tokens": 100},
    }


def _message(number: int) -> object:
    return {
        "input_tokens": 100 + number * 300,
        "cache_creation_input_tokens": 900,
        "cache_read_input_tokens": 4_000,
        "cache_creation": {"ephemeral_5m_input_tokens": 400, "ephemeral_1h_input_tokens": 500},
        "output_tokens": 300,
    }
