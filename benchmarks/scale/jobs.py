"""Batches from the upload to their results, with proof that no line was lost or paid twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

from polybatch import AsyncClient, BatchState

from benchmarks.figures import MeasurementFailed
from benchmarks.inputs import URL
from benchmarks.scale.setups import DIRECT, Setup


class LinesLost(MeasurementFailed):
    """A line is missing, doubled or failed, or was paid for twice."""


async def run_all(client: AsyncClient, paths: Sequence[Path], lines: int) -> list[str]:
    """Submit files of so many lines each at the same time, and wait for the end of all.

    Returns the batches. Raises LinesLost.
    """

    async def run(path: Path) -> str:
        batch = await client.submit(path)
        ended = await client.wait(batch.id, timeout=900.0)
        counts = ended.request_counts
        if ended.state is not BatchState.COMPLETED or counts.succeeded != lines:
            raise LinesLost(f"{batch.id} ended as {ended.state}: {counts}")
        return batch.id

    return list(await asyncio.gather(*map(run, paths)))


async def check_results(client: AsyncClient, batch_id: str, lines: int) -> None:
    """See that each line of a file of `benchmarks.inputs` has its answer, in order."""
    expected = 0
    async for found in client.results(batch_id):
        expected += 1
        if not found.ok or int(found.custom_id.rpartition("-")[2]) != expected:
            raise LinesLost(f"{batch_id}: {found.custom_id} in the place of line {expected}")
    if expected != lines:
        raise LinesLost(f"{batch_id} has {expected} results of {lines} lines")


async def check_bill(setup: Setup, lines: int) -> None:
    """See that the sandbox billed each line once."""
    billed = await asyncio.to_thread(lambda: setup.stands.lines_billed)
    if billed != lines:
        raise LinesLost(f"{billed} lines were paid for {lines} that were sent")


def write_direct(path: Path, *, lines: int) -> None:
    """Write a file for the provider without batches."""
    with path.open("w", encoding="ascii") as out:
        for number in range(1, lines + 1):
            request = {
                "custom_id": f"request-{number:08d}",
                "provider": DIRECT,
                "method": "POST",
                "url": URL,
                "body": {
                    "model": f"{DIRECT}/llama3.2:3b",
                    "messages": [{"role": "user", "content": f"question {number}"}],
                },
            }
            out.write(json.dumps(request) + "\n")
