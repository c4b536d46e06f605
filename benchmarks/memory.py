"""Memory: the most that each service ever had resident, for a small and a large job."""

from __future__ import annotations

from pathlib import Path

from polybatch import BatchState

from benchmarks.figures import Figure, MeasurementFailed
from benchmarks.inputs import write_input
from benchmarks.machine import peak_memory
from benchmarks.options import Options
from benchmarks.suite import running_suite

LINE_BYTES = 400
GROWTH = 1.2
MOST = 200e6
SERVICES = ("gateway", "dispatcher", "collector")


async def measure(options: Options) -> list[Figure]:
    """Run the whole job in fresh processes for each size, the download of results too."""
    small = await peaks(options.folder, options.small)
    large = await peaks(options.folder, options.large)
    figures: list[Figure] = []
    for name in SERVICES:
        figures += [
            Figure(
                f"memory of {name} at {options.large} lines",
                large[name] / 1e6,
                "MB",
                limit=GROWTH * small[name] / 1e6,
                basis=f"{GROWTH:g} times its {small[name] / 1e6:.0f} MB at {options.small} lines",
            ),
            Figure(
                f"memory of {name} at {options.large} lines",
                large[name] / 1e6,
                "MB",
                limit=MOST / 1e6,
                basis="for any file",
            ),
        ]
    figures.append(
        Figure(
            f"memory of sandbox at {options.large} lines",
            large["sandbox"] / 1e6,
            "MB",
            basis=f"none; at {options.small} lines {small['sandbox'] / 1e6:.0f} MB",
        )
    )
    return figures


async def peaks(folder: Path, lines: int) -> dict[str, int]:
    """Bytes by process name after one job."""
    path = folder / f"memory-{lines}.jsonl"
    write_input(path, lines=lines, line_bytes=LINE_BYTES)
    async with running_suite(folder / f"memory-{lines}") as suite, suite.client() as client:
        batch = await client.submit(path)
        batch = await client.wait(batch.id, timeout=300.0)
        if batch.state is not BatchState.COMPLETED or batch.request_counts.succeeded != lines:
            raise MeasurementFailed(f"the batch ended as {batch.state}: {batch.request_counts}")
        manifest = await client.download_results(batch.id, folder / f"results-{lines}.jsonl")
        if manifest.request_counts.succeeded != lines:
            raise MeasurementFailed(f"the manifest counts {manifest.request_counts}")
        return {name: peak_memory(suite.pids[name]) for name in (*SERVICES, "sandbox")}
