"""One batch, with all that works on it: processes, a bus that delivers at least once, a provider.

What is the product's is real: the handlers of dispatcher and collector, the sweep, the ledger on
SQLite, the blobs in a folder. The bus, the provider, the user and whoever kills processes are the
schedule's.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from polybatch.v1.events_pb2 import BatchEvent, WorkItem

from core.blobs import BlobStore
from core.bus import Ack, Delivery, Snooze, Step
from core.bus.consumer import failure_delay
from core.ledger import Account, Batch, CanaryState, File, Funding, Ledger, ShardState, Stale, now
from core.ledger.database import Database
from core.pipeline import (
    Backfill,
    BatchPrices,
    EventPublisher,
    HeldShards,
    LateShards,
    PauseWatch,
    ProviderKeys,
    RemoteFileCleanup,
    Runtime,
    Settler,
    Sweep,
    Watched,
    outage_retry,
)
from core.providers import Provider, known_providers
from core.settings import ProviderAccess, Settings
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
from tests.interleavings.provider import SETTLE, TIMEOUT, Script, Truth
from tests.interleavings.scheduler import Gated, Option, Process, Scheduler
from tests.support.input_files import chat, store
from tests.support.ledger.rows import add_rows, create
from tests.support.prices import file_prices, price, snapshot

LINES = 3
PROVIDER, MODEL = "openai", "openai/gpt-4.1"
_CREDENTIALS = {PROVIDER: "key"}
_REPOSITORIES = [
    name for name, part in vars(Ledger(cast("Database", None))).items() if name[0] != "_" and part
]
_ACK_WAIT = 30.0
_WINDOWS = (60.0, 300.0, 3600.0)
_GRACES = (5.0, 90.0)
_PACES = ((0.3, 0.0), (0.3, 0.0), (0.05, 0.0), (0.1, 40.0), (0.1, 300.0))
_GRANT, _RESERVE = 10**9, 10**5
_MAX_COST = 150_000
"""Room for one line at a time: until it is answered, it may cost two thirds of that."""
_CANARIES = 0.2
_DELETING = ("call discard", "answer to discard", "remote_files.put_back")
_OPEN_SHARD = "(lower(state) != 'settled' OR (given_up_at IS NOT NULL AND NOT late_merged))"
_ENDED = "lower(state) IN ('completed', 'failed', 'expired', 'cancelled')"
_OVERDUE = (
    f"SELECT EXISTS (SELECT * FROM shards WHERE {_OPEN_SHARD} AND due_at < :before)"
    " OR EXISTS (SELECT * FROM shards WHERE inputs_due_at <= :now)"
    f" OR EXISTS (SELECT * FROM batches WHERE NOT {_ENDED} AND due_at < :before)"
)
_SWEEP_SECONDS = 15.0
_LONGEST_SWEEP_PAUSE = 600.0
_PATIENCE = 6 * 3600.0
"""Seconds after the last odd thing: longer than a completion window, and than what is left of it
for late answers."""

Handler = Callable[[WorkItem, Delivery], Awaitable[Ack | Snooze]]


class Ground:
    """What all runs of one process stand on: a ledger's file, its first contents, and blobs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "ledger.sqlite3"
        self.url = f"sqlite+aiosqlite:///{self.path}"
        self.blobs = BlobStore.open((folder / "blobs").as_uri())
        self.database = Database.connect(self.url, pool_size=1)
        access: dict[str, Any] = {f"{PROVIDER}_api_key": "k"}
        self.known = known_providers(ProviderAccess.model_validate(access), Settings())
        self.likeness = self.known.open()[PROVIDER]
        self.settings = Settings(
            data_dir=folder,
            provider_timeout=TIMEOUT,
            reconcile_settle=SETTLE.total_seconds(),
            retry_limit=2,
        )
        self.file_prices = file_prices(Ledger(self.database), self.known)
        self._empty = sqlite3.connect(folder / "empty.sqlite3")
        self.batch_row: dict[str, Any] = {}
        self.file_row: dict[str, Any] = {}

    async def prepare(self) -> None:
        """Once, on any loop."""
        await self.database.migrate()
        batch, file = await store(self.blobs, [chat(n, MODEL) for n in range(LINES)])
        self.batch_row, self.file_row = batch.model_dump(), file.model_dump()
        self.beside = sqlite3.connect(self.path, isolation_level=None)
        self.beside.backup(self._empty)

    async def close(self) -> None:
        await self.database.close()
        self.beside.close()
        self._empty.close()

    def renew(self) -> None:
        """As it was at the beginning."""
        self._empty.backup(self.beside)
        shutil.rmtree(self.folder / "blobs" / "batches", ignore_errors=True)


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
        ledger = cast("Ledger", Gated(world.ledger, loop, process, "ledger", _REPOSITORIES))
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


