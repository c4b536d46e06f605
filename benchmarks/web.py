"""The HTTP API: OpenAI's SDK beside our own gRPC client, and memory under many uploads."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median

import httpx2
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
_START_SECONDS = 60.0
_ASK_SECONDS = 0.1


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
        own_replica(suite) as (address, pid),
        openai.AsyncOpenAI(base_url=f"{address}/v1", api_key=suite.api_key) as sdk,
    ):
        # The first of each connects, fills caches, and is not counted.
        for number in range(1 + options.rounds):
            seconds, file = await timed(client, path)
            await client.files.delete(file.id)
            http_seconds = await asyncio.to_thread(uploaded, suite, path)
            if number:
                over_grpc.append(seconds)
                over_http.append(http_seconds)
        await sdk.files.create(file=path, purpose="batch")
        alone = peak_memory(pid)
        files = await asyncio.gather(
            *(sdk.files.create(file=path, purpose="batch") for _ in range(AT_ONCE))
        )
        if {file.bytes for file in files} != {size}:
            raise MeasurementFailed("an upload was cut short")
        many = peak_memory(pid)
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


@asynccontextmanager
async def own_replica(suite: Suite) -> AsyncIterator[tuple[str, int]]:
    """The address and process of one more web service, as a container of its own runs it.

    That of the suite is forked from a process which holds what all services import: those pages
    are shared, and yet count as each one's own.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        listen = "{}:{}".format(*free.getsockname())
    environment = os.environ | {
        "POLYBATCH_GATEWAY": suite.gateway,
        "POLYBATCH_COLLECTOR": suite.collector,
        "POLYBATCH_WEB_LISTEN": listen,
        "POLYBATCH_WEB_METRICS_LISTEN": "",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.web", env=environment, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(_START_SECONDS):
            await until_healthy(f"http://{listen}")
        yield f"http://{listen}", process.pid
    finally:
        process.terminate()
        await process.wait()


async def until_healthy(address: str) -> None:
    """Ask until it answers that all is well."""
    async with httpx2.AsyncClient(base_url=address) as client:
        while True:
            try:
                if (await client.get("/healthz")).status_code == 200:
                    return
            except httpx2.TransportError:
                # It does not listen yet.
                pass
            await asyncio.sleep(_ASK_SECONDS)


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
