"""A thousand batches at the providers at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from polybatch import AsyncClient

from benchmarks.in_flight import LEAST, LINE_BYTES, LINES, Flight
from benchmarks.inputs import write_input
from benchmarks.scale.compared import Compared
from benchmarks.scale.jobs import check_bill, check_results
from benchmarks.scale.million import LARGEST
from benchmarks.scale.options import Options
from benchmarks.scale.setups import EMBEDDED, Replicas, Setup, Stands

_AT_ONCE = 32
_EMBEDDED_SHARE = 10


async def measure(stands: Stands, options: Options) -> list[Compared]:
    """Batches a second until all are in flight, and from the moment that all are done at the
    providers until all have ended. The embedded mode is given fewer: what is compared are rates."""
    fewer = max(1, options.batches // _EMBEDDED_SHARE)
    beside = await _run(stands, EMBEDDED, fewer, options)
    scaled = await _run(stands, LARGEST, options.batches, options)
    name = f"{options.batches:,} batches in flight"
    notes = (
        f"wanted: {LEAST:g}; {LINES} lines and 2 shards each; embedded: {fewer} batches",
        f"wanted: {LEAST:g}; all checked",
    )
    return [
        Compared(f"{name}, {what}", str(LARGEST), measured, embedded, "batches/s", note)
        for what, measured, embedded, note in zip(
            ("sent", "brought home"), scaled, beside, notes, strict=True
        )
    ]


async def _run(
    stands: Stands, replicas: Replicas, count: int, options: Options
) -> tuple[float, float]:
    path = options.folder / "in-flight.jsonl"
    write_input(path, lines=LINES, line_bytes=LINE_BYTES)
    async with stands.running(replicas) as setup, setup.suite.client() as client:
        flight = Flight(client, path.read_bytes(), count, LINES)
        rates = await flight.rates(partial(_sandbox_takes, setup))
        await _check(client, list(flight.batches))
        await check_bill(setup, count * LINES)
    return rates


def _sandbox_takes(setup: Setup, seconds: float) -> None:
    setup.stands.set_sandbox("/sandbox/config", {"batch_seconds": seconds})


async def _check(client: AsyncClient, batch_ids: Sequence[str]) -> None:
    left = iter(batch_ids)

    async def some() -> None:
        for batch_id in left:
            await check_results(client, batch_id, LINES)

    await asyncio.gather(*(some() for _ in range(_AT_ONCE)))
