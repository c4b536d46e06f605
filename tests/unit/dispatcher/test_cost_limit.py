"""Batches with a max cost: how much of a shard goes, what waits, and what is never sent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from polybatch.v1.events_pb2 import WorkItem
from sqlalchemy import update

from core.batchfile import INDEX, ResultFile
from core.blobs import BlobStore
from core.bus import Ack, Delivery, Snooze, Step
from core.failpoints import Failpoint
from core.ledger import Batch, Ledger, ModelSpend, Room, Settlement, Shard, ShardState, now
from core.pipeline import (
    Basis,
    BatchPrices,
    EventPublisher,
    PauseWatch,
    ProviderKeys,
    Reckoner,
    Runtime,
    Settler,
)
from core.providers import Accepted, Refused, known_providers
from core.settings import ProviderAccess, Settings
from services.dispatcher.fair_scheduler import FairScheduler
from services.dispatcher.sharding import plan_shards
from services.dispatcher.submit import Submitter
from services.gateway.file_totals import FileTotals
from tests.support.input_files import chat, store
from tests.support.prices import cost_limit, price, snapshot
from tests.support.publishers import EnqueuedSteps
from tests.unit.dispatcher.test_lines import Scripted as Direct
from tests.unit.dispatcher.test_lines import free
from tests.unit.dispatcher.test_submit_step import Scripted

MODEL = "openai/gpt-4.1"
DELIVERY = Delivery(1, now())
ANSWER = 1_000_000
"""Nano-dollars that an answer of one token can cost; prompts are free."""


def line(number: int, answer: int) -> bytes:
    return chat(number, MODEL, max_tokens=answer)


class Stand:
    """A dispatcher with one batch, whose lines cost their `max_tokens` times ANSWER at the most."""

    def __init__(
        self, ledger: Ledger, blobs: BlobStore, folder: Path, *, direct: bool = False
    ) -> None:
        """`direct`: its lines are run here."""
        access = ProviderAccess.model_validate({"openai_api_key": "k"})
        known = known_providers(access, Settings())
        self.providers: dict[str, Any] = dict(known.open())
        self.provider = self.providers["openai"] = Scripted(self.providers["openai"])
        self.ledger, self.blobs = ledger, blobs
        self.publisher = EnqueuedSteps()
        self.runtime = Runtime(
            Settings(data_dir=folder, provider_timeout=60.0, unreachable_pause=0.001),
            ledger,
            blobs,
            cast("Any", None),
            cast("EventPublisher", self.publisher),
        )
        self.submitter = Submitter(
            self.runtime,
            self.providers,
            {"openai": cast("Any", Direct(free()))} if direct else {},
            FairScheduler(self.runtime),
            {},
            ProviderKeys({}, recheck=0.0),
            cost_limit(self.runtime, known),
            PauseWatch(ledger),
        )
        self.settler = Settler(self.runtime)

    async def plan(self, answers: Sequence[int], max_cost: int | None, *, shards: int = 1) -> None:
        """`max_cost`: in units of ANSWER."""
        batch, file = await store(
            self.blobs, [line(number, answer) for number, answer in enumerate(answers)]
        )
        rates = {"input": 0, "output": ANSWER * 1_000_000}
        batch.prices = snapshot(price("openai", "gpt-4.1", **rates))
        if max_cost is not None:
            batch.max_cost_nanos = max_cost * ANSWER
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
            await self.blobs.put(shard.lines_key, part, point=Failpoint.PLAN_LINES)
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

    async def refused(self, shard: Shard) -> dict[int, dict[str, Any]]:
        """Errors of its lines that are never sent, by line number."""
        results = await ResultFile.open(self.blobs, shard.results_prefix)
        return {
            each.line: json.loads(each.raw)["error"]
            async for group in results.lines()
            for each in group
        }

    async def room(self) -> Room:
        room = (await self.ledger.stop_loss.limits("batch_1")).room
        assert room is not None
        return room


@pytest.fixture
def stand(ledger: Ledger, blobs: BlobStore, tmp_path: Path) -> Stand:
    return Stand(ledger, blobs, tmp_path)


async def test_where_nothing_limits_spending_nothing_is_reckoned(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(*_: Any, **__: Any) -> None:
        raise AssertionError("prices are read")

    monkeypatch.setattr(BatchPrices, "of", read)
    await stand.plan([10, 10], None)
    [shard] = await stand.shards()
    assert await stand.handle(shard) == Ack()
    [sent] = await stand.shards(ShardState.SUBMITTED)
    assert (sent.expected_nanos, sent.at_most_nanos) == (0, 0)


async def test_what_fits_goes_and_keeps_what_it_can_cost(stand: Stand) -> None:
    await stand.plan([10, 20], 30)
    [shard] = await stand.shards()
    assert await stand.handle(shard) == Ack()
    [sent] = await stand.shards(ShardState.SUBMITTED)
    assert sent.at_most_nanos == 30 * ANSWER
    assert 0 < sent.expected_nanos <= sent.at_most_nanos
    room = await stand.room()
    assert (room.free, room.left, room.in_flight) == (0, sent.at_most_nanos, 1)


async def test_a_shard_is_cut_before_the_line_that_could_go_past(stand: Stand) -> None:
    await stand.plan([10, 10, 15, 1], 30)
    [shard] = await stand.shards()
    assert await stand.handle(shard) == Ack()
    first, rest = await stand.shards(ShardState.QUEUED)
    assert (first.line_count, rest.line_count) == (2, 2)
    assert stand.publisher.wakes == [(Step.SUBMIT, first.id)], "the rest waits for the first"
    assert (rest.waits_for_funds, rest.waiting_reason) == (
        True,
        "waits for room under its max cost of 0.03 USD",
    )
    assert await stand.handle(first) == Ack()
    # However often it is looked at, it waits: what is in flight may need the room.
    assert await stand.handle(rest) == Ack()
    assert await stand.handle(rest) == Ack()
    assert len(stand.provider.created) == 1
    [sent] = await stand.shards(ShardState.SUBMITTED)
    stand.publisher.wakes.clear()
    await stand.settle(sent, 12)
    assert stand.publisher.wakes == [(Step.SUBMIT, rest.id)], "it came back cheaper"
    assert await stand.handle(rest) == Ack()
    [again] = await stand.shards(ShardState.SUBMITTED)
    assert (again.id, again.at_most_nanos) == (rest.id, 16 * ANSWER)


async def test_lines_that_do_not_fit_alone_are_never_sent(stand: Stand) -> None:
    await stand.plan([10, 31, 5, 40], 30)
    [shard] = await stand.shards()
    assert await stand.handle(shard) == Ack()
    [settled] = await stand.shards(ShardState.SETTLED)
    assert (settled.failed, settled.retried) == (2, 2)
    errors = await stand.refused(settled)
    assert list(errors) == [2, 4]
    assert errors[2] == {
        "code": "cost_limit",
        "message": "This line can cost up to 0.031 USD, and 0.03 of the 0.03 "
        "USD that the batch may cost (max_cost) were left. It was not sent. To have it run, "
        "submit it again with a higher max_cost, or a lower max_tokens.",
    }
    [rest] = await stand.shards(ShardState.QUEUED)
    assert rest.at_most_nanos == 15 * ANSWER, "reckoned already"
    assert await stand.handle(rest) == Ack()
    assert len(stand.provider.created) == 1


async def test_nothing_is_sent_where_not_one_line_fits(stand: Stand) -> None:
    await stand.plan([10, 11], 9)
    [shard] = await stand.shards()
    assert await stand.handle(shard) == Ack()
    [settled] = await stand.shards()
    assert (settled.state, settled.failed) == (ShardState.SETTLED, 2)
    assert stand.provider.created == []
    assert (Step.ASSEMBLE, "") in stand.publisher.wakes


async def test_two_shards_never_take_the_same_room(stand: Stand) -> None:
    await stand.plan([20, 20], 30, shards=2)
    one, other = await stand.shards()

    async def meanwhile() -> None:
        stand.provider.before_gate = None
        assert await stand.handle(other) == Ack()

    stand.provider.before_gate = meanwhile
    assert await stand.handle(one) == Ack()
    assert len(stand.provider.created) == 1
    [sent] = await stand.shards(ShardState.SUBMITTED)
    assert sent.id == one.id
    await stand.settle(sent, 20)
    [waiting] = await stand.shards(ShardState.QUEUED)
    assert await stand.handle(waiting) == Ack()
    [_, refused] = await stand.shards(ShardState.SETTLED)
    assert "0.01 of the 0.03 USD" in (await stand.refused(refused))[2]["message"]


async def test_a_wake_that_came_too_early_is_not_missed(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was in flight settles between the look at the room and the wait for it."""
    await stand.plan([20, 20], 30, shards=2)
    one, other = await stand.shards()
    assert await stand.handle(one) == Ack()
    [sent] = await stand.shards(ShardState.SUBMITTED)
    wait = stand.ledger.stop_loss.wait

    async def too_late(*args: Any) -> Any:
        monkeypatch.setattr(stand.ledger.stop_loss, "wait", wait)
        await stand.settle(sent, 5)
        return await wait(*args)

    monkeypatch.setattr(stand.ledger.stop_loss, "wait", too_late)
    assert await stand.handle(other) == Snooze(0.0)
    assert await stand.handle(other) == Ack()
    assert [shard.id for shard in await stand.shards(ShardState.SUBMITTED)] == [other.id]


