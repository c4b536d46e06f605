"""The processes of a run: handlers that are real, between gates."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from polybatch.v1.events_pb2 import BatchEvent, WorkItem

from core.blobs import BlobStore
from core.bus import Ack, Delivery, Snooze, Step
from core.ledger import Ledger, ShardState
from core.ledger.database import Database
from core.pipeline import (
    Backfill,
    BatchPrices,
    EventPublisher,
    LateShards,
    PauseWatch,
    ProviderKeys,
    RemoteFileCleanup,
    Runtime,
    Settler,
    Sweep,
    Watched,
)
from core.providers import Provider
from services.collector.assemble import Assembler
from services.collector.bad_lines import BadLineIsolation
from services.collector.fetch import Fetcher
from services.collector.poll import Poller
from services.collector.service import step_of_waiting_batch
from services.collector.stop import Stopper
from services.dispatcher.cost_limit import CostLimit
from services.dispatcher.fair_scheduler import FairScheduler
from services.dispatcher.plan import Planner
from services.dispatcher.service import step_of_new_batch
from services.dispatcher.submit import Submitter
from tests.interleavings.ground import PROVIDER
from tests.interleavings.provider import Script
from tests.interleavings.scheduler import Gated, Process, Scheduler

if TYPE_CHECKING:
    from tests.interleavings.world import World

_CREDENTIALS = {PROVIDER: "key"}
REPOSITORIES = [
    name for name, part in vars(Ledger(cast("Database", None))).items() if name[0] != "_" and part
]
Handler = Callable[[WorkItem, Delivery], Awaitable[Ack | Snooze]]


@dataclass(slots=True, eq=False)
class Message:
    """A work item on the bus."""

    step: Step
    item: WorkItem
    due: float
    count: int = 0
    holder: Process | None = None
    """Whoever handles it just now."""

    @property
    def label(self) -> str:
        return f"{self.step.value} {self.item.shard_id or self.item.batch_id}"


class Bus:
    """The work queue, as one process sees it."""

    def __init__(self, world: World, process: Process) -> None:
        self._world = world
        self._process = process

    async def publish_work(self, step: Step, batch_id: str, shard_id: str = "", **_: Any) -> None:
        lost = await self._world.loop.gate(
            self._process, f"enqueue {step.value}", "", "lost", oddity=0.1
        )
        if not lost:
            item = WorkItem(batch_id=batch_id, shard_id=shard_id)
            self._world.messages.append(Message(step, item, self._world.loop.time()))

    async def publish_event(self, _event: BatchEvent) -> bool:
        return True


class Member:
    """A dispatcher or a collector."""

    def __init__(self, world: World, process: Process) -> None:
        self.process = process
        loop, ground = world.loop, world.ground
        ledger = cast("Ledger", Gated(world.ledger, loop, process, "ledger", REPOSITORIES))
        blobs = ground.blobs
        if world.blobs_gated:
            blobs = cast("BlobStore", Gated(blobs, loop, process, "blobs"))
        bus = cast("Any", Bus(world, process))
        settings = ground.settings.model_copy(
            update={"data_dir": ground.folder / process.name, "stop_grace": world.grace}
        )
        self.runtime = Runtime(settings, ledger, blobs, bus, EventPublisher(bus, ledger))
        of_files = ground.file_prices
        self._prices = BatchPrices(ledger, of_files, Backfill(ledger, of_files))
        provider = cast("Provider", Script(world.truth, ground.likeness, process))
        self.providers = {PROVIDER: provider}
        if process.kind == "dispatcher":
            self.steps, self.sweep = self._dispatcher(loop)
        else:
            self.steps, self.sweep = self._collector()

    def _dispatcher(self, loop: Scheduler) -> tuple[Mapping[Step, Handler], Sweep]:
        runtime = self.runtime
        submitter = Submitter(
            runtime,
            self.providers,
            {},
            FairScheduler(runtime),
            _CREDENTIALS,
            ProviderKeys({}, recheck=15.0, ledger=runtime.ledger, credentials=_CREDENTIALS),
            CostLimit(
                runtime.ledger,
                runtime.blobs,
                self._prices,
                assumed_output=runtime.settings.assumed_output_tokens,
                segment_bytes=runtime.settings.segment_bytes,
            ),
            PauseWatch(runtime.ledger, clock=loop.time),
        )
        queued = Watched((ShardState.QUEUED, ShardState.SUBMITTING), Step.SUBMIT)
        sweep = Sweep(runtime, shards=[queued], batches=step_of_new_batch)
        planner = Planner(runtime, self.providers)
        return {Step.PLAN: planner.handle, Step.SUBMIT: submitter.handle}, sweep

    def _collector(self) -> tuple[Mapping[Step, Handler], Sweep]:
        runtime, providers = self.runtime, self.providers
        settler, late = Settler(runtime), LateShards(runtime, providers)
        bad_lines = BadLineIsolation(runtime, settler)
        poller = Poller(runtime, providers, settler, bad_lines, late, _CREDENTIALS)
        fetcher = Fetcher(runtime, providers, settler, late, self._prices)
        clearing = RemoteFileCleanup(runtime, providers).clearing
        watched = [
            Watched((ShardState.SUBMITTED,), Step.POLL),
            Watched((ShardState.FETCHING,), Step.FETCH),
        ]
        sweep = Sweep(runtime, shards=watched, batches=step_of_waiting_batch, late=True)
        steps = {
            Step.POLL: poller.handle,
            Step.FETCH: fetcher.handle,
            Step.STOP: clearing(Stopper(runtime, poller, late).handle),
            Step.ASSEMBLE: clearing(Assembler(runtime).handle),
        }
        return steps, sweep
