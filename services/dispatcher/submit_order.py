"""The order in which shards are sent: items come as the bus has them, first those of the batch that
was planned first, however many they are.

In: a work item of the submit step. Out: before its own shard those that are ahead of it: of an
account that was served longer ago, or of a higher priority in its own account. Beside the items
goes a shard each of accounts of which nothing is under way here, while long uploads of others take
every place. What can go wrong: two dispatchers take the same one; then one of them
translates it in vain, as the ledger lets it go once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import structlog
from polybatch.v1.events_pb2 import WorkItem

from core.bus import Ack, Delivery, Handler, Snooze
from core.ledger import LedgerUnavailable, QueuedShard, Shard, ShardState, now
from services.dispatcher.turns import Served

log = structlog.get_logger()

# Shards of each account that are known beforehand.
OF_ACCOUNT = 4
_FRESH = 1.0
# With many queued shards a look takes long: so much more time passes between two.
_LOOK_SHARE = 20
_LANE_PAUSE = 1.0
# Shards that one item brings on before its own.
_MOST_BEFORE = 8
# When an item comes back whose shard is under way without it.
_BUSY_PAUSE = 2.0

Look = Callable[[], Awaitable[Sequence[QueuedShard]]]


class SubmitOrder:
    """Hands shards to the submit step in fair order."""

    def __init__(
        self,
        submit: Handler,
        find: Callable[[str], Awaitable[Shard | None]],
        look: Look,
        providers: Sequence[str],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`find`: a shard by its id; `look`: the first of each account that could be sent.

        `providers`: those that have batches; what others run has an order of its own.
        """
        self._submit = submit
        self._find = find
        self._look = look
        self._providers = frozenset(providers)
        self._clock = clock
        self._served = Served()
        self._under_way: dict[str, str] = {}
        """Shards, with their accounts."""
        self._queued: list[QueuedShard] = []
        self._passed_over: set[str] = set()
        """Those that could not be brought on without their items."""
        self._look_at = float("-inf")
        self._looking = asyncio.Lock()

    async def handle(self, item: WorkItem, delivery: Delivery) -> Ack | Snooze:
        """Bring a shard one step on, and before it those that are ahead of it."""
        if item.shard_id in self._under_way:
            return Snooze(_BUSY_PAUSE)
        shard = await self._find(item.shard_id)
        if (
            shard is None
            or shard.state != ShardState.QUEUED
            or shard.provider not in self._providers
        ):
            return await self._submit(item, delivery)
        own = QueuedShard(
            shard.id,
            shard.batch_id,
            shard.account_id,
            shard.priority,
            shard.created_at,
            shard.ordinal,
        )
        for _ in range(_MOST_BEFORE):
            other = await self._ahead_of(own)
            if other is None:
                break
            await self._bring_other(other)
        if own.id in self._under_way:
            return Snooze(_BUSY_PAUSE)
        return await self._bring(own, item, delivery)

    async def keep_lanes(self, lanes: int, stop: asyncio.Event) -> None:
        """Send what is of accounts of which nothing is under way, until `stop` is set.

        `lanes`: so many shards at a time.
        """
        free = asyncio.Semaphore(lanes)
        async with asyncio.TaskGroup() as tasks:
            while not stop.is_set():
                if not free.locked() and (other := await self._of_others()) is not None:
                    await free.acquire()
                    bringing = tasks.create_task(self._bring_other(other))
                    bringing.add_done_callback(lambda _: free.release())
                    continue
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LANE_PAUSE):
                        await stop.wait()

    async def _ahead_of(self, own: QueuedShard) -> QueuedShard | None:
        return await self._take(lambda each: self._place(each) < self._place(own))

    async def _of_others(self) -> QueuedShard | None:
        """The first of an account of which nothing is under way, while anything is."""
        if not self._under_way:
            return None
        try:
            busy = self._under_way.values()
            other = await self._take(lambda each: each.account_id not in busy)
        except LedgerUnavailable as error:
            log.warning("queued_shards_not_read", cause=str(error))
            return None
        if other is not None:
            # Its task begins later than the next look.
            self._under_way[other.id] = other.account_id
        return other

    async def _take(self, wanted: Callable[[QueuedShard], bool]) -> QueuedShard | None:
        """The first of the queued shards that are wanted; from now on it is under way."""
        await self._look_again()
        found = [
            each
            for each in self._queued
            if each.id not in self._under_way and each.id not in self._passed_over and wanted(each)
        ]
        if not found:
            return None
        first = min(found, key=self._order)
        self._queued.remove(first)
        return first

    def _place(self, shard: QueuedShard) -> tuple[int, int]:
        return self._served.last(shard.account_id), -shard.priority

    def _order(self, shard: QueuedShard) -> tuple[object, ...]:
        return (*self._place(shard), shard.created_at, shard.ordinal)

    async def _look_again(self) -> None:
        async with self._looking:
            began = self._clock()
            if began < self._look_at:
                return
            self._queued = list(await self._look())
            took = self._clock() - began
            self._look_at = began + max(_FRESH, took * _LOOK_SHARE)
            self._passed_over &= {each.id for each in self._queued}
            accounts = {each.account_id for each in self._queued}
            self._served.keep(accounts | set(self._under_way.values()))

    async def _bring_other(self, shard: QueuedShard) -> None:
        """Bring one without its item, which sees to it when it comes."""
        item = WorkItem(batch_id=shard.batch_id, shard_id=shard.id)
        try:
            await self._bring(shard, item, Delivery(1, now()))
        except Exception:
            # Not what the item at hand is about. Its own comes to the same, and is repeated ever
            # more slowly by the bus.
            self._passed_over.add(shard.id)
            log.exception("shard_passed_over", batch_id=shard.batch_id, shard_id=shard.id)

    async def _bring(self, shard: QueuedShard, item: WorkItem, delivery: Delivery) -> Ack | Snooze:
        self._under_way[shard.id] = shard.account_id
        self._served.note(shard.account_id)
        try:
            return await self._submit(item, delivery)
        finally:
            del self._under_way[shard.id]
