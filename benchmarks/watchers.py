"""Watchers: how long after a commit each of a thousand streams has the change.

This process makes the changes: transitions of the ledger and their announcement, as a
collector does when a poll shows progress.
"""

from __future__ import annotations

import asyncio
import json
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from math import ceil
from typing import Any

from polybatch.v1.events_pb2 import BatchEvent

from benchmarks.figures import Figure, MeasurementFailed
from benchmarks.inputs import MODELS, URL, line
from benchmarks.machine import processor_seconds
from benchmarks.options import Options
from benchmarks.program import answer_line, program, tell_line
from benchmarks.suite import Suite, running_suite
from core.ledger import Batch, BatchState, Shard, ShardState, new_id, now
from core.pipeline import Runtime, open_runtime
from core.settings import Settings

LIMIT_MS = 250.0
SHARE = 0.99
# Far enough for no service's sweep to take these rows for forgotten ones.
_LATER = timedelta(days=1)
_SHARD_LINES = 50_000
_SHARDS_OF_ONE = 8
_CHANGES_OF_ONE = 60
_PAUSE_OF_ONE = 0.25
_ROUNDS_OF_MANY = 10
_CHANGING_OF_MANY = 50
_PAUSE_OF_MANY = 1.0
PATIENCE = 300.0
"""Seconds in which ten thousand watches open on a machine that is busy with other things."""


async def measure(options: Options) -> list[Figure]:
    """All watchers on one batch; then a batch for each watcher."""
    figures: list[Figure] = []
    async with (
        running_suite(options.folder / "watchers") as suite,
        backbone_of(suite) as runtime,
    ):
        stage = await Stage.prepare(suite, runtime)
        one = [await stage.batch(_SHARDS_OF_ONE)]
        figures += await watched(
            suite, f"{options.watchers} watchers of one batch", one * options.watchers, stage.one
        )
        many = [await stage.batch(1) for _ in range(options.watchers)]
        figures += await watched(suite, f"{options.watchers} batches watched", many, stage.many)
    return figures


@asynccontextmanager
async def backbone_of(suite: Suite, database_url: str = "") -> AsyncIterator[Runtime]:
    """The suite's ledger and bus, for this process; its blobs are not for use."""
    settings = Settings(data_dir=suite.data_dir, nats_url=suite.nats, database_url=database_url)
    async with open_runtime(settings, "benchmark", asyncio.Event()) as runtime:
        yield runtime


class Commits:
    """When which revision of which batch was committed."""

    def __init__(self) -> None:
        self.of: dict[str, list[tuple[int, float]]] = {}

    def add(self, batch: Batch) -> None:
        """Note a commit of this moment."""
        self.of.setdefault(batch.id, []).append((batch.revision, time.monotonic()))

    def last(self, batch_id: str) -> int:
        """The newest revision of a batch."""
        return self.of[batch_id][-1][0] if batch_id in self.of else 1

    def delays(self, batch_id: str, seen: Sequence[tuple[int, float]]) -> list[float]:
        """For each commit: milliseconds until the first snapshot as new as that was there."""
        revisions = [revision for revision, _ in seen]
        return [
            max(0.0, seen[bisect_left(revisions, revision)][1] - moment) * 1000
            for revision, moment in self.of.get(batch_id, ())
        ]