async def test_a_refused_attempt_gives_its_room_back_and_wakes_the_others(stand: Stand) -> None:
    await stand.plan([20, 20], 30, shards=2)
    one, other = await stand.shards()

    async def meanwhile() -> None:
        stand.provider.before_gate = None
        assert await stand.handle(other) == Ack()

    stand.provider.before_gate = meanwhile
    stand.provider.outcome = Refused("rate", "later", transient=True, retry_after=0.0)
    assert await stand.handle(one) == Snooze(0.0)
    assert stand.publisher.wakes == [(Step.SUBMIT, other.id)]
    assert (await stand.room()).in_flight == 0
    # What it has uploaded goes again, with what that was reckoned to cost.
    stand.provider.outcome = Accepted("remote_1", "file-1")
    assert await stand.handle(one) == Ack()
    assert stand.provider.uploads == 1
    [sent] = await stand.shards(ShardState.SUBMITTED)
    assert sent.at_most_nanos == 20 * ANSWER


async def test_late_answers_of_what_was_given_up_keep_their_room(stand: Stand) -> None:
    await stand.plan([20, 5], 30, shards=2)
    one, _ = await stand.shards()
    assert await stand.handle(one) == Ack()
    [sent] = await stand.shards(ShardState.SUBMITTED)
    await stand.ledger.batches.cancel("batch_1")
    given_up = await stand.ledger.late.give_up(sent, "batch_cancelled", "perhaps", now())
    assert isinstance(given_up, Batch)
    room = await stand.room()
    assert (room.in_flight, room.left - room.free) == (1, 20 * ANSWER)
    await stand.settle(sent, 7)
    room = await stand.room()
    assert (room.in_flight, room.max_cost - room.left) == (0, 7 * ANSWER)


