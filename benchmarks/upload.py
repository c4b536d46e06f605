"""Upload: checked and durable through the gateway, against a server that does nothing."""

from __future__ import annotations

import os
import time
from pathlib import Path
from statistics import median

from polybatch import AsyncClient, File

from benchmarks.figures import Figure, MeasurementFailed
from benchmarks.inputs import write_input
from benchmarks.options import Options
from benchmarks.program import answer_line, program
from benchmarks.suite import running_suite

LINE_BYTES = 4096
COPY_BYTES = 8 * 1024 * 1024
SHARE = 0.6


async def measure(options: Options) -> list[Figure]:
    """Upload the same file to both by turns; the same client code sends it."""
    path = options.folder / "upload.jsonl"
    write_input(path, lines=options.lines, line_bytes=LINE_BYTES)
    size = path.stat().st_size
    gateway: list[float] = []
    bare: list[float] = []
    disk: list[float] = []
    async with (
        running_suite(options.folder / "upload") as suite,
        program("benchmarks.bare_server") as server,
        suite.client() as to_gateway,
        bare_client(await answer_line(server, 30.0)) as to_bare,
    ):
        # The first of each connects, fills caches, and is not counted.
        for number in range(1 + options.rounds):
            seconds, file = await timed(to_gateway, path)
            if file.line_count != options.lines or file.invalid_line_count:
                raise MeasurementFailed(f"the gateway found {file.line_count} lines")
            await to_gateway.files.delete(file.id)
            bare_seconds, _ = await timed(to_bare, path)
            disk_seconds = synced_copy(path, options.folder / "upload.copy")
            if number:
                gateway.append(size / seconds / 1e6)
                bare.append(size / bare_seconds / 1e6)
                disk.append(size / disk_seconds / 1e6)
    return [
        Figure(
            f"upload of {size / 1e6:.0f} MB",
            median(gateway),
            "MB/s",
            limit=SHARE * median(bare),
            at_least=True,
            basis=f"{SHARE:.0%} of a bare server's {median(bare):.0f} MB/s "
            f"(medians of {options.rounds}; gateway {spread(gateway)}, bare {spread(bare)}; "
            f"a plain copy to the same disk, synced once: {median(disk):.0f}, {spread(disk)})",
        )
    ]


def bare_client(port: str) -> AsyncClient:
    """A client of the bare server."""
    address = f"127.0.0.1:{port}"
    return AsyncClient(gateway=address, collector=address, api_key="none")


async def timed(client: AsyncClient, path: Path) -> tuple[float, File]:
    """Seconds from the call to its answer, and the answer."""
    begun = time.perf_counter()
    file = await client.upload(path)
    return time.perf_counter() - begun, file


def synced_copy(source: Path, target: Path) -> float:
    """Seconds that the disk takes for the same bytes, which the bare server does not write."""
    begun = time.perf_counter()
    with source.open("rb") as read, target.open("wb") as written:
        while piece := read.read(COPY_BYTES):
            written.write(piece)
        written.flush()
        os.fsync(written.fileno())
    seconds = time.perf_counter() - begun
    target.unlink()
    return seconds


def spread(values: list[float]) -> str:
    """Least and most."""
    return f"{min(values):.0f} to {max(values):.0f}"
