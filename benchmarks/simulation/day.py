"""A day of the services: who waits for how long, and what the providers are asked.

The submit and the poll step are the product's own (planning, fair order, token limits, attempts,
looks by list, back-off, Retry-After, looking up lost creates), and so are the adapters. Made up
are the ledger and the bus (in memory), the providers, and all that costs only time of ours:
translation, and fetching results.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

from polybatch.v1.events_pb2 import WorkItem

from benchmarks.simulation.blobs import MemoryBlobs
from benchmarks.simulation.bus import MemoryBus
from benchmarks.simulation.ledger import MemoryLedger
from benchmarks.simulation.load import DAY, HOUR, LINE_BYTES, Submission, arrivals
from benchmarks.simulation.outages import Outage
from benchmarks.simulation.providers import Limits, Server, SimulatedTransport, Spool
from benchmarks.simulation.virtual_time import VirtualLoop, simulated_day
from core.bus import Ack, Delivery, Snooze, Step
from core.ledger import Batch, BatchState, File, FileState, Shard, ShardState, now
from core.ledger.shards import Settlement
from core.pipeline import LateShards, ProviderKeys, Runtime, Settler, Sweep, Watched
from core.pipeline.pauses import PauseWatch
from core.pipeline.timing import EARLY
from core.providers import Provider, ProviderUnavailable, RemoteBatch, RemoteState
from core.providers.anthropic.adapter import AnthropicProvider
from core.providers.http.client import ProviderHttp
from core.providers.http.holds import Hold, Holds
from core.providers.openai.adapter import OpenAIProvider
from core.settings import Settings
from services.collector.bad_lines import BadLineIsolation
from services.collector.poll import Poller
from services.dispatcher.cost_limit import CostLimit
from services.dispatcher.fair_scheduler import FairScheduler
from services.dispatcher.request_file import Written
from services.dispatcher.sharding import plan_shards
from services.dispatcher.submit import Submitter
from services.dispatcher.submit_order import OF_ACCOUNT, SubmitOrder

REPLICAS = 2
"""Of the dispatcher, and of the collector."""
_POLL_CONCURRENCY = 32
_TRANSLATED_BYTES_A_SECOND = 20e6
_FETCHED_BYTES_A_SECOND = 20e6
_MOST_AFTER = 48 * HOUR
_IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""What is sent is a file of some bytes for each shard."""
_KEYS = {"openai": "key-of-openai", "anthropic": "key-of-anthropic"}

LIMITS: Mapping[str, Limits] = {
    "openai": Limits(enqueued_tokens={"gpt-4.1": 40_000_000, "gpt-4.1-mini": 60_000_000}),
    "anthropic": Limits(queued_lines=300_000),
}
OUTAGES: Mapping[str, Sequence[Outage]] = {
    "openai": (
        Outage(9 * HOUR, 600, "unreachable"),
        Outage(15 * HOUR, 1800, "overloaded"),
        Outage(19 * HOUR, 240, "lost"),
    ),
    "anthropic": (
        Outage(11 * HOUR, 900, "throttled"),
        Outage(16 * HOUR, 3600, "overloaded"),
        Outage(20 * HOUR, 120, "lost"),
    ),
}


@dataclass(slots=True)
class Followed:
    """What became of one submission."""

    submission: Submission
    batch_id: str = ""
    first_sent: float | None = None
    """Seconds from midnight, when a provider had accepted a shard of it."""
    last_sent: float | None = None
    provider_ended: float = 0.0
    """When the last of its batches had ended there."""
    ended: float | None = None


@dataclass(frozen=True, slots=True)
class Day:
    """What a day was like."""

    followed: Sequence[Followed]
    servers: Mapping[str, Server]
    ledger: MemoryLedger
    bus: MemoryBus
    ended_at: float
    """Seconds from midnight, when the last line had its answer."""


def simulate(
    accounts: int,
    seed: int,
    *,
    limits: Mapping[str, Limits] = LIMITS,
    outages: Mapping[str, Sequence[Outage]] = OUTAGES,
    submissions: Sequence[Submission] | None = None,
) -> Day:
    """Simulate a day, and what is left of it in the following ones."""
    chance = random.Random(seed)
    wanted = arrivals(accounts, chance) if submissions is None else submissions
    servers = {
        name: Server(name, limits[name], outages.get(name, ()), random.Random(f"{seed} {name}"))
        for name in _KEYS
    }
    with (
        tempfile.TemporaryDirectory(prefix="polybatch-simulation-", dir=_IN_MEMORY) as folder,
        simulated_day(seed) as loop,
        patch.object(SimulatedTransport, "servers", servers),
        patch("core.providers.http.client.Transport", SimulatedTransport),
        patch("services.dispatcher.submit.write_request_file", _write),
    ):
        installation = Installation(Settings(data_dir=Path(folder)), loop)
        followed = loop.run_until_complete(installation.run(wanted))
        ended_at = loop.time()
    return Day(followed, servers, installation.ledger, installation.bus, ended_at)


