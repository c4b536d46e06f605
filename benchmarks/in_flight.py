"""Many small batches at the providers at the same time: how fast they leave, and come home."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from polybatch import AsyncClient, Batch, BatchState

from benchmarks.figures import Figure, MeasurementFailed
from benchmarks.inputs import write_input
from benchmarks.options import Options
from benchmarks.sandbox_control import called
from benchmarks.suite import running_suite

LEAST = 40.0
LINES = 100
LINE_BYTES = 400
WAIT = 600.0
UNLIMITED = {
    "POLYBATCH_ACCOUNT_REQUESTS_PER_SECOND": "0",
    "POLYBATCH_ACCOUNT_BATCHES": "0",
    "POLYBATCH_ACCOUNT_BYTES": "0",
    # Five times as often as by default: what is measured is the work, not how long nobody looks.
    "POLYBATCH_POLL_MIN_INTERVAL": "1",
}
_AT_ONCE = 32
_NEVER = 86_000


async def measure(options: Options) -> list[Figure]:
    """Batches a second, on SQLite."""
    path = options.folder / "in-flight.jsonl"
    write_input(path, lines=LINES, line_bytes=LINE_BYTES)
    async with (
        running_suite(options.folder / "in-flight", **UNLIMITED) as suite,
        suite.client() as client,
    ):

        def takes(seconds: float) -> None:
            called(f"{suite.sandbox}/sandbox/config", {"batch_seconds": seconds})

        flight = Flight(client, path.read_bytes(), options.flying, LINES)
        sent, home = await flight.rates(takes)
    name = f"{options.flying:,} batches of {LINES} lines in flight"
    return [
        Figure(f"{name}, {what}", rate, "a second", limit=LEAST, at_least=True, basis=basis)
        for what, rate, basis in (
            ("sent", sent, "from the first upload until all are at the providers; 2 shards each"),
            ("home", home, "from the end of all at the providers until all have ended"),
        )
    ]


class Flight:
    """Batches of the same file, seen by a watcher of the whole account."""

    def __init__(self, client: AsyncClient, content: bytes, count: int, lines: int) -> None:
        self.batches: dict[str, Batch] = {}
        self._client = client
        self._content = content
        self._count = count
        self._lines = lines
        self._in_flight: set[str] = set()
        self._ended: set[str] = set()
        self._all_in_flight = asyncio.Event()
        self._all_ended = asyncio.Event()

    async def rates(self, takes: Callable[[float], None]) -> tuple[float, float]:
        """Batches a second until all are in flight, and from the moment that all are done at
        the providers until all have ended.

        `takes`: sets the seconds that a batch takes at the providers. Raises MeasurementFailed
        when a line has no result.
        """
        await asyncio.to_thread(takes, _NEVER)
        async with asyncio.timeout(WAIT), asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._follow())
            begun = time.monotonic()
            await self._submit()
            await self._all_in_flight.wait()
            sent = time.monotonic() - begun
            begun = time.monotonic()
            await asyncio.to_thread(takes, 0)
            await self._all_ended.wait()
            home = time.monotonic() - begun
            watching.cancel()
        for batch in self.batches.values():
            counts = batch.request_counts
            if batch.state is not BatchState.COMPLETED or counts.succeeded != self._lines:
                raise MeasurementFailed(f"{batch.id} ended as {batch.state}: {counts}")
        return self._count / sent, self._count / home

    async def _follow(self) -> None:
        async for batch in self._client.watch_all():
            self.batches[batch.id] = batch
            counts = batch.request_counts
            if counts.submitted == counts.total:
                self._in_flight.add(batch.id)
            if batch.ended:
                self._ended.add(batch.id)
            if len(self._in_flight) == self._count:
                self._all_in_flight.set()
            if len(self._ended) == self._count:
                self._all_ended.set()

    async def _submit(self) -> None:
        numbers = iter(range(self._count))

        async def some() -> None:
            for _ in numbers:
                await self._client.submit(self._content)

        await asyncio.gather(*(some() for _ in range(_AT_ONCE)))
