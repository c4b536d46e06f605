"""Batches with a max cost: how much of a shard goes, what waits, and what is never sent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from polybatch.v1.events_pb2 import WorkItem

from core.batchfile import INDEX, ResultFile, decode_answer
from core.blobs import BlobStore
from core.bus import Ack, Delivery, Snooze, Step
from core.ledger import Batch, Ledger, ModelSpend, Room, Settlement, Shard, ShardState, now
from core.pipeline import EventPublisher, ProviderKeys, Runtime, Settler
from core.providers import Refused, known_providers
from core.settings import ProviderAccess, Settings
from services.dispatcher.fair_scheduler import FairScheduler
from services.dispatcher.sharding import plan_shards
from services.dispatcher.submit import Submitter
from tests.support.input_files import chat, store
from tests.support.prices import cost_limit, price, snapshot
from tests.support.publishers import EnqueuedSteps
from tests.unit.dispatcher.test_submit_step import Scripted

MODEL = "openai/gpt-4.1"
DELIVERY = Delivery(1, now())
ANSWER = 1_000_000
"""Nano-dollars that an answer of one token can cost; prompts are free."""


def line(number: int, answer: int) -> bytes:
    return chat(number, MODEL, max_tokens=answer)


class Stand:
    """A dispatcher with one batch, whose lines cost their `max_tokens` times ANSWER at the most."""

    def __init__(self, ledger: Ledger, blobs: BlobStore, folder: Path) -> None:
        access = ProviderAccess.model_validate({"openai_api_key": "k"})
        known = known_providers(access, Settings())
        self.providers: dict[str, Any] = dict(known.open())
        self.provider = self.providers["openai"] = Scripted(self.providers["openai"])
        self.ledger, self.blobs = ledger, blobs
        self.publisher = EnqueuedSteps()
        self.runtime = Runtime(
            Settings(data_dir=folder, provider_timeout=60.0),
            ledger,
            blobs,
            cast("Any", None),
            cast("EventPublisher", self.publisher),
        )
        self.submitter = Submitter(
            self.runtime,
            self.providers,
            {},
            FairScheduler(self.runtime),
            {},
            ProviderKeys({}, recheck=0.0),
            cost_limit(self.runtime, known),
        )
        self.settler = Settler(self.runtime)

    async def plan(self, answers: Sequence[int], max_cost: int | None, *, shards: int = 1) -> None:
        """`max_cost`: in units of ANSWER, each line having some nano-dollars besides, too."""
        batch, file = await store(
            self.blobs, [line(number, answer) for number, answer in enumerate(answers)]
        )
        rates = {"input": 0, "output": ANSWER * 1_000_000}
        batch.prices = snapshot(price("openai", "gpt-4.1", **rates))
        if max_cost is not None:
            batch.max_cost_nanos = max_cost * ANSWER + len(answers)
        await self.ledger.files.finish_upload(file)
        assert isinstance(await self.ledger.batches.create(batch), Batch)
        [whole] = await plan_shards(batch, file, self.blobs, self.providers)
        records = await self.blobs.get(whole.lines_key)
        each = len(records) // shards
        planned = []
        for ordinal in range(shards):
            shard = whole.successor(
                f"shard_{ordinal}", lines=each // INDEX.size, round_number=0, due_at=now()
            )
            shard.ordinal = ordinal
            part = records[ordinal * each : (ordinal + 1) * each]
            await self.blobs.put(shard.lines_key, part, point=PLAN)
            planned.append(shard)
        await self.ledger.batches.plan(batch.id, planned)

    async def handle(self, shard: Shard) -> Ack | Snooze:
        return await self.submitter.handle(
            WorkItem(batch_id=shard.batch_id, shard_id=shard.id), DELIVERY
        )

    async def shards(self, *states: ShardState) -> list[Shard]:
        found = await self.ledger.shards.of_batch("batch_1")
        return [shard for shard in found if not states or shard.state in states]

    async def settle(self, shard: Shard, tokens: int) -> None:
        """Its answers come home, of so many tokens."""
        await self.ledger.shards.fetching(shard, "completed")
        [fetched] = [each for each in await self.shards() if each.id == shard.id]
        spend = ModelSpend(MODEL, shard.line_count, cost_nanos=tokens * ANSWER)
        await self.settler.settle(fetched, Settlement(shard.line_count, 0, spend=[spend]))

    async def room(self) -> Room:
        room = (await self.ledger.stop_loss.limits("batch_1")).room
        assert room is not None
        return room


@pytest.fixture
def stand(ledger: Ledger, blobs: BlobStore, tmp_path: Path) -> Stand:
    return Stand(ledger, blobs, tmp_path)
