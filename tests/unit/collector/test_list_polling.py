"""Many batches at a provider: seen through its list, each soon enough and none too often."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest
from polybatch.v1.events_pb2 import WorkItem

from core.bus import Delivery, Snooze, Step
from core.ledger import Batch, File, Ledger, Shard, ShardState, new_id, now
from core.pipeline import LateShards, Runtime, Settler
from core.providers import (
    Listed,
    Provider,
    ProviderRejected,
    ProviderUnavailable,
    RemoteBatch,
    RemoteState,
)
from core.settings import Settings
from services.collector.bad_lines import BadLineIsolation
from services.collector.list_polling import FEWEST
from services.collector.poll import Poller
from tests.support.ledger.rows import batch_row, reread, shard_row

SETTINGS = Settings(poll_min_interval=5.0, poll_max_interval=60.0)
DELIVERY = Delivery(1, now())
MANY = 2 * FEWEST


@dataclass
class Clock:
    moment: datetime = field(default_factory=now)

    def __call__(self) -> datetime:
        return self.moment


@dataclass
class Vendor:
    """A provider whose batches are as they are told to be, and which counts the looks."""

    clock: Clock
    name: str = "openai"
    batches: dict[str, RemoteBatch] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)
    """What its list does not show."""
    pages: int = 1
    error: Exception | None = None
    list_error: Exception | None = None
    listed: list[datetime] = field(default_factory=list)
    polled: list[tuple[str, datetime]] = field(default_factory=list)
    hold: asyncio.Event | None = None
    """While it is not set, lists do not come."""
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def poll(self, remote_id: str) -> RemoteBatch:
        self.polled.append((remote_id, self.clock()))
        if self.error is not None:
            raise self.error
        if remote_id not in self.batches:
            raise ProviderRejected("not_found", "No such batch.", 404)
        return self.batches[remote_id]

    async def poll_many(self, remote_ids: Collection[str], oldest: datetime) -> Listed:
        assert oldest <= self.clock()
        self.listed.append(self.clock())
        self.asked.set()
        if self.hold is not None:
            await self.hold.wait()
        error = self.error or self.list_error
        if error is not None:
            raise error
        shown = self.batches.keys() - self.hidden
        found = {each: self.batches[each] for each in remote_ids if each in shown}
        return Listed(found, self.pages)

    async def discard(self, remote_file_id: str) -> None:
        """Nothing is kept here."""

    def runs(self, remote_id: str, **changes: Any) -> None:
        running = RemoteBatch(remote_id, RemoteState.RUNNING, "in_progress", total=10)
        self.batches[remote_id] = replace(running, **changes)

    def ends(self, remote_id: str) -> None:
        self.runs(remote_id, state=RemoteState.ENDED, native_status="completed", finished=10)

    @property
    def calls(self) -> int:
        return len(self.polled) + self.pages * len(self.listed)


class Announced:
    """An announcer that only notes what it is to tell."""

    def __init__(self) -> None:
        self.woken: list[tuple[Step, str]] = []
        self.changes: Counter[str] = Counter()

    async def enqueue(self, step: Step, batch_id: str, shard_id: str = "") -> None:
        self.woken.append((step, shard_id or batch_id))

    async def changed(self, batch: Batch, kind: Any, shard: Shard | None = None) -> None:
        self.changes[shard.id if shard is not None else ""] += 1


class Office:
    """Two collectors that share a ledger, and the messages that sleep between them."""

    def __init__(self, ledger: Ledger) -> None:
        self.clock = Clock()
        self.vendor = Vendor(self.clock)
        self.ledger = ledger
        self.announced = Announced()
        self.messages: dict[str, datetime] = {}
        runtime = cast(
            Runtime,
            SimpleNamespace(settings=SETTINGS, ledger=ledger, publisher=self.announced),
        )
        providers = {"openai": cast(Provider, self.vendor)}
        settler = Settler(runtime)
        self.pollers = [
            Poller(
                runtime,
                providers,
                settler,
                cast(BadLineIsolation, None),
                LateShards(runtime, providers),
                {"openai": "key-1"},
                clock=self.clock,
            )
            for _ in range(2)
        ]

    async def submitted(self, file: File, count: int, *, seconds: float = 60.0) -> list[Shard]:
        """Batches of one shard each that were submitted so long ago and run."""
        moment = self.clock()
        made = []
        for number in range(count):
            batch = batch_row(file, total=10, at=moment)
            assert isinstance(await self.ledger.batches.create(batch), Batch)
            shard = shard_row(
                batch,
                model="openai/m",
                remote_model="m",
                state=ShardState.SUBMITTED,
                remote_id=f"remote_{new_id('batch')}",
                remote_status="in_progress",
                credential="key-1",
                line_count=10,
                created_at=moment,
                submitted_at=moment - timedelta(seconds=seconds),
                due_at=moment + timedelta(seconds=0.01 * number),
            )
            assert isinstance(await self.ledger.batches.plan(batch.id, [shard]), Batch)
            self.vendor.runs(shard.remote_id)
            self.messages[shard.id] = shard.due_at
            made.append(shard)
        return made

    async def run(self, seconds: float) -> None:
        """Let time pass, and the messages wake at either collector when they are due."""
        end = self.clock() + timedelta(seconds=seconds)
        turn = 0
        while self.messages:
            first = min(self.messages.values())
            if first > end:
                break
            self.clock.moment = max(self.clock(), first)
            awake = [each for each, at in self.messages.items() if at <= self.clock()]
            turn += 1
            await asyncio.gather(
                *(
                    self.deliver(shard_id, (turn + place) % 2)
                    for place, shard_id in enumerate(awake)
                )
            )
        self.clock.moment = end

    async def deliver(self, shard_id: str, poller: int = 0) -> None:
        item = WorkItem(shard_id=shard_id)
        outcome = await self.pollers[poller].handle(item, DELIVERY)
        if isinstance(outcome, Snooze):
            self.messages[shard_id] = self.clock() + timedelta(seconds=max(outcome.delay, 0.01))
        else:
            self.messages.pop(shard_id, None)

    async def state(self, shard: Shard) -> ShardState:
        found = await reread(self.ledger, shard)
        return ShardState(found.state)


@pytest.fixture
def office(ledger: Ledger) -> Office:
    return Office(ledger)


async def test_few_are_looked_at_one_by_one(office: Office, file: File) -> None:
    await office.submitted(file, FEWEST - 1)
    await office.run(30)
    assert not office.vendor.listed
    assert len(office.vendor.polled) >= FEWEST - 1


async def test_many_are_looked_at_through_the_list(office: Office, file: File) -> None:
    await office.submitted(file, MANY)
    await office.run(300)
    assert not office.vendor.polled
    lists = office.vendor.listed
    assert 300 / 60 <= len(lists) <= 300 / 15 + 1
    gaps = [later - earlier for earlier, later in pairwise(lists)]
    # One for both collectors, and never closer than batches may be looked at.
    assert min(gaps) >= timedelta(seconds=SETTINGS.poll_min_interval)
    assert not office.announced.changes, "nothing was new to anybody"


async def test_an_end_is_seen_and_fetched_once(office: Office, file: File) -> None:
    shards = await office.submitted(file, MANY)
    await office.run(60)
    office.vendor.ends(shards[3].remote_id)
    await office.run(90)
    assert await office.state(shards[3]) is ShardState.FETCHING
    assert office.announced.woken == [(Step.FETCH, shards[3].id)]
    assert await office.state(shards[4]) is ShardState.SUBMITTED
    assert not office.vendor.polled


async def test_progress_is_told(office: Office, file: File) -> None:
    shards = await office.submitted(file, MANY)
    office.vendor.runs(shards[0].remote_id, finished=4)
    await office.run(1)
    found = await office.ledger.shards.get(shards[0].id)
    assert found.finished == 4
    assert office.announced.changes == {shards[0].id: 1}
    other = await office.ledger.shards.get(shards[1].id)
    assert found.due_at == other.due_at, "it stays with the others"


@pytest.mark.long
async def test_what_the_list_lacks_is_looked_at_singly(office: Office, file: File) -> None:
    shards = await office.submitted(file, MANY)
    lacking = shards[2:6]
    office.vendor.hidden = {shard.remote_id for shard in lacking}
    await office.run(600)
    polled = Counter(remote_id for remote_id, _ in office.vendor.polled)
    assert polled.keys() == office.vendor.hidden
    office.vendor.ends(lacking[1].remote_id)
    await office.run(300)
    assert await office.state(lacking[1]) is ShardState.FETCHING
    # A batch is never looked at again sooner than it may be.
    for remote_id in office.vendor.hidden:
        looks = [at for each, at in office.vendor.polled if each == remote_id]
        for earlier, later in pairwise(looks):
            assert later - earlier >= timedelta(seconds=SETTINGS.poll_min_interval)


async def test_one_that_the_provider_no_longer_knows_is_noticed(office: Office, file: File) -> None:
    shards = await office.submitted(file, MANY, seconds=3600)
    del office.vendor.batches[shards[7].remote_id]
    await office.run(300)
    assert shards[7].remote_id in {remote_id for remote_id, _ in office.vendor.polled}


@pytest.mark.long
async def test_new_ones_that_the_list_is_slow_to_show(office: Office, file: File) -> None:
    await office.submitted(file, MANY)
    await office.run(120)
    new = await office.submitted(file, 2 * MANY, seconds=5)
    office.vendor.hidden = {shard.remote_id for shard in new}
    await office.run(30)
    office.vendor.hidden = set()
    for shard in new:
        office.vendor.ends(shard.remote_id)
    await office.run(120)
    assert {await office.state(shard) for shard in new} == {ShardState.FETCHING}


@pytest.mark.long
async def test_a_list_that_shows_nothing_is_left_alone(office: Office, file: File) -> None:
    shards = await office.submitted(file, 20)
    office.vendor.hidden = {shard.remote_id for shard in shards}
    office.vendor.pages = 3
    await office.run(1200)
    # Each of the two collectors finds out by itself.
    assert len(office.vendor.listed) <= 2 * 5
    polled = {remote_id for remote_id, _ in office.vendor.polled}
    assert polled == office.vendor.hidden
    assert office.vendor.calls < 160


@pytest.mark.parametrize(
    "error", [ProviderRejected("no_lists", "No.", 405), ProviderUnavailable("not readable")]
)
@pytest.mark.long
async def test_a_provider_without_a_usable_list(
    office: Office, file: File, error: Exception
) -> None:
    shards = await office.submitted(file, MANY)
    office.vendor.list_error = error
    await office.run(300)
    assert {each for each, _ in office.vendor.polled} == {shard.remote_id for shard in shards}
    assert not office.announced.changes, "no batch waits for anything"
    office.vendor.list_error = None
    await office.run(1200)
    office.vendor.polled.clear()
    await office.run(120)
    assert not office.vendor.polled, "the list is tried again"


async def test_every_batch_hears_soon_of_a_refused_key(office: Office, file: File) -> None:
    shards = await office.submitted(file, MANY)
    office.vendor.error = ProviderRejected("invalid_api_key", "No.", 401)
    await office.run(SETTINGS.poll_min_interval)
    for shard in shards:
        found = await reread(office.ledger, shard)
        assert "invalid_api_key" in found.waiting_reason


@pytest.mark.long
async def test_an_outage_is_told_once_and_costs_little(office: Office, file: File) -> None:
    shards = await office.submitted(file, MANY)
    office.vendor.error = ProviderUnavailable("503")
    await office.run(300)
    for shard in shards:
        found = await reread(office.ledger, shard)
        assert "503" in found.waiting_reason
        assert office.announced.changes[shard.id] == 1
    assert office.vendor.calls < 100
    office.vendor.error = None
    await office.run(120)
    for shard in shards:
        found = await reread(office.ledger, shard)
        assert not found.waiting_reason


async def test_a_wait_that_the_provider_asks_for_is_kept(office: Office, file: File) -> None:
    await office.submitted(file, MANY)
    office.vendor.error = ProviderUnavailable("slow down", retry_after=300.0)
    await office.run(290)
    assert office.vendor.calls == 1


async def test_a_list_does_not_hold_up_a_single_look(office: Office, file: File) -> None:
    shards = await office.submitted(file, MANY)
    office.vendor.hold = asyncio.Event()
    office.clock.moment = shards[-1].due_at
    first = asyncio.create_task(office.deliver(shards[0].id))
    async with asyncio.timeout(30):
        await office.vendor.asked.wait()
        # As the stop step asks, and as others wake meanwhile.
        await office.pollers[0].poll(shards[1])
        await office.deliver(shards[2].id)
        await office.deliver(shards[3].id, poller=1)
    assert [remote_id for remote_id, _ in office.vendor.polled] == [shards[1].remote_id]
    assert len(office.vendor.listed) == 1
    office.vendor.hold.set()
    async with asyncio.timeout(30):
        await first


@pytest.mark.long
async def test_what_many_in_flight_cost_is_bounded(office: Office, file: File) -> None:
    await office.submitted(file, 30)
    office.vendor.pages = 3
    hidden = list(office.vendor.batches)[:6]
    office.vendor.hidden = set(hidden)
    await office.run(900)
    assert office.vendor.calls <= 0.25 * 480 + len(hidden)
    assert {remote_id for remote_id, _ in office.vendor.polled} == set(hidden)
