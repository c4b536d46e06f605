"""Throughput as replicas grow: of a load bound by this machine's cores, which cannot grow, and
of one bound by a provider's answers, which does."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from benchmarks.inputs import write_input
from benchmarks.scale.compared import Compared
from benchmarks.scale.jobs import check_bill, check_results, run_all, write_direct
from benchmarks.scale.options import Options
from benchmarks.scale.setups import DIRECT_CALLS, EMBEDDED, Replicas, Setup, Stands

GROWING = (Replicas(1, 1, 1), Replicas(2, 2, 2), Replicas(2, 3, 3))
_BATCHES = 8
_LINE_BYTES = 400
_DIRECT_BATCHES = 6
_CALL_SECONDS = 0.5


async def measure(stands: Stands, options: Options) -> list[Compared]:
    """Lines a second of each setup, for each load."""
    embedded = await _rates(stands, EMBEDDED, options)
    figures = []
    for replicas in GROWING:
        rates = await _rates(stands, replicas, options)
        notes = (
            f"{_BATCHES} batches of {options.lines} lines at once; bound by the cores",
            f"calls of {_CALL_SECONDS:g} s, {DIRECT_CALLS} at a time for each dispatcher: at most "
            f"{replicas.dispatchers * DIRECT_CALLS / _CALL_SECONDS:.0f} lines/s",
        )
        for name, rate, beside, note in zip(
            ("throughput, batches", "throughput, single calls"),
            rates,
            embedded,
            notes,
            strict=True,
        ):
            figures.append(Compared(name, str(replicas), rate, beside, "lines/s", note))
    return figures


async def _rates(stands: Stands, replicas: Replicas, options: Options) -> tuple[float, float]:
    batches = [options.folder / f"throughput-{number}.jsonl" for number in range(_BATCHES)]
    for path in batches:
        write_input(path, lines=options.lines, line_bytes=_LINE_BYTES)
    direct = [options.folder / f"direct-{number}.jsonl" for number in range(_DIRECT_BATCHES)]
    for path in direct:
        write_direct(path, lines=options.calls // _DIRECT_BATCHES)
    async with stands.running(replicas) as setup:
        # Imports and connections are not what is measured.
        await _rate(setup, direct[:1], options.calls // _DIRECT_BATCHES)
        by_batches = await _rate(setup, batches, options.lines)
        await asyncio.to_thread(
            stands.set_sandbox, "/sandbox/config", {"call_seconds": _CALL_SECONDS}
        )
        return by_batches, await _rate(setup, direct, options.calls // _DIRECT_BATCHES)


async def _rate(setup: Setup, paths: list[Path], lines: int) -> float:
    """Lines a second from the first byte of an upload to the end of the last batch."""
    before = await asyncio.to_thread(lambda: setup.stands.lines_billed)
    async with setup.suite.client() as client:
        begun = time.monotonic()
        batches = await run_all(client, paths, lines)
        seconds = time.monotonic() - begun
        for batch_id in batches:
            await check_results(client, batch_id, lines)
    await check_bill(setup, before + lines * len(paths))
    return lines * len(paths) / seconds
