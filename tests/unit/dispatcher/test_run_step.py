"""The run step: who holds a shard, when it is let go, and how it ends."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from polybatch.v1.events_pb2 import WorkItem

from core.blobs import BlobStore, BlobUnavailable
from core.bus import Ack, Bus, Delivery, Snooze, Step
from core.failpoints import Failpoint
from core.ledger import Batch, Ledger, LedgerUnavailable, Shard, ShardState, now
from core.pipeline import Event, EventPublisher, PauseWatch, Runtime
from core.providers import CallLimits
from core.settings import Settings
from services.dispatcher.direct_lines import LineRun
from services.dispatcher.fair_scheduler import FairScheduler
from services.dispatcher.lease_keeper import LeaseKeeper
from services.dispatcher.run import Runner
from tests.support.gateway.nats import Nats
from tests.support.ledger.rows import batch_row, create, shard_row
from tests.unit.dispatcher.test_lines import CHAT, PATIENCE, Scripted, Stand, free, paid

DELIVERY = Delivery(1, now())
ITEM = WorkItem(batch_id="batch_1", shard_id="shard_1")


@pytest.fixture
async def bus(own_nats: Nats) -> AsyncIterator[Bus]:
    connected = await Bus.connect(own_nats.url, name="test")
    yield connected
    await connected.close()


@pytest.fixture
async def runtime(ledger: Ledger, bus: Bus, stand: Stand, tmp_path: Path) -> Runtime:
    """With a shard of 60 lines that may run, in its second round of trying."""
    settings = Settings(
        data_dir=tmp_path, run_lease=2.0, retry_delay=0.0, retry_limit=2, shutdown_grace=1.0
    )
    stand.batch.total = stand.batch.queued = 60
    stand.shard.state = ShardState.QUEUED
    await ledger.files.finish_upload(stand.file)
    stand.batch.state = "validating"  # type: ignore[assignment]
    made = await create(ledger, stand.batch)
    await ledger.batches.plan(made.id, [stand.shard])
    return Runtime(settings, ledger, stand.blobs, bus, EventPublisher(bus, ledger))


@pytest.fixture
async def stand(blobs: BlobStore) -> Stand:
    return await Stand.build(blobs, 60)


async def start(runtime: Runtime, provider: Scripted) -> Runner:
    scheduler = FairScheduler(runtime)
    await scheduler.start(await shard_now(runtime), provider)
    return Runner(runtime, {"local": provider}, scheduler, PauseWatch(runtime.ledger))


async def shard_now(runtime: Runtime) -> Shard:
    shard = await runtime.ledger.shards.get("shard_1")
    assert shard is not None
    return shard


async def woken(bus: Bus, step: Step) -> WorkItem:
    """The first item of a step."""
    arrived: asyncio.Queue[WorkItem] = asyncio.Queue()

    async def take(item: WorkItem, delivery: Delivery) -> Ack:
        arrived.put_nowait(item)
        return Ack()

    consumer = await bus.consume(step, take, concurrency=1)
    async with asyncio.timeout(PATIENCE):
        item = await arrived.get()
    await consumer.stop()
    return item


class Stuck:
    """Lets the first calls begin and holds them."""

    def __init__(self, provider: Scripted) -> None:
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        provider.gate = self.hold

    async def hold(self, number: int) -> None:
        self.begun.set()
        await self.go_on.wait()


async def test_from_its_start_to_the_fetch(runtime: Runtime, stand: Stand, bus: Bus) -> None:
    provider = Scripted(paid())
    runner = await start(runtime, provider)
    assert (await woken(bus, Step.RUN)).shard_id == "shard_1"
    assert await runner.handle(ITEM, DELIVERY) == Ack()
    shard = await shard_now(runtime)
    assert shard.state == ShardState.FETCHING
    assert shard.ran_here
    assert (await woken(bus, Step.FETCH)).shard_id == "shard_1"
    assert len(await stand.results()) == 60
    assert await runner.handle(ITEM, DELIVERY) == Ack(), "a second message finds nothing to do"
    assert provider.calls.total() == 60


async def test_two_messages_at_the_same_time(runtime: Runtime) -> None:
    provider = Scripted(free())
    first = await start(runtime, provider)
    second = Runner(
        runtime, {"local": provider}, FairScheduler(runtime), PauseWatch(runtime.ledger)
    )
    outcomes = await asyncio.gather(first.handle(ITEM, DELIVERY), second.handle(ITEM, DELIVERY))
    assert Ack() in outcomes
    (other,) = [outcome for outcome in outcomes if outcome != Ack()] or [Snooze(1.0)]
    assert isinstance(other, Snooze)
    assert provider.calls.total() == 60
    assert await second.handle(ITEM, DELIVERY) == Ack()


@pytest.mark.parametrize("call_limits", [free(), paid()], ids=["free", "paid"])
async def test_an_answer_that_comes_during_the_last_flush_is_kept(
    runtime: Runtime, stand: Stand, monkeypatch: pytest.MonkeyPatch, call_limits: CallLimits
) -> None:
    writing, over = asyncio.Event(), asyncio.Event()
    work, put = LineRun.work, stand.blobs.put

    async def working(run: LineRun, confirm: Any) -> None:
        await work(run, confirm)
        over.set()

    async def putting(key: str, data: Any, **options: Any) -> None:
        if provider.calls.total() == 60:
            writing.set()
            await over.wait()
        await put(key, data, **options)

    async def gate(number: int) -> None:
        # The last answer comes once a flush that began without it is under way.
        if number == 59:
            await writing.wait()

    monkeypatch.setattr(LineRun, "work", working)
    monkeypatch.setattr(stand.blobs, "put", putting)
    provider = Scripted(call_limits, gate=gate)
    runner = await start(runtime, provider)
    async with asyncio.timeout(PATIENCE):
        assert await runner.handle(ITEM, DELIVERY) == Ack()
    assert await stand.events() == {Event.SUCCEEDED: 60}
    assert provider.calls == Counter(range(60))


async def calling(
    runtime: Runtime, provider: Scripted
) -> tuple[Runner, Stuck, asyncio.Task[Ack | Snooze]]:
    """A runner whose calls are under way."""
    stuck = Stuck(provider)
    runner = await start(runtime, provider)
    handling = asyncio.create_task(runner.handle(ITEM, DELIVERY))
    async with asyncio.timeout(PATIENCE):
        await stuck.begun.wait()
    return runner, stuck, handling


async def test_stopped_it_hands_the_shard_back(runtime: Runtime, stand: Stand) -> None:
    provider = Scripted(paid(4))
    runner, stuck, handling = await calling(runtime, provider)
    runner.stop()
    async with asyncio.timeout(PATIENCE):
        stuck.go_on.set()
        assert isinstance(await handling, Snooze)
    shard = await shard_now(runtime)
    assert shard.state == ShardState.RUNNING
    assert shard.due_at <= now(), "free at once"
    assert isinstance(await runner.handle(ITEM, DELIVERY), Snooze)
    begun = provider.calls.total()
    assert begun < 60
    next_one = Runner(
        runtime, {"local": provider}, FairScheduler(runtime), PauseWatch(runtime.ledger)
    )
    assert await next_one.handle(ITEM, DELIVERY) == Ack()
    assert provider.calls.total() == 60, "what had begun came to its end"


async def test_calls_that_outlast_the_grace_are_given_up(runtime: Runtime, stand: Stand) -> None:
    provider = Scripted(paid(4))
    runner, _, handling = await calling(runtime, provider)
    runner.stop()
    async with asyncio.timeout(PATIENCE):
        assert isinstance(await handling, Snooze)
    lost = set(provider.calls)
    provider.gate = None
    assert (
        await Runner(
            runtime, {"local": provider}, FairScheduler(runtime), PauseWatch(runtime.ledger)
        ).handle(ITEM, DELIVERY)
        == Ack()
    )
    results = await stand.results()
    codes = {n for n, (_, tail) in results.items() if tail["error"]}
    assert codes == lost
    assert provider.calls.total() == 60


async def test_cancelled_it_ends_with_what_it_has(
    runtime: Runtime, stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    halted = asyncio.Event()
    halt = LineRun.halt

    def note(run: LineRun) -> None:
        halt(run)
        halted.set()

    monkeypatch.setattr(LineRun, "halt", note)
    provider = Scripted(paid(4))
    _, stuck, handling = await calling(runtime, provider)
    async with asyncio.timeout(PATIENCE):
        await runtime.ledger.batches.cancel("batch_1")
        await halted.wait()
        stuck.go_on.set()
        assert await handling == Ack()
    assert (await shard_now(runtime)).state == ShardState.FETCHING
    assert set(await stand.results()) == set(provider.calls)
    assert len(provider.calls) < 60


async def test_a_lease_that_was_lost_ends_the_run(runtime: Runtime, stand: Stand) -> None:
    provider = Scripted(paid(4))
    _, _, handling = await calling(runtime, provider)
    async with asyncio.timeout(PATIENCE):
        held = await shard_now(runtime)
        # As if the lease had been over for long.
        assert await runtime.ledger.runs.release(held)
        taken = await runtime.ledger.runs.claim(await shard_now(runtime), timedelta(seconds=9))
        assert isinstance(taken, Shard)
        assert isinstance(await handling, Snooze)
    assert len(provider.calls) <= 8
    assert (await shard_now(runtime)).token == taken.token


async def test_while_the_ledger_is_away_no_call_begins_beyond_the_lease(
    runtime: Runtime, stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = True
    paused = asyncio.Event()
    touch, pause = LeaseKeeper._touch, LineRun.pause

    async def touch_or_fail(hold: LeaseKeeper) -> Batch | None:
        if away:
            raise LedgerUnavailable("OSError: gone")
        return await touch(hold)

    def note(run: LineRun, on: bool) -> None:
        pause(run, on)
        if on:
            paused.set()

    monkeypatch.setattr(LeaseKeeper, "_touch", touch_or_fail)
    monkeypatch.setattr(LineRun, "pause", note)
    provider = Scripted(free(4))
    stuck = Stuck(provider)
    runner = await start(runtime, provider)
    handling = asyncio.create_task(runner.handle(ITEM, DELIVERY))
    async with asyncio.timeout(PATIENCE):
        await paused.wait()
        begun = provider.calls.total()
        stuck.go_on.set()
        for _ in range(100):
            await asyncio.sleep(0)
        assert provider.calls.total() == begun
        away = False
        assert await handling == Ack()
    assert provider.calls.total() == 60


async def test_a_provider_that_is_gone(runtime: Runtime) -> None:
    await start(runtime, Scripted(paid()))
    runner = Runner(runtime, {}, FairScheduler(runtime), PauseWatch(runtime.ledger))
    assert isinstance(await runner.handle(ITEM, DELIVERY), Snooze)
    assert "no access to the provider 'local'" in (await shard_now(runtime)).waiting_reason
    await runtime.ledger.batches.cancel("batch_1")
    assert await runtime.ledger.runs.release(await shard_now(runtime))
    assert await runner.handle(ITEM, DELIVERY) == Ack()
    assert (await shard_now(runtime)).state == ShardState.FETCHING


async def test_progress_and_the_reason_to_wait_are_shown(runtime: Runtime, stand: Stand) -> None:
    seen = asyncio.Event()
    events: list[str] = []

    def note(event: object) -> None:
        events.append(str(event))
        seen.set()

    subscription = await runtime.bus.subscribe_events(note)
    provider = Scripted(paid(4))
    stuck = Stuck(provider)
    runner = await start(runtime, provider)
    runner._limiters["local"]._reason = "asked to wait"
    runner._limiters["local"]._closed_until = asyncio.get_running_loop().time() + 1.5
    handling = asyncio.create_task(runner.handle(ITEM, DELIVERY))
    async with asyncio.timeout(PATIENCE):
        while (shard := await shard_now(runtime)).waiting_reason != "local: asked to wait":
            seen.clear()
            await seen.wait()
        stuck.go_on.set()
        assert await handling == Ack()
    await subscription.unsubscribe()
    assert shard.state == ShardState.RUNNING
    assert (await shard_now(runtime)).waiting_reason == ""


async def test_a_shard_waits_for_its_turn(
    runtime: Runtime, ledger: Ledger, bus: Bus, stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.dispatcher.fair_scheduler._MOST", 1)
    await start(runtime, Scripted(paid()))
    first = await shard_now(runtime)
    other = await create(ledger, batch_row(stand.file, total=1))
    shard = shard_row(other, id="shard_2", provider="local", model="m", endpoint=CHAT, line_count=1)
    await ledger.batches.plan(other.id, [shard])
    scheduler = FairScheduler(runtime)
    await scheduler.start(shard, Scripted(paid()))
    waiting = await ledger.shards.get("shard_2")
    assert (waiting.state, waiting.waits_for_quota) == (ShardState.QUEUED, True)
    assert waiting.waiting_reason == "waits for its turn: other shards are running at local"
    runner = Runner(runtime, {"local": Scripted(paid())}, scheduler, PauseWatch(runtime.ledger))
    assert await runner.handle(ITEM, DELIVERY) == Ack()
    assert (await woken(bus, Step.SUBMIT)).shard_id == "shard_2"
    assert first.id == "shard_1"


@pytest.mark.parametrize("of", ["batch", "provider"])
async def test_a_pause_ends_a_run_and_its_calls_come_home(
    runtime: Runtime, stand: Stand, of: str
) -> None:
    provider = Scripted(paid(4))
    runner, stuck, handling = await calling(runtime, provider)
    pauses = runtime.ledger.pauses
    begun = provider.calls.total()
    if of == "batch":
        await pauses.pause_batch("batch_1", "key_a")
    else:
        await pauses.pause_provider("local", "key_op")
    halted = asyncio.Event()
    halt = LineRun.halt

    def halting(run: LineRun) -> None:
        halt(run)
        halted.set()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LineRun, "halt", halting)
        async with asyncio.timeout(PATIENCE):
            await halted.wait()
            stuck.go_on.set()
            assert await handling == Ack()
    shard = await shard_now(runtime)
    assert (shard.state, shard.held) == (ShardState.RUNNING, True)
    assert provider.calls.total() == begun, "no line was begun any more"
    assert len(await stand.results()) == begun, "and none was lost"
    # Whoever is woken by mistake leaves it as it is.
    assert await runner.handle(ITEM, DELIVERY) == Ack()
    assert await shard_now(runtime) == shard

    await pauses.resume_batch("batch_1")
    await pauses.resume_provider("local")
    fresh = Runner(runtime, {"local": provider}, FairScheduler(runtime), PauseWatch(runtime.ledger))
    async with asyncio.timeout(PATIENCE):
        assert await fresh.handle(ITEM, DELIVERY) == Ack()
    assert (await shard_now(runtime)).state == ShardState.FETCHING
    assert provider.calls == Counter(range(60)), "each line once"


async def test_a_paused_run_whose_window_closes_is_ended(runtime: Runtime) -> None:
    provider = Scripted(free())
    runner = await start(runtime, provider)
    await runtime.ledger.pauses.pause_batch("batch_1", "key_a")
    assert await runner.handle(ITEM, DELIVERY) == Ack()
    await runtime.ledger.batches.cancel("batch_1")
    assert await runner.handle(ITEM, DELIVERY) == Ack()
    assert (await shard_now(runtime)).state == ShardState.FETCHING
    assert not provider.calls


async def test_a_halt_ends_a_run_and_its_calls_come_home(runtime: Runtime, stand: Stand) -> None:
    provider = Scripted(paid(4))
    _, stuck, handling = await calling(runtime, provider)
    begun = provider.calls.total()
    async with runtime.ledger._database.write(Failpoint.SHARD_OVERDUE) as session:
        row = await session.get(Batch, "batch_1")
        assert row is not None
        row.halt_code = "failure_limit"
        session.add(row)
    halted = asyncio.Event()
    halt = LineRun.halt

    def halting(run: LineRun) -> None:
        halt(run)
        halted.set()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LineRun, "halt", halting)
        async with asyncio.timeout(PATIENCE):
            await halted.wait()
            stuck.go_on.set()
            assert await handling == Ack()
    assert (await shard_now(runtime)).state == ShardState.FETCHING
    assert provider.calls.total() == begun == len(await stand.results())


async def test_calls_under_way_come_home_while_the_ledger_is_away(
    runtime: Runtime, stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    away, asked, go_on = True, asyncio.Event(), asyncio.Event()
    confirm = LeaseKeeper.confirm

    async def confirm_or_fail(hold: LeaseKeeper) -> None:
        if away and provider.calls:
            asked.set()
            raise LedgerUnavailable("OSError: gone")
        await confirm(hold)

    async def gate(number: int) -> None:
        # One is answered, so that there is room for another one beside those under way.
        if number:
            await go_on.wait()

    monkeypatch.setattr(LeaseKeeper, "confirm", confirm_or_fail)
    provider = Scripted(paid(4), gate=gate)
    runner = await start(runtime, provider)
    handling = asyncio.create_task(runner.handle(ITEM, DELIVERY))
    async with asyncio.timeout(PATIENCE):
        await asked.wait()
        assert provider.calls.total() > 1
        go_on.set()
        with pytest.raises(LedgerUnavailable):
            await handling
    away = False
    async with asyncio.timeout(PATIENCE):
        assert await runner.handle(ITEM, DELIVERY) == Ack()
    assert await stand.events() == {Event.SUCCEEDED: 60}
    assert provider.calls == Counter(range(60)), "each line once"


async def test_a_run_whose_input_cannot_be_read_waits_for_the_storage(
    runtime: Runtime, stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = Scripted(paid(4))
    runner = await start(runtime, provider)
    get = stand.blobs.get

    async def get_or_fail(key: str) -> bytes:
        if key == stand.shard.lines_key:
            raise BlobUnavailable("blob: gone", key=key)
        return await get(key)

    with monkeypatch.context() as patch:
        patch.setattr(stand.blobs, "get", get_or_fail)
        async with asyncio.timeout(PATIENCE):
            # Alone, as whoever waits for storage knows it.
            with pytest.raises(BlobUnavailable):
                await runner.handle(ITEM, DELIVERY)
    assert (await shard_now(runtime)).due_at <= now(), "free at once"
    assert await runner.handle(ITEM, DELIVERY) == Ack()
    assert await stand.events() == {Event.SUCCEEDED: 60}
