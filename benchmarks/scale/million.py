"""One batch of a million lines, and the most memory that any replica ever had."""

from __future__ import annotations

import time

from benchmarks.inputs import write_input
from benchmarks.machine import peak_memory
from benchmarks.scale.compared import Compared
from benchmarks.scale.jobs import check_bill, check_results, run_all
from benchmarks.scale.options import Options
from benchmarks.scale.setups import EMBEDDED, Replicas, Stands

LARGEST = Replicas(2, 3, 3)
SERVICES = ("gateway", "dispatcher", "collector")
_LINE_BYTES = 400


async def measure(stands: Stands, options: Options) -> list[Compared]:
    """Seconds, and megabytes by service."""
    path = options.folder / "million.jsonl"
    write_input(path, lines=options.million, line_bytes=_LINE_BYTES)
    seconds, peaks = await _run(stands, EMBEDDED, options)
    scaled_seconds, scaled_peaks = await _run(stands, LARGEST, options)
    path.unlink()
    name = f"{options.million:,} lines"
    figures = [
        Compared(
            f"{name}, upload to the end",
            str(LARGEST),
            scaled_seconds,
            seconds,
            "s",
            f"{options.million / scaled_seconds:,.0f} lines/s, beside "
            f"{options.million / seconds:,.0f}",
        )
    ]
    for service in SERVICES:
        figures.append(
            Compared(
                f"{name}, memory of a {service}",
                str(LARGEST),
                scaled_peaks[service] / 1e6,
                peaks[service] / 1e6,
                "MB",
                "the replica with the most",
            )
        )
    return figures


async def _run(
    stands: Stands, replicas: Replicas, options: Options
) -> tuple[float, dict[str, int]]:
    async with stands.running(replicas) as setup, setup.suite.client() as client:
        begun = time.monotonic()
        (batch_id,) = await run_all(client, [options.folder / "million.jsonl"], options.million)
        seconds = time.monotonic() - begun
        await check_results(client, batch_id, options.million)
        await check_bill(setup, options.million)
        pids = setup.suite.pids
        return seconds, {
            service: max(peak_memory(pid) for name, pid in pids.items() if name.startswith(service))
            for service in SERVICES
        }