class Stage:
    """Batches whose shards are at a provider that makes progress whenever it is told to."""

    def __init__(self, runtime: Runtime, account_id: str, file_id: str) -> None:
        self._runtime = runtime
        self._account_id = account_id
        self._file_id = file_id
        self._shards: dict[str, list[Shard]] = {}

    @classmethod
    async def prepare(cls, suite: Suite, runtime: Runtime) -> Stage:
        """Upload the file that the batches name."""
        async with suite.client() as client:
            file = await client.upload(line(1, "anything").encode())
        key = await runtime.ledger.accounts.authenticate(suite.api_key)
        if key is None:
            raise MeasurementFailed("the suite's key is not valid")
        return cls(runtime, key.account_id, file.id)

    async def batch(self, shard_count: int) -> str:
        """Make a batch in progress; returns its id."""
        moment, later = now(), now() + _LATER
        ledger = self._runtime.ledger
        total = shard_count * _SHARD_LINES
        batch = Batch(
            id=new_id("batch"),
            account_id=self._account_id,
            input_file_id=self._file_id,
            endpoint=URL,
            state=BatchState.VALIDATING,
            total=total,
            queued=total,
            created_at=moment,
            expires_at=later,
            due_at=later,
        )
        shards = [
            Shard(
                id=new_id("shard"),
                batch_id=batch.id,
                ordinal=ordinal,
                provider="openai",
                model=MODELS["openai"],
                endpoint=URL,
                state=ShardState.SUBMITTED,
                line_count=_SHARD_LINES,
                remote_id=f"batch_{ordinal}",
                created_at=moment,
                submitted_at=moment,
                due_at=later,
            )
            for ordinal in range(shard_count)
        ]
        await ledger.batches.create(batch)
        await ledger.batches.plan(batch.id, shards)
        self._shards[batch.id] = shards
        return batch.id

    async def one(self, batch_ids: Sequence[str], commits: Commits) -> None:
        """Progress of one batch's shards in turn."""
        shards = self._shards[batch_ids[0]]
        for number in range(_CHANGES_OF_ONE):
            await self._progress(shards[number % len(shards)], commits)
            await asyncio.sleep(_PAUSE_OF_ONE)

    async def many(self, batch_ids: Sequence[str], commits: Commits) -> None:
        """Progress of many batches at the same time, others in each round."""
        for number in range(_ROUNDS_OF_MANY):
            start = number * _CHANGING_OF_MANY
            changing = [
                batch_ids[at % len(batch_ids)] for at in range(start, start + _CHANGING_OF_MANY)
            ]
            await asyncio.gather(
                *(
                    self._progress(self._shards[batch_id][0], commits)
                    for batch_id in dict.fromkeys(changing)
                )
            )
            await asyncio.sleep(_PAUSE_OF_MANY)

    async def _progress(self, shard: Shard, commits: Commits) -> None:
        ledger, publisher = self._runtime.ledger, self._runtime.publisher
        shard.finished += 500
        shard.remote_status = "validating"  # Anything but the status that is noted now.
        batch = await ledger.shards.polled(shard, "in_progress", shard.finished, now() + _LATER)
        if not isinstance(batch, Batch):
            raise MeasurementFailed(f"the shard {shard.id} was changed by somebody else")
        commits.add(batch)
        await publisher.changed(batch, BatchEvent.SHARD_PROGRESSED, shard)


Change = Callable[[Sequence[str], Commits], Awaitable[None]]


async def watched(suite: Suite, name: str, batch_ids: list[str], change: Change) -> list[Figure]:
    """Let a watcher follow each of the batches while they change."""
    order = {"collector": suite.collector, "api_key": suite.api_key, "batches": batch_ids}
    collectors = [pid for of, pid in suite.pids.items() if of.partition("-")[0] == "collector"]
    return await followed(name, batch_ids, change, "benchmarks.watching", order, collectors)


async def followed(
    name: str,
    batch_ids: list[str],
    change: Change,
    module: str,
    order: Mapping[str, Any],
    servers: Sequence[int] = (),
) -> list[Figure]:
    """The same with any program that watches; `order`: the first line that it reads.

    `servers`: processes whose processor time for an update is told besides.
    """
    commits = Commits()
    async with program(module) as watching:
        await tell_line(watching, json.dumps(order))
        await answer_line(watching, PATIENCE)
        before = sum(map(processor_seconds, servers))
        await change(batch_ids, commits)
        last = {batch_id: commits.last(batch_id) for batch_id in batch_ids}
        await tell_line(watching, json.dumps(last))
        found = json.loads(await answer_line(watching, 60.0))
        used = sum(map(processor_seconds, servers)) - before
    messages = sum(len(seen) for _, seen in found) - len(batch_ids)
    each = f"; {used / messages * 1e6:.0f} us of the collectors for each" if servers else ""
    delays = sorted(delay for batch_id, seen in found for delay in commits.delays(batch_id, seen))
    changes = sum(map(len, commits.of.values()))
    return [
        Figure(
            f"{name}: 99 % within",
            percentile(delays, SHARE),
            "ms",
            limit=LIMIT_MS,
            basis=f"from the commit; {len(delays)} updates of {changes} changes: "
            f"half within {percentile(delays, 0.5):.0f} ms, all within {delays[-1]:.0f} ms{each}",
        )
    ]


def percentile(values: Sequence[float], share: float) -> float:
    """The least of sorted values that a share of them is not above."""
    return values[max(0, ceil(share * len(values)) - 1)]
