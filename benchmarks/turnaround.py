"""Turnaround: from an upload's last byte to COMPLETED, against the JSON work alone."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from polybatch import AsyncClient, BatchState

from benchmarks.figures import Figure, MeasurementFailed
from benchmarks.inputs import write_input
from benchmarks.options import Options
from benchmarks.program import answer_line, program
from benchmarks.suite import running_suite
from services.supervisor.plan import PLACEHOLDER_KEY

LINE_BYTES = 400
TIMES = 3.0
_HEADERS = {
    "authorization": f"Bearer {PLACEHOLDER_KEY}",
    "x-api-key": PLACEHOLDER_KEY,
    "anthropic-version": "2023-06-01",
}


async def measure(options: Options) -> list[Figure]:
    """Run the job and the JSON work by turns, on the same file and the same answers."""
    path = options.folder / "turnaround.jsonl"
    write_input(path, lines=options.lines, line_bytes=LINE_BYTES)
    answers = options.folder / "answers"
    answers.mkdir()
    jobs: list[float] = []
    works: list[float] = []
    async with running_suite(options.folder / "turnaround") as suite, suite.client() as client:
        # Connects and warms up; its answers are the ones that the JSON work gets.
        await job(client, path, options.lines)
        await asyncio.to_thread(save_answers, suite.sandbox, answers)
        for _ in range(options.rounds):
            jobs.append(await job(client, path, options.lines))
            results = options.folder / "json-work.jsonl"
            async with program(
                "benchmarks.json_work", str(path), str(answers), str(results)
            ) as worker:
                works.append(float(await answer_line(worker, 120.0)))
    return [
        Figure(
            f"turnaround of {options.lines} lines",
            median(jobs),
            "s",
            limit=TIMES * median(works),
            basis=f"{TIMES:g} times the JSON work's {median(works):.2f} s (medians of "
            f"{options.rounds}; job {min(jobs):.2f} to {max(jobs):.2f}, "
            f"JSON {min(works):.2f} to {max(works):.2f})",
        )
    ]


async def job(client: AsyncClient, path: Path, lines: int) -> float:
    """Seconds from the last byte sent to the COMPLETED that a watcher sees."""
    last_byte = time.perf_counter()

    def progress(sent: int, total: int | None) -> None:
        nonlocal last_byte
        # All of it is told once the service has confirmed it, which is late: what comes right
        # before the last chunk is a few milliseconds early.
        if sent != total:
            last_byte = time.perf_counter()

    batch = await client.submit(path, progress=progress)
    async for seen in client.watch(batch.id, timeout=120.0):
        batch = seen
    seconds = time.perf_counter() - last_byte
    if batch.state is not BatchState.COMPLETED or batch.request_counts.succeeded != lines:
        raise MeasurementFailed(f"the batch ended as {batch.state}: {batch.request_counts}")
    return seconds


def save_answers(sandbox: str, folder: Path) -> None:
    """Save what the sandbox answered so far: openai.jsonl and anthropic.jsonl."""
    with (folder / "openai.jsonl").open("wb") as out:
        for batch in _json(f"{sandbox}/v1/batches?limit=100")["data"]:
            out.writelines(_chunks(f"{sandbox}/v1/files/{batch['output_file_id']}/content"))
    with (folder / "anthropic.jsonl").open("wb") as out:
        for batch in _json(f"{sandbox}/v1/messages/batches?limit=100")["data"]:
            out.writelines(_chunks(f"{sandbox}/v1/messages/batches/{batch['id']}/results"))


def _json(url: str) -> Any:
    return json.loads(b"".join(_chunks(url)))


def _chunks(url: str) -> Iterator[bytes]:
    with urllib.request.urlopen(urllib.request.Request(url, headers=_HEADERS)) as answer:
        while chunk := answer.read(1 << 20):
            yield chunk