class World:
    """All that a run consists of. `finished` is set once nothing is left to do."""

    def __init__(self, ground: Ground, loop: Scheduler) -> None:
        self.ground = ground
        self.loop = loop
        self.ledger = Ledger(Database(ground.url, ground.database._engine))
        self.ledger.durations._clock = loop.time
        self.blobs_gated = loop.schedule.seed % 4 == 0
        kind = random.Random(f"world {loop.schedule.seed}")
        self.truth = Truth(loop, uploads=kind.random() < 0.6, pace=kind.choice(_PACES))
        self.window, self.grace = kind.choice(_WINDOWS), kind.choice(_GRACES)
        self.funding = kind.choice((Funding.METERED, Funding.PREPAID))
        self.max_cost = kind.choice((None, None, None, _MAX_COST))
        self.canary = kind.random() < _CANARIES
        self.messages: list[Message] = []
        self.members: list[Member] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.failures: list[str] = []
        self.finished = asyncio.Event()
        self.batch_id = ""
        self._user = Process("user")
        self._user_ledger: Any = Gated(self.ledger, loop, self._user, "ledger", _REPOSITORIES)
        bus = cast("Any", Bus(self, self._user))
        self._user_publisher = EventPublisher(bus, self._user_ledger)
        self._wishes = {"cancel": self._cancel, "a pause": self._pause}
        self._sweep_at: dict[str, float] = {}
        self._sweep_pause = _SWEEP_SECONDS
        self.left_files = False
        """Whether somebody died amid a deletion: then a file stays (decision 11)."""
        self._calm_since: float | None = None
        self._started = 0
        loop.further, loop.next_due = self._options, self._next_due

    async def run(self) -> None:
        """From the making of the batch until all is quiet."""
        self.batch_id = await self._make(now())
        for kind in ("dispatcher", "dispatcher", "collector", "collector"):
            self._start(kind)
        self.messages.append(Message(Step.PLAN, WorkItem(batch_id=self.batch_id), self.loop.time()))
        await self.finished.wait()

    async def _make(self, moment: Any) -> str:
        times = {
            "created_at": moment,
            "due_at": moment,
            "expires_at": moment + timedelta(seconds=self.window),
        }
        file = File(**(self.ground.file_row | {"created_at": moment}))
        batch = Batch(**(self.ground.batch_row | times))
        batch.window_seconds = self.window
        batch.prices = snapshot(price(model="gpt-4.1"))
        batch.max_cost_nanos = self.max_cost
        if self.canary:
            batch.canary_lines, batch.canary_max_failure_rate = 1, 0.5
            batch.canary_state = CanaryState.RUNNING
        account = Account(id=batch.account_id, name="a", created_at=moment, funding=self.funding)
        await add_rows(self.ledger, account)
        await self.ledger.credits.grant(account.id, _GRANT, request_id="first")
        await self.ledger.files.finish_upload(file)
        reserve = _RESERVE if self.funding is Funding.PREPAID else None
        return (await create(self.ledger, batch, reserve_nanos=reserve)).id

    def _start(self, kind: str) -> None:
        self._started += 1
        member = Member(self, Process(f"{kind}{self._started}"))
        self.members.append(member)

    # What could happen.

    def _options(self) -> list[Option]:
        if self._at_rest():
            return [Option("the end", self.finished.set)]
        options = self._deliveries()
        options += self.truth.options()
        options += self._sweeps()
        if "to go on" in self._wishes:
            wish = self._wishing("to go on", self._resume)
            options.append(Option("user wants to go on", wish, 0.2))
        for each in (member.process for member in self.members if member.process.stalled):
            options.append(Option(f"{each.name} goes on", self._stalling(each, False), 0.5))
        if self.loop.schedule.faulty:
            options += self._faults()
        return options

    def _deliveries(self) -> list[Option]:
        moment = self.loop.time()
        found: list[Option] = []
        for message in self.messages:
            if message.holder is not None or message.due > moment:
                continue
            for member in self.members:
                if message.step in member.steps and not member.process.stalled:
                    label = f"{member.process.name} is given {message.label}"
                    found.append(Option(label, self._delivering(message, member)))
        return found

    def _delivering(self, message: Message, member: Member) -> Callable[[], None]:
        def deliver() -> None:
            message.holder = member.process
            message.count += 1
            self._spawn(self._handle(message, member))

        return deliver

    def _spawn(self, coroutine: Any) -> None:
        task = self.loop.create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _handle(self, message: Message, member: Member) -> None:
        handler = outage_retry(member.runtime, member.steps[message.step])
        delivery = Delivery(message.count, now())
        try:
            outcome = await handler(message.item, delivery)
        except asyncio.CancelledError:
            return
        except BaseException as error:  # noqa: BLE001 (what a handler raises is what we look for)
            self.failures.append(f"{message.label} at {member.process.name} raised {error!r}")
            outcome = Snooze(failure_delay(message.count))
        if message not in self.messages or message.holder is not member.process:
            return
        if isinstance(outcome, Ack):
            self.messages.remove(message)
        else:
            message.holder = None
            message.due = self.loop.time() + max(outcome.delay, 0.01)

    def _sweeps(self) -> list[Option]:
        found: list[Option] = []
        calm, moment = self.loop.schedule.calm, self.loop.time()
        for member in self._one_of_each() if calm else self.members:
            name = member.process.name
            if member.process.stalled or moment < self._sweep_at.get(name, _SWEEP_SECONDS):
                continue
            found.append(Option(f"{name} sweeps", self._sweeping(member), 0.05))
        return found if found and not (calm and self._busy()) and self._overdue() else []

    def _overdue(self) -> bool:
        """Whether a sweep would find something: most find nothing, and take a third of a run."""
        before = now() - timedelta(seconds=_SWEEP_SECONDS)
        parameters = {"before": f"{before:%F %T.%f}", "now": f"{now():%F %T.%f}"}
        return bool(self.ground.beside.execute(_OVERDUE, parameters).fetchone()[0])

    def _busy(self) -> bool:
        """Whether somebody who lives stands at a gate."""
        return any(not gate.process.dead for gate in self.loop.gates)

    def _one_of_each(self) -> list[Member]:
        return [*{each.process.kind: each for each in self.members}.values()]

    def _sweeping(self, member: Member) -> Callable[[], None]:
        async def sweep() -> None:
            try:
                await member.sweep.once()
            except asyncio.CancelledError:
                return

        def begin() -> None:
            # Few rounds tell as much as many.
            self._sweep_pause = min(1.2 * self._sweep_pause, _LONGEST_SWEEP_PAUSE)
            self._sweep_at[member.process.name] = self.loop.time() + self._sweep_pause
            self._spawn(sweep())

        return begin

    def _faults(self) -> list[Option]:
        found: list[Option] = []
        for member in self.members:
            process = member.process
            gated = any(gate.process is process for gate in self.loop.gates)
            if gated and not process.stalled:
                stall = self._stalling(process, True)
                found.append(Option(f"{process.name} stands still", stall, 0.1, fault=True))
            if gated:
                death = self._killing(member)
                found.append(Option(f"{process.name} dies", death, 0.1, fault=True))
        for message in self.messages:
            again = self._repeating(message)
            found.append(Option(f"bus repeats {message.label}", again, 0.15, fault=True))
        for name, wish in self._wishes.items():
            if name != "to go on":
                act = self._wishing(name, wish)
                found.append(Option(f"user wants {name}", act, 0.08, fault=True))
        return found

    def _stalling(self, process: Process, stalled: bool) -> Callable[[], None]:
        def stall() -> None:
            process.stalled = stalled

        return stall

    def _killing(self, member: Member) -> Callable[[], None]:
        def kill() -> None:
            gates = [gate.label for gate in self.loop.gates if gate.process is member.process]
            self.left_files |= any(label.startswith(_DELETING) for label in gates)
            member.process.dead = True
            self.members.remove(member)
            for message in self.messages:
                if message.holder is member.process:
                    message.holder = None
                    message.due = self.loop.time() + _ACK_WAIT
            self._start(member.process.kind)

        return kill

    def _repeating(self, message: Message) -> Callable[[], None]:
        def repeat() -> None:
            again = Message(message.step, message.item, self.loop.time(), message.count)
            self.messages.append(again)

        return repeat

    def _wishing(self, name: str, wish: Callable[[], Awaitable[None]]) -> Callable[[], None]:
        async def call() -> None:
            try:
                await wish()
            except asyncio.CancelledError:
                return

        def begin() -> None:
            del self._wishes[name]
            self._spawn(call())

        return begin

    async def _cancel(self) -> None:
        """As the gateway does, and so the next two."""
        cancelled = await self._user_ledger.batches.cancel(self.batch_id)
        if not isinstance(cancelled, Stale):
            await self._user_publisher.enqueue(Step.STOP, self.batch_id)

    async def _pause(self) -> None:
        await self._user_ledger.pauses.pause_batch(self.batch_id, "key_1")
        self._wishes["to go on"] = self._resume

    async def _resume(self) -> None:
        resumed = await self._user_ledger.pauses.resume_batch(self.batch_id)
        if isinstance(resumed, Batch):
            held = HeldShards(self._user_ledger, self._user_publisher)
            await held.of_batch(self.batch_id)

    # When it ends.

    def _next_due(self) -> float:
        moment = self.loop.time()
        dues = [each.due for each in self.messages if each.holder is None]
        dues += [moment + wait for wait in self.truth.dues()]
        dues += [self._sweep_at.get(each.process.name, _SWEEP_SECONDS) for each in self.members]
        return min(due for due in [*dues, moment + _SWEEP_SECONDS] if due > moment)

    def _at_rest(self) -> bool:
        """Whether the run is over: there is nothing left to do, or nobody does it."""
        loop = self.loop
        if self._busy():
            return False
        waiting = self.messages or any(each.open for each in self.truth.batches.values())
        if not waiting and self._done():
            return True
        if not loop.schedule.calm:
            return False
        if self._calm_since is None:
            self._calm_since = loop.time()
        if loop.time() - self._calm_since < _PATIENCE:
            return False
        self.failures.append(f"not at rest {_PATIENCE / 3600:.0f} hours later: {self.state()}")
        return True

    def _done(self) -> bool:
        """What the ledger says, read beside the loop."""
        ledger = self.ground.beside
        open_shards = ledger.execute(f"SELECT count(*) FROM shards WHERE {_OPEN_SHARD}").fetchone()[
            0
        ]
        ended = ledger.execute(f"SELECT {_ENDED} FROM batches").fetchone()[0]
        return bool(ended) and not open_shards and (self.left_files or not self.truth.files)

    def state(self) -> str:
        """Batch and shards as they are, for people."""
        ledger = self.ground.beside
        batch = ledger.execute("SELECT state, stop FROM batches").fetchone()
        shards = ledger.execute(
            "SELECT id, state, remote_id, given_up_at IS NOT NULL, late_merged, due_at,"
            " waiting_reason FROM shards"
        ).fetchall()
        return f"{batch}, {shards}, files {self.truth.files}, {self.messages}"
