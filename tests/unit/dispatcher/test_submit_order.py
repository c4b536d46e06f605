"""The order in which shards are sent, played in a time of its own: who is behind a large batch."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from random import Random

import pytest
from polybatch.v1.events_pb2 import WorkItem

from core.bus import Ack, Delivery, Snooze
from core.ledger import Priority, QueuedShard, Shard, ShardState
from core.ledger import now as moment
from services.dispatcher.submit_order import OF_ACCOUNT, SubmitOrder
from services.dispatcher.turns import FairLock
from tests.unit.dispatcher.test_adaptive_concurrency import now, timeless

HANDLERS = 4
BEGAN = moment()


class World:
    """A bus, its handlers, and a submit step that takes the time that large shards take."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.rows: dict[str, Shard] = {}
        self.starts: list[str] = []
        """Accounts and batches of shards, in the order in which they were sent."""
        self.started: dict[str, float] = {}
        self.looks = 0
        self.items: asyncio.Queue[WorkItem] = asyncio.Queue()
        self.lock = FairLock()
        self.order = SubmitOrder(self.submit, self.find, self.look, ["openai"], clock=now)
        self.awaited: set[str] = set()
        self.all_sent = asyncio.Event()
        self.poison = ""

    def plan(self, account: str, shards: int, priority: Priority = Priority.NORMAL) -> list[str]:
        """As the plan step: one item for each shard, at the end of the bus's queue."""
        batch = f"batch_{len(self.rows)}"
        rows = [
            Shard(
                id=f"{batch}_{number}",
                batch_id=batch,
                account_id=account,
                ordinal=number,
                provider="openai",
                model="m",
                endpoint="/v1/chat/completions",
                state=ShardState.QUEUED,
                priority=priority,
                created_at=BEGAN + timedelta(seconds=len(self.rows)),
                due_at=BEGAN,
            )
            for number in range(shards)
        ]
        for row in rows:
            self.rows[row.id] = row
            self.items.put_nowait(WorkItem(batch_id=batch, shard_id=row.id))
        return [row.id for row in rows]

    async def find(self, shard_id: str) -> Shard | None:
        return self.rows.get(shard_id)

    async def look(self) -> Sequence[QueuedShard]:
        self.looks += 1
        found: list[QueuedShard] = []
        taken: Counter[str] = Counter()
        queued = [row for row in self.rows.values() if row.state == ShardState.QUEUED]
        for row in sorted(queued, key=lambda row: (-row.priority, row.created_at, row.ordinal)):
            taken[row.account_id] += 1
            if taken[row.account_id] <= OF_ACCOUNT:
                found.append(
                    QueuedShard(
                        row.id,
                        row.batch_id,
                        row.account_id,
                        row.priority,
                        row.created_at,
                        row.ordinal,
                    )
                )
        return found

    async def submit(self, item: WorkItem, delivery: Delivery) -> Ack | Snooze:
        row = self.rows[item.shard_id]
        if row.state != ShardState.QUEUED:
            return Ack()
        if row.id == self.poison:
            raise RuntimeError("a fault of ours")
        async with self.lock.turn(row.account_id, row.priority):
            await asyncio.sleep(self.random.uniform(5, 20))
            assert row.state == ShardState.QUEUED, "taken twice"
            row.state = ShardState.SUBMITTING
            self.starts.append(row.account_id)
            self.started[row.id] = now()
            if self.awaited <= self.started.keys():
                self.all_sent.set()
        await asyncio.sleep(self.random.uniform(60, 600))
        row.state = ShardState.SUBMITTED
        return Ack()

    async def work(self) -> None:
        """One of the bus's handlers."""
        while True:
            item = await self.items.get()
            try:
                outcome = await self.order.handle(item, Delivery(1, BEGAN))
            except RuntimeError:
                outcome = Snooze(30.0)
            if isinstance(outcome, Snooze):
                asyncio.get_running_loop().call_later(outcome.delay, self.items.put_nowait, item)

    async def run(self, until: Sequence[str]) -> None:
        """Until these shards are sent."""
        tasks = [asyncio.create_task(self.work()) for _ in range(HANDLERS)]
        tasks.append(asyncio.create_task(self.order.keep_lanes(HANDLERS, asyncio.Event())))
        self.awaited = set(until)
        await self.all_sent.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("seed", range(3))
