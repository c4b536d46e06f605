"""One batch, with all that works on it: processes, a bus that delivers at least once, a provider.

What is the product's is real: the handlers of dispatcher and collector, the sweep, the ledger on
SQLite, the blobs in a folder. The bus, the provider, the user and whoever kills processes are the
schedule's.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, cast

from polybatch.v1.events_pb2 import WorkItem

from core.bus import Ack, Delivery, Snooze, Step
from core.bus.consumer import failure_delay
from core.ledger import Account, Batch, CanaryState, File, Funding, Ledger, Stale, now
from core.ledger.database import Database
from core.pipeline import (
    EventPublisher,
    HeldShards,
    outage_retry,
)
from tests.interleavings.ground import Ground
from tests.interleavings.members import REPOSITORIES, Bus, Member, Message
from tests.interleavings.scheduler import Gated, Option, Process, Scheduler
from tests.interleavings.truth import Truth
from tests.support.ledger.rows import add_rows, create
from tests.support.prices import price, snapshot

_ACK_WAIT = 30.0
_WINDOWS = (60.0, 300.0, 3600.0)
_GRACES = (5.0, 90.0)
_SLOW = (0.1, 40.0)
_PACES = ((0.3, 0.0), (0.3, 0.0), (0.05, 0.0), _SLOW, (0.1, 300.0))
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


class World:
    """All that a run consists of. `finished` is set once nothing is left to do."""

    def __init__(self, ground: Ground, loop: Scheduler) -> None:
        self.ground = ground
        self.loop = loop
        self.ledger = Ledger(Database(ground.url, ground.database._engine))
        self.ledger.durations._clock = loop.time
        self.blobs_gated = loop.schedule.seed % 4 == 1
        kind = random.Random(f"world {loop.schedule.seed}")
        if loop.schedule.in_doubt:
            self.truth = Truth(loop, uploads=False, pace=_SLOW)
        else:
            self.truth = Truth(loop, uploads=kind.random() < 0.7, pace=kind.choice(_PACES))
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
        self._user_ledger: Any = Gated(self.ledger, loop, self._user, "ledger", REPOSITORIES)
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
