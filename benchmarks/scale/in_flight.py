"""A thousand batches at the providers at the same time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from polybatch import AsyncClient, Batch, BatchState

from benchmarks.inputs import write_input
from benchmarks.scale.compared import Compared
from benchmarks.scale.jobs import LinesLost, check_bill, check_results
from benchmarks.scale.million import LARGEST
from benchmarks.scale.options import Options
from benchmarks.scale.setups import EMBEDDED, Replicas, Setup, Stands

_LINES = 10
_LINE_BYTES = 400
_AT_ONCE = 32
_WAIT = 600.0
_NEVER = 86_000
_EMBEDDED_SHARE = 10


async def measure(stands: Stands, options: Options) -> list[Compared]:
    """Batches a second until all are in flight, and from the moment that all are done at the
    providers until all have ended. The embedded mode is given fewer: what is compared are rates."""
    fewer = max(1, options.batches // _EMBEDDED_SHARE)
    beside = await _run(stands, EMBEDDED, fewer, options)
    scaled = await _run(stands, LARGEST, options.batches, options)
    name = f"{options.batches:,} batches in flight"
    notes = (f"{_LINES} lines and 2 shards each; embedded: {fewer} batches", "all checked")
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
    write_input(path, lines=_LINES, line_bytes=_LINE_BYTES)
    content = path.read_bytes()
    async with (
        stands.running(replicas) as setup,
        setup.suite.client() as client,
        asyncio.timeout(_WAIT),
    ):
        await _sandbox_takes(setup, _NEVER)
        seen = Seen(count)
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(seen.follow(client))
            begun = time.monotonic()
            await _submit(client, content, count)
            await seen.all_in_flight.wait()
            sent = time.monotonic() - begun
            begun = time.monotonic()
            await _sandbox_takes(setup, 0)
            await seen.all_ended.wait()
            home = time.monotonic() - begun
            watching.cancel()
        await _check(client, list(seen.batches.values()))
        await check_bill(setup, count * _LINES)
    return count / sent, count / home


async def _sandbox_takes(setup: Setup, seconds: float) -> None:
    await asyncio.to_thread(setup.stands.set_sandbox, "/sandbox/config", {"batch_seconds": seconds})


class Seen:
    """What a watcher of the whole account has seen of its batches."""

    def __init__(self, count: int) -> None:
        self.batches: dict[str, Batch] = {}
        self.all_in_flight = asyncio.Event()
        self.all_ended = asyncio.Event()
        self._count = count
        self._in_flight: set[str] = set()
        self._ended: set[str] = set()

    async def follow(self, client: AsyncClient) -> None:
        """Watch for ever."""
        async for batch in client.watch_all():
            self.batches[batch.id] = batch
            counts = batch.request_counts
            if counts.submitted == counts.total:
                self._in_flight.add(batch.id)
            if batch.ended:
                self._ended.add(batch.id)
            if len(self._in_flight) == self._count:
                self.all_in_flight.set()
            if len(self._ended) == self._count:
                self.all_ended.set()


async def _submit(client: AsyncClient, content: bytes, count: int) -> None:
    numbers = iter(range(count))

    async def some() -> None:
        for _ in numbers:
            await client.submit(content)

    await asyncio.gather(*(some() for _ in range(_AT_ONCE)))


async def _check(client: AsyncClient, batches: Sequence[Batch]) -> None:
    wrong = [
        batch.id
        for batch in batches
        if batch.state is not BatchState.COMPLETED or batch.request_counts.succeeded != _LINES
    ]
    if wrong:
        raise LinesLost(f"{len(wrong)} batches did not complete, {wrong[0]} for one")
    left = iter(batches)

    async def some() -> None:
        for batch in left:
            await check_results(client, batch.id, _LINES)

    await asyncio.gather(*(some() for _ in range(_AT_ONCE)))
