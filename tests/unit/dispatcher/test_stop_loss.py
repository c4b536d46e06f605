"""Batches with a max cost, a thousand of them, with answers of every length that is allowed.

Dispatchers die, providers refuse, lose answers and bill what failed; and yet no batch costs more
than it may, and no line is refused that there was room for when its batch had ended.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from polybatch.v1.events_pb2 import WorkItem

from core.batchfile import INDEX, ResultFile
from core.blobs import BlobStore, StoredFile
from core.bus import Snooze, Step
from core.failpoints import Failpoint
from core.ledger import File, Ledger, ModelSpend, Settlement, Shard, ShardState, new_id, now
from core.providers import Absent, Accepted, Found, OutcomeUnknown, Refused
from tests.support.input_files import store
from tests.support.ledger.money import check_books
from tests.support.ledger.rows import batch_row, create, reread, shard_row
from tests.support.prices import price, snapshot
from tests.unit.dispatcher.test_cost_limit import ANSWER, DELIVERY, MODEL, Stand, line

_LINES = 5
_ROUNDS = 1
_REFUSED = Refused("rate", "later", transient=True, retry_after=0.0)


class World:
    """Batches of one file, and all that goes wrong with them."""

    def __init__(self, stand: Stand, random: Random) -> None:
        self.stand, self.random = stand, random
        self.answers = [random.randrange(1, 40) for _ in range(_LINES)]
        self.file: File
        self.costs: dict[int, int] = {}
        self.remote = 0

    async def open(self) -> None:
        """Store the file."""
        lines = [line(number, answer) for number, answer in enumerate(self.answers)]
        self.template, self.file = await store(self.stand.blobs, lines)
        await self.stand.ledger.files.finish_upload(self.file)
        index = await StoredFile.open(self.stand.blobs, f"{self.file.prefix}/index")
        records = await index.read(0, index.size)
        self.records = [INDEX.pack(*record) for record in INDEX.iter_unpack(records)]

    async def batch(self) -> str:
        """Make a batch that may cost so much, in shards of any size."""
        most = sum(self.answers) * ANSWER
        made = await create(
            self.stand.ledger,
            batch_row(
                self.file,
                total=_LINES,
                queued=_LINES,
                max_cost_nanos=self.random.randrange(1, most + most // 4),
                prices=snapshot(price("openai", "gpt-4.1", input=0, output=ANSWER * 1_000_000)),
            ),
        )
        cuts = sorted(self.random.sample(range(1, _LINES), self.random.randrange(3)))
        ends = [*cuts, _LINES]
        shards = []
        for ordinal, (start, end) in enumerate(zip([0, *cuts], ends, strict=True)):
            shard = shard_row(
                made,
                id=f"shard_{made.id.removeprefix('batch_')}{ordinal:04}",
                ordinal=ordinal,
                model=MODEL,
                line_count=end - start,
                byte_count=100 * (end - start),
            )
            records = b"".join(self.records[start:end])
            await self.stand.blobs.put(shard.lines_key, records, point=Failpoint.PLAN_LINES)
            shards.append(shard)
        await self.stand.ledger.batches.plan(made.id, shards)
        return made.id

    async def run(self, batch_id: str) -> None:
        """Let dispatchers and the provider do their worst until every line has its outcome."""
        shards = await self.stand.ledger.shards.of_batch(batch_id)
        waiting = deque(shard.id for shard in shards)
        self.random.shuffle(waiting)
        while True:
            shards = await self.stand.ledger.shards.of_batch(batch_id)
            if all(shard.state == ShardState.SETTLED for shard in shards):
                return
            sent = [shard for shard in shards if shard.state == ShardState.SUBMITTED]
            assert sent or waiting, "nobody wakes what waits"
            if waiting and (not sent or self.random.random() < 0.6):
                shard_id = waiting.popleft()
                if await self.dispatch(batch_id, shard_id):
                    waiting.append(shard_id)
            else:
                await self.settle(self.random.choice(sent))
            waiting.extend(
                shard_id
                for step, shard_id in self.stand.publisher.wakes
                if step is Step.SUBMIT and shard_id not in waiting
            )
            self.stand.publisher.wakes.clear()

    async def dispatch(self, batch_id: str, shard_id: str) -> bool:
        """One look of a dispatcher; True where it has to come back."""
        provider, chance = self.stand.provider, self.random.random()
        self.remote += 1
        provider.before_gate = provider.after_gate = None
        provider.outcome = Accepted(f"remote_{self.remote}", f"file-{self.remote}")
        provider.found = self.random.choice([Absent(), Found(f"remote_{self.remote}")])
        if chance < 0.05:
            provider.outcome = _REFUSED
        elif chance < 0.1:
            provider.outcome = OutcomeUnknown("the answer was lost")
        elif chance < 0.15:
            provider.before_gate = die
        elif chance < 0.2:
            provider.after_gate = die
        item = WorkItem(batch_id=batch_id, shard_id=shard_id)
        with suppress(asyncio.CancelledError):
            return isinstance(await self.stand.submitter.handle(item, DELIVERY), Snooze)
        return True

    async def settle(self, shard: Shard) -> None:
        """Its answers come home: good ones, bad ones, and such as are sent again."""
        cost, again, failed = 0, [], 0
        for record in INDEX.iter_unpack(await self.stand.blobs.get(shard.lines_key)):
            chance = self.random.random()
            most = self.answers[record[2] - 1]
            if chance < 0.9:
                # Also of a line that failed, and is sent again.
                cost += ANSWER * self.random.choice([1, most, self.random.randint(1, most)])
            if chance > 0.75:
                if shard.round < _ROUNDS:
                    again.append(INDEX.pack(*record))
                else:
                    failed += 1
        retry = []
        if again:
            successor = shard.successor(
                new_id("shard"), lines=len(again), round_number=shard.round + 1, due_at=now()
            )
            lines = b"".join(again)
            await self.stand.blobs.put(successor.lines_key, lines, point=Failpoint.RETRY_LINES)
            retry = [successor]
        await self.stand.ledger.shards.fetching(shard, "completed")
        fetched = await reread(self.stand.ledger, shard)
        settlement = Settlement(
            shard.line_count - len(again) - failed,
            failed,
            retried=len(again),
            spend=[ModelSpend(MODEL, shard.line_count, cost_nanos=cost)],
        )
        assert await self.stand.settler.settle(fetched, settlement, retry)

    async def refused(self, batch_id: str) -> list[int]:
        """What each line can cost, of those that were not sent."""
        found = []
        for shard in await self.stand.ledger.shards.of_batch(batch_id):
            if shard.results_prefix:
                results = await ResultFile.open(self.stand.blobs, shard.results_prefix)
                async for group in results.lines():
                    found += [self.answers[each.line - 1] * ANSWER for each in group]
        return found


async def die() -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("batches", "seed"),
    [pytest.param(8, 7, id="few"), *((200, seed) for seed in range(5))],
)
@pytest.mark.long
@pytest.mark.timeout(600)
async def test_no_batch_costs_more_than_it_may(
    ledger: Ledger, blobs: BlobStore, tmp_path: Path, batches: int, seed: int
) -> None:
    world = World(Stand(ledger, blobs, tmp_path), Random(seed))
    await world.open()
    cut, whole = 0, 0
    for _ in range(batches):
        batch_id = await world.batch()
        await world.run(batch_id)
        batch = await ledger.batches.get(batch_id)
        assert batch.max_cost_nanos is not None
        assert batch.cost_nanos <= batch.max_cost_nanos
        refused = await world.refused(batch_id)
        left = batch.max_cost_nanos - batch.cost_nanos
        assert all(at_most > left for at_most in refused), "there was room for it"
        cut, whole = cut + bool(refused), whole + (not refused)
    assert min(cut, whole) > batches // 5, "both kinds are among them"
    await check_books(ledger)