async def _write(path: Path, *, shard: Shard, token: str, **_rest: Any) -> Written:
    """In the place of the translation: the file says how much there would be in it."""
    await asyncio.sleep(shard.byte_count / _TRANSLATED_BYTES_A_SECOND)
    first_line = f"{shard.id}-{token}-1"
    text = Spool(shard.line_count, shard.byte_count, shard.remote_model, first_line).text()
    await asyncio.to_thread(path.write_text, text)
    return Written(
        size=shard.byte_count,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        lines=shard.line_count,
        rejected=0,
        rejects_prefix="",
    )


class Installation:
    """All services, on one loop."""

    def __init__(self, settings: Settings, loop: VirtualLoop) -> None:
        self.ledger = MemoryLedger()
        self.bus = MemoryBus(self._early)
        self._loop = loop
        self._blobs = MemoryBlobs()
        self._runtime = Runtime(
            settings,
            cast(Any, self.ledger),
            cast(Any, self._blobs),
            cast(Any, self.bus),
            cast(Any, self.bus),
        )
        self._settler = Settler(self._runtime)
        self._followed: dict[str, Followed] = {}
        self._left = 0
        self._done = asyncio.Event()
        self._stop = asyncio.Event()
        self._holds: list[Holds] = []
        self._pollers: list[Poller] = []

    async def run(self, submissions: Sequence[Submission]) -> list[Followed]:
        """Take in all submissions at their time; returns when each line has its answer."""
        tasks = []
        for _ in range(REPLICAS):
            tasks += self._dispatcher()
            tasks += self._collector()
        self._left = len(submissions)
        try:
            async with asyncio.timeout(DAY + _MOST_AFTER):
                for number, submission in enumerate(submissions):
                    await asyncio.sleep(submission.moment - self._loop.time())
                    await self._submit(number, submission)
                await self._ended(tasks)
        finally:
            self._stop.set()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return list(self._followed.values())

    async def _ended(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Wait for the last batch; what a service raises is raised."""
        waiting = asyncio.create_task(self._done.wait())
        await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
        await waiting

    # The gateway, and planning.

    async def _submit(self, number: int, submission: Submission) -> None:
        batch_id = f"batch_{number:08d}"
        groups = [
            {
                "provider": model.partition("/")[0],
                "model": model,
                "lines": (submission.lines + place) // len(submission.models),
            }
            for place, model in enumerate(reversed(submission.models))
        ][::-1]
        file = File(
            id=f"file_{number:08d}",
            account_id=submission.account,
            upload_id=batch_id,
            state=FileState.READY,
            created_at=now(),
            groups=groups,
        )
        batch = Batch(
            id=batch_id,
            account_id=submission.account,
            input_file_id=file.id,
            endpoint="/v1/chat/completions",
            state=BatchState.IN_PROGRESS,
            total=submission.lines,
            created_at=now(),
            expires_at=now() + timedelta(days=1),
            due_at=now(),
            # Left to their defaults, these take as long as all the others.
            details={},
            errors=[],
        )
        self._blobs.write_index(file, submission.lines, LINE_BYTES)
        shards = await plan_shards(batch, file, cast(Any, self._blobs), self._planners)
        self._blobs.forget_index(file)
        batch.shard_count = len(shards)
        self.ledger.batch_rows[batch.id], self.ledger.file_rows[file.id] = batch, file
        self.ledger.add(shards)
        self._followed[batch.id] = Followed(submission, batch.id)
        for shard in shards:
            await self.bus.enqueue(Step.SUBMIT, batch.id, shard.id)

    # The dispatcher.

    def _providers(self) -> dict[str, Provider]:
        """A process's own, which hears of what the others were told."""
        holds = Holds(now=lambda: now().timestamp())
        self._holds.append(holds)

        def tell(hold: Hold) -> None:
            for other in self._holds:
                other.learn(hold)

        holds.on_told = tell
        settings = self._runtime.settings
        options: dict[str, Any] = {
            "settle": timedelta(seconds=settings.reconcile_settle),
            "now": now,
        }

        def http(name: str, url: str) -> ProviderHttp:
            return ProviderHttp(
                url,
                {},
                secret=_KEYS[name],
                timeout=settings.provider_timeout,
                provider=name,
                hold=holds.of(name, _KEYS[name]),
            )

        return {
            "openai": OpenAIProvider(http("openai", "https://openai.invalid/v1"), **options),
            "anthropic": AnthropicProvider(
                http("anthropic", "https://anthropic.invalid"), **options
            ),
        }

    def _dispatcher(self) -> list[asyncio.Task[None]]:
        runtime, settings = self._runtime, self._runtime.settings
        providers = self._planners = self._providers()
        submitter = Submitter(
            runtime,
            providers,
            {},
            FairScheduler(runtime),
            _KEYS,
            ProviderKeys({}, recheck=settings.refused_pause, ledger=None, credentials=_KEYS),
            CostLimit(
                runtime.ledger,
                runtime.blobs,
                cast(Any, None),
                assumed_output=settings.assumed_output_tokens,
                segment_bytes=settings.segment_bytes,
            ),
            PauseWatch(runtime.ledger, clock=self._loop.time),
            holds={name: self._holds[-1].of(name, key) for name, key in _KEYS.items()},
        )

        async def submit(item: WorkItem, delivery: Delivery) -> Ack | Snooze:
            outcome = await submitter.handle(item, delivery)
            self._note_sent(item)
            return outcome

        order = SubmitOrder(
            submit,
            self.ledger.get,
            partial(self.ledger.turns.queued, [*providers], OF_ACCOUNT),
            [*providers],
            clock=self._loop.time,
        )
        sweep = Sweep(
            runtime,
            shards=[Watched((ShardState.QUEUED, ShardState.SUBMITTING), Step.SUBMIT)],
        )
        return [
            *(
                asyncio.create_task(self.bus.consume(Step.SUBMIT, order.handle))
                for _ in range(settings.submit_concurrency)
            ),
            asyncio.create_task(order.keep_lanes(settings.submit_concurrency, self._stop)),
            asyncio.create_task(sweep.run(self._stop)),
        ]

    def _note_sent(self, item: WorkItem) -> None:
        row = self.ledger.rows[item.shard_id]
        if row.state == ShardState.SUBMITTED:
            followed = self._followed[item.batch_id]
            followed.last_sent = self._loop.time()
            if followed.first_sent is None:
                followed.first_sent = self._loop.time()

    # The collector.

    def _collector(self) -> list[asyncio.Task[None]]:
        runtime, settings = self._runtime, self._runtime.settings
        providers = self._providers()
        poller = Poller(
            runtime,
            providers,
            self._settler,
            BadLineIsolation(runtime, self._settler),
            LateShards(runtime, providers),
            _KEYS,
            clock=now,
        )
        self._pollers.append(poller)
        sweep = Sweep(runtime, shards=[Watched((ShardState.SUBMITTED,), Step.POLL)])
        fetch = partial(self._fetch, providers)
        return [
            *(
                asyncio.create_task(self.bus.consume(Step.POLL, poller.handle))
                for _ in range(_POLL_CONCURRENCY)
            ),
            *(
                asyncio.create_task(self.bus.consume(Step.FETCH, fetch))
                for _ in range(settings.fetch_concurrency)
            ),
            asyncio.create_task(self.bus.consume(Step.ASSEMBLE, self._assemble)),
            asyncio.create_task(sweep.run(self._stop)),
        ]

    def _early(self, step: Step, shard_id: str) -> float:
        row = self.ledger.rows.get(shard_id)
        if step is not Step.POLL or row is None or row.state != ShardState.SUBMITTED:
            return 0.0
        wait = (row.due_at - now()).total_seconds()
        return wait if wait > EARLY else 0.0

    async def _fetch(
        self, providers: Mapping[str, Provider], item: WorkItem, delivery: Delivery
    ) -> Ack | Snooze:
        """One download, and as long as the results take; what is in them is not simulated."""
        shard = await self.ledger.get(item.shard_id)
        if shard is None or shard.state != ShardState.FETCHING:
            return Ack()
        server_ended = SimulatedTransport.servers[shard.provider].batches[shard.remote_id].ends
        remote = RemoteBatch(
            shard.remote_id, RemoteState.ENDED, "", result_sources=(f"out-{shard.remote_id}",)
        )
        try:
            async for _lines in providers[shard.provider].results(remote):
                pass
        except ProviderUnavailable as error:
            return Snooze(error.retry_after or self._runtime.settings.unreachable_pause)
        await asyncio.sleep(shard.byte_count / _FETCHED_BYTES_A_SECOND)
        self._blobs.forget(shard.lines_key)
        followed = self._followed[shard.batch_id]
        followed.provider_ended = max(followed.provider_ended, server_ended)
        await self._settler.settle(shard, Settlement(shard.line_count, 0))
        return Ack()

    async def _assemble(self, item: WorkItem, _delivery: Delivery) -> Ack | Snooze:
        followed = self._followed[item.batch_id]
        if followed.ended is None:
            followed.ended = self._loop.time()
            self._left -= 1
            if not self._left:
                self._done.set()
        return Ack()