async def test_runs_share_the_room_too(ledger: Ledger, blobs: BlobStore, tmp_path: Path) -> None:
    stand = Stand(ledger, blobs, tmp_path, direct=True)
    await stand.plan([20, 5, 40, 20], 30, shards=2)
    one, other = await stand.shards()
    assert await stand.handle(one) == Ack()
    [running] = await stand.shards(ShardState.RUNNING)
    assert running.at_most_nanos == 25 * ANSWER
    assert await stand.handle(other) == Ack()
    parted = next(shard for shard in await stand.shards() if shard.id == other.id)
    assert list(await stand.refused(parted)) == [3]
    [rest] = await stand.shards(ShardState.QUEUED)
    assert await stand.handle(rest) == Ack()
    [waiting] = await stand.shards(ShardState.QUEUED)
    assert "waits for room" in waiting.waiting_reason
    stand.publisher.wakes.clear()
    assert isinstance(await ledger.runs.end(running), Batch)
    [ended] = await stand.shards(ShardState.FETCHING)
    spend = [ModelSpend(MODEL, 2, cost_nanos=8 * ANSWER)]
    assert await stand.settler.settle(ended, Settlement(2, 0, spend=spend))
    assert stand.publisher.wakes == [(Step.SUBMIT, waiting.id)]
    assert await stand.handle(waiting) == Ack()
    assert [shard.id for shard in await stand.shards(ShardState.RUNNING)] == [waiting.id]


async def test_what_is_estimated_to_cost_so_much_at_the_most_goes_at_once(stand: Stand) -> None:
    """A max cost of the estimate holds nothing back, whatever the rates are rounded to."""
    await stand.plan([10] * 9, None)
    [shard] = await stand.shards()
    batch = await stand.ledger.batches.get("batch_1")
    assert batch is not None
    file = await stand.ledger.files.get_input(batch)
    assert file is not None
    odd = price("openai", "gpt-4.1", input=123_457, output=1_234_567)
    stored = snapshot(odd)
    [lines] = await FileTotals(stand.ledger, stand.blobs).of(file)
    reckoner = Reckoner({("openai", MODEL): Basis(10)})
    _, at_most = reckoner.cost(odd, reckoner.sum("openai", MODEL, lines))
    async with stand.ledger._database.write(Failpoint.BATCH_CREATE) as session:
        await session.exec(update(Batch).values(prices=stored, max_cost_nanos=at_most))
    assert await stand.handle(shard) == Ack()
    [sent] = await stand.shards()
    assert sent.state == ShardState.SUBMITTED
    assert at_most is not None
    assert at_most - 9 <= sent.at_most_nanos <= at_most