@timeless
async def test_a_small_batch_behind_a_large_one_starts_within_a_minute(seed: int) -> None:
    world = World(Random(seed))
    large = world.plan("acct_large", 25)
    came: list[float] = []
    small: list[str] = []

    async def arrive() -> None:
        for number in range(3):
            await asyncio.sleep(world.random.uniform(0, 300))
            small.extend(world.plan(f"acct_small_{number}", 1))
            came.append(now())

    arriving = asyncio.create_task(arrive())
    await world.run(large)
    await arriving
    assert len(small) == 3
    for shard_id, arrived in zip(small, came, strict=True):
        assert world.started[shard_id] - arrived < 60
    assert len(world.starts) == 28


@timeless
async def test_two_large_batches_have_an_even_share() -> None:
    world = World(Random(1))
    first, second = world.plan("acct_a", 15), world.plan("acct_b", 15)
    await world.run([*first, *second])
    for end in range(4, 30):
        shares = Counter(world.starts[:end])
        assert abs(shares["acct_a"] - shares["acct_b"]) <= 4, world.starts[:end]


@timeless
async def test_a_higher_priority_goes_first_within_its_account_alone() -> None:
    world = World(Random(1))
    low = world.plan("acct_a", 12, Priority.LOW)
    other = world.plan("acct_b", 12)
    high = world.plan("acct_a", 6, Priority.HIGH)
    await world.run([*low, *other, *high])
    sent = sorted(world.started, key=lambda shard_id: world.started[shard_id])
    before_the_last_high = sent[: max(map(sent.index, high))]
    # Those that had begun when the look was taken, and no others.
    assert len([each for each in before_the_last_high if each in low]) <= 2
    assert abs(Counter(world.starts[:12])["acct_a"] - 6) <= 2, "the other account has its share"


@timeless
async def test_what_cannot_be_brought_on_keeps_nobody_up() -> None:
    world = World(Random(1))
    (bad,) = world.plan("acct_bad", 1)
    good = world.plan("acct_a", 8)
    world.poison = bad
    await world.run(good)
    assert bad not in world.started


@timeless
async def test_it_looks_once_a_second_at_the_most() -> None:
    world = World(Random(1))
    shards = world.plan("acct_a", 20)
    await world.run(shards)
    assert world.looks <= now() - 1000 + 1


@timeless
async def test_the_lock_is_passed_on_by_a_waiter_that_gives_up() -> None:
    lock, order = FairLock(), []

    async def take(name: str, account: str, priority: int = 2) -> None:
        async with lock.turn(account, priority):
            order.append(name)
            await asyncio.sleep(1)

    tasks = [asyncio.create_task(take("a1", "a"))]
    await asyncio.sleep(0)
    tasks += [
        asyncio.create_task(take(*each))
        for each in (("a2", "a"), ("a3", "a", 3), ("b1", "b"), ("b2", "b"), ("c1", "c"))
    ]
    await asyncio.sleep(0.5)
    tasks[4].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == ["a1", "b1", "c1", "a3", "a2"]
    await take("d", "d")
    assert order[-1] == "d", "it is free again"


@pytest.mark.parametrize("stopped", [1, 2])
async def test_the_lock_passes_by_a_waiter_that_is_stopped_at_the_same_moment(
    stopped: int,
) -> None:
    lock, let_go, order = FairLock(), asyncio.Event(), []

    async def hold() -> None:
        async with lock.turn("a", 2):
            await let_go.wait()

    async def take(number: int) -> None:
        async with lock.turn("b", 2):
            order.append(number)

    holding = asyncio.create_task(hold())
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(take(number)) for number in (1, 2)]
    await asyncio.sleep(0)
    # The holder goes on in the next turn of the loop, and hears of the stop there, too.
    let_go.set()
    waiting[stopped - 1].cancel()
    await holding
    async with asyncio.timeout(10):
        await asyncio.gather(*waiting, return_exceptions=True)
        await take(3)
    assert order == [3 - stopped, 3]
