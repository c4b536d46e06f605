"""The HTTP API: OpenAI's SDK beside our own gRPC client, and memory under many uploads."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from statistics import median

import openai

from benchmarks.figures import Figure, MeasurementFailed
from benchmarks.inputs import write_input
from benchmarks.machine import peak_memory
from benchmarks.options import Options
from benchmarks.suite import Suite, running_suite
from benchmarks.upload import LINE_BYTES, timed

RATIO = 1.5
AT_ONCE = 20
MOST = 120e6


async def measure(options: Options) -> list[Figure]:
    """Upload the same file both ways by turns; then many at a time over HTTP."""
    path = options.folder / "web.jsonl"
    write_input(path, lines=options.lines, line_bytes=LINE_BYTES)
    size = path.stat().st_size
    over_http: list[float] = []
    over_grpc: list[float] = []
    async with (
        running_suite(options.folder / "web") as suite,
        suite.client() as client,
        openai.AsyncOpenAI(base_url=f"{suite.web}/v1", api_key=suite.api_key) as sdk,
    ):
        # The first of each connects, fills caches, and is not counted.
        for number in range(1 + options.rounds):
            seconds, file = await timed(client, path)
            await client.files.delete(file.id)
            http_seconds = await asyncio.to_thread(uploaded, suite, path)
            if number:
                over_grpc.append(seconds)
                over_http.append(http_seconds)
        alone = peak_memory(suite.pids["web"])
        files = await asyncio.gather(
            *(sdk.files.create(file=path, purpose="batch") for _ in range(AT_ONCE))
        )
        if {file.bytes for file in files} != {size}:
            raise MeasurementFailed("an upload was cut short")
        many = peak_memory(suite.pids["web"])
    return [
        Figure(
            f"upload of {size / 1e6:.0f} MB by OpenAI's SDK",
            median(over_http),
            "s",
            limit=RATIO * median(over_grpc),
            basis=f"{RATIO:g} times the gRPC client's {median(over_grpc):.2f} s "
            f"(medians of {options.rounds})",
        ),
        Figure(
            f"memory of web with {AT_ONCE} such uploads at a time",
            many / 1e6,
            "MB",
            limit=MOST / 1e6,
            basis=f"for any; {alone / 1e6:.0f} MB with one",
        ),
    ]


def uploaded(suite: Suite, path: Path) -> float:
    """Seconds that OpenAI's SDK takes, as most programs use it."""
    with openai.OpenAI(base_url=f"{suite.web}/v1", api_key=suite.api_key) as sdk:
        with path.open("rb") as content:
            begun = time.perf_counter()
            file = sdk.files.create(file=content, purpose="batch")
            seconds = time.perf_counter() - begun
        if file.bytes != path.stat().st_size:
            raise MeasurementFailed(f"{file.bytes} bytes came")
        sdk.files.delete(file.id)
    return seconds
