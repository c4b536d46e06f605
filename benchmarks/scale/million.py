"""One batch of a million lines: its time, what it took of the processor, and the most memory that
any replica ever had."""

from __future__ import annotations

import time
from dataclasses import dataclass

from benchmarks.inputs import write_input
from benchmarks.machine import peak_memory, processor_seconds
from benchmarks.scale.compared import Compared
from benchmarks.scale.jobs import check_bill, check_results, run_all
from benchmarks.scale.options import Options
from benchmarks.scale.setups import EMBEDDED, Replicas, Stands

LARGEST = Replicas(2, 3, 3)
SERVICES = ("gateway", "dispatcher", "collector")
_LINE_BYTES = 400
_PROCESSOR_SECONDS = 40.0
"""Wanted at most for a million lines, of SERVICES together."""


async def measure(stands: Stands, options: Options) -> list[Compared]:
    """Seconds, processor seconds, and megabytes by service."""
    path = options.folder / "million.jsonl"
    write_input(path, lines=options.million, line_bytes=_LINE_BYTES)
    embedded = await _run(stands, EMBEDDED, options)
    scaled = await _run(stands, LARGEST, options)
    path.unlink()
    name = f"{options.million:,} lines"
    figures = [
        Compared(
            f"{name}, upload to the end",
            str(LARGEST),
            scaled.seconds,
            embedded.seconds,
            "s",
            f"{options.million / scaled.seconds:,.0f} lines/s, beside "
            f"{options.million / embedded.seconds:,.0f}",
        ),
        Compared(
            f"{name}, processor time of {', '.join(SERVICES)}, upload to results",
            str(LARGEST),
            sum(scaled.processor.values()),
            sum(embedded.processor.values()),
            "s",
            f"wanted: {_PROCESSOR_SECONDS * options.million / 1e6:g} s; embedded: "
            + ", ".join(f"{service} {used:.1f}" for service, used in embedded.processor.items()),
        ),
    ]
    for service in SERVICES:
        figures.append(
            Compared(
                f"{name}, memory of a {service}",
                str(LARGEST),
                scaled.peaks[service] / 1e6,
                embedded.peaks[service] / 1e6,
                "MB",
                "the replica with the most",
            )
        )
    return figures


@dataclass(frozen=True, slots=True)
class _Taken:
    """What one run took. By service: of all its replicas; of the one with the most."""

    seconds: float
    processor: dict[str, float]
    peaks: dict[str, int]


async def _run(stands: Stands, replicas: Replicas, options: Options) -> _Taken:
    async with stands.running(replicas) as setup, setup.suite.client() as client:
        pids = {
            service: [pid for name, pid in setup.suite.pids.items() if name.startswith(service)]
            for service in SERVICES
        }
        before = {service: sum(map(processor_seconds, pids[service])) for service in SERVICES}
        begun = time.monotonic()
        (batch_id,) = await run_all(client, [options.folder / "million.jsonl"], options.million)
        seconds = time.monotonic() - begun
        await check_results(client, batch_id, options.million)
        # All results have been downloaded by now.
        processor = {
            service: sum(map(processor_seconds, pids[service])) - before[service]
            for service in SERVICES
        }
        await check_bill(setup, options.million)
        return _Taken(
            seconds,
            processor,
            {service: max(map(peak_memory, pids[service])) for service in SERVICES},
        )
