"""What the bus does when the server goes, comes back, or forgets everything.

A cluster takes seconds to agree on a leader after it was away as a whole, so what is the
same for it is shown on one server.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from nats.errors import Error as NatsError
from nats.js.api import DiscardPolicy
from polybatch.v1.events_pb2 import BatchEvent
from structlog.testing import capture_logs

from core.bus import Ack, Bus, BusUnavailable, EmbeddedNats, Snooze, Step
from tests.integration.bus.conftest import Cluster, Nats, free_port, items_left
from tests.support.bus.handlers import NotedItems
from tests.support.stores.small_disk import MIB, filled, small_disk


async def until_not_ready(bus: Bus) -> None:
    await asyncio.wait_for(bus.wait_down(), 30)
    assert not bus.ready


async def until_taken(taken: NotedItems, batch_id: str) -> None:
    """Items whose acknowledgement died with the server come once more before it."""
    while (await taken.next())[0].batch_id != batch_id:
        pass


@pytest.mark.parametrize("store", ["kept", "wiped"])
async def test_consumers_go_on_after_a_restart(nats: Nats, bus: Bus, store: str) -> None:
    taken = NotedItems()
    await bus.consume(Step.PLAN, taken, concurrency=4)
    await bus.consume(Step.POLL, taken, concurrency=1)
    await bus.publish_work(Step.PLAN, "batch_1")
    await taken.next()
    for round_ in range(1 if isinstance(nats, Cluster) else 2):
        await nats.kill()
        if store == "wiped":
            nats.wipe()
        await nats.start()
        await bus.publish_work(Step.PLAN, f"plan_{round_}")
        await until_taken(taken, f"plan_{round_}")
        await bus.publish_work(Step.POLL, f"poll_{round_}")
        await until_taken(taken, f"poll_{round_}")
        assert bus.ready


async def test_work_published_before_a_restart_is_there_after_it(
    server: Nats, server_bus: Bus
) -> None:
    await server_bus.publish_work(Step.PLAN, "batch_1")
    await server.kill()
    await server.start()
    taken = NotedItems()
    await server_bus.consume(Step.PLAN, taken, concurrency=1)
    assert (await taken.next())[0].batch_id == "batch_1"


async def test_a_handler_that_ran_through_a_restart_is_acknowledged(nats: Nats, bus: Bus) -> None:
    entered, go_on, again = asyncio.Event(), asyncio.Event(), NotedItems()

    async def slow(item: object, delivery: object) -> Ack:
        entered.set()
        await go_on.wait()
        return Ack()

    consumer = await bus.consume(Step.PLAN, slow, concurrency=1, ack_wait=3)
    await bus.publish_work(Step.PLAN, "batch_1")
    await asyncio.wait_for(entered.wait(), 30)
    await nats.stop()
    await until_not_ready(bus)
    go_on.set()
    await nats.start()
    await bus.publish_work(Step.STOP, "the bus is up again")
    await consumer.stop()
    await bus.consume(Step.PLAN, again, concurrency=1, ack_wait=3)
    # What is acknowledged leaves the stream.
    await items_left(bus, 1)
    assert again.items.empty()


async def test_an_outcome_from_before_a_wipe_is_not_applied_to_a_new_item(
    nats: Nats, bus: Bus
) -> None:
    """Acknowledgements name a sequence number, and numbers start again after a wipe."""
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def slow(item: object, delivery: object) -> Ack:
        entered.set()
        await go_on.wait()
        return Ack()

    first = await bus.consume(Step.PLAN, slow, concurrency=1)
    await bus.publish_work(Step.PLAN, "before")
    await asyncio.wait_for(entered.wait(), 30)
    await nats.kill()
    nats.wipe()
    await nats.start()
    stopping = asyncio.create_task(first.stop())
    other = await Bus.connect(nats.url, name="other")
    taken = NotedItems(Snooze(1))
    await other.consume(Step.PLAN, taken, concurrency=1)
    await bus.publish_work(Step.PLAN, "after")
    await taken.next()
    go_on.set()
    await stopping
    item, delivery = await taken.next()
    assert (item.batch_id, delivery.count) == ("after", 2)
    await other.close()


async def test_a_deleted_stream_is_made_again(nats: Nats, bus: Bus) -> None:
    taken = NotedItems()
    await bus.consume(Step.PLAN, taken, concurrency=2)
    await bus._connection.js.delete_stream("POLYBATCH_WORK")
    await bus.publish_work(Step.PLAN, "batch_1")
    assert (await taken.next())[0].batch_id == "batch_1"


async def test_publishing_waits_for_a_server_that_is_away_for_a_moment(
    server: Nats, server_bus: Bus
) -> None:
    await server.kill()
    await until_not_ready(server_bus)
    publishing = asyncio.create_task(server_bus.publish_work(Step.PLAN, "batch_1"))
    await asyncio.sleep(0)
    assert not publishing.done()
    await server.start()
    await asyncio.wait_for(publishing, 30)
    taken = NotedItems()
    await server_bus.consume(Step.PLAN, taken, concurrency=1)
    assert (await taken.next())[0].batch_id == "batch_1"


async def test_publishing_gives_up_after_a_while(nats: Nats) -> None:
    bus = await Bus.connect(nats.url, name="impatient", publish_timeout=0.3)
    await nats.kill()
    async with asyncio.timeout(30):
        with pytest.raises(BusUnavailable):
            await bus.publish_work(Step.PLAN, "batch_1")
    assert not bus.ready
    await asyncio.wait_for(bus.close(), 30)


async def test_a_closed_bus_does_not_go_on_reconnecting(
    server: Nats, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even if the cancelling of an attempt is lost, as asyncio.wait_for may lose it."""
    attempted = asyncio.Event()

    async def connect(*_: object, **__: object) -> None:
        if attempted.is_set():
            raise ConnectionRefusedError
        attempted.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ConnectionRefusedError from None

    bus = await Bus.connect(server.url, name="closing")
    before = asyncio.all_tasks()
    monkeypatch.setattr("nats.aio.transport.TcpTransport.connect", connect)
    await server.kill()
    await asyncio.wait_for(attempted.wait(), 30)
    await bus.close()
    left = asyncio.all_tasks() - before
    assert not left or not (await asyncio.wait(left, timeout=10))[1]


async def test_in_a_long_outage_not_every_publish_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.bus.connection._LONG_OUTAGE_PATIENCE", 0.05)
    nats = Nats(tmp_path)
    await nats.start()
    bus = await Bus.connect(nats.url, name="impatient", publish_timeout=2)
    await nats.kill()
    await until_not_ready(bus)
    assert not await stored(bus, "batch_1")
    # Well under the time that each of them would wait alone.
    async with asyncio.timeout(30):
        for number in range(50):
            assert not await stored(bus, f"batch_{number}")
    await nats.start()
    await asyncio.wait_for(bus.wait_up(), 30)
    await bus.publish_work(Step.PLAN, "batch_1")
    await bus.close()
    await nats.kill()


async def stored(bus: Bus, batch_id: str) -> bool:
    """What the sweep does, which goes on trying."""
    try:
        await bus.publish_work(Step.PLAN, batch_id)
    except BusUnavailable:
        return False
    return True


async def test_a_stream_that_stores_nothing_more_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after the disk of the server was full: it takes no message then, without a word."""
    monkeypatch.setattr("core.bus.connection._SILENT_STORE_LIMIT", 1.0)
    with small_disk(tmp_path / "disk", 48 * MIB) as disk:
        nats = Nats(disk)
        await nats.start()
        bus = await Bus.connect(nats.url, name="test", publish_timeout=2.5)
        taken = NotedItems()
        await bus.consume(Step.PLAN, taken, concurrency=1)
        with filled(disk, 0):
            while await stored(bus, "meanwhile"):
                pass
        async with asyncio.timeout(60):
            while not await stored(bus, "after"):
                pass
            await until_taken(taken, "after")
        await bus.close()
        await nats.kill()


async def test_a_stream_that_is_full_by_its_operators_limit_is_kept(
    server: Nats, server_bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server_bus.publish_work(Step.PLAN, "first")
    monkeypatch.setattr("core.bus.connection._SILENT_STORE_LIMIT", 0.0)
    # It gives up before an answer that is late for load is taken for none.
    bus = await Bus.connect(server.url, name="test", publish_timeout=1.0)
    js = server_bus._connection.js
    found = (await js.stream_info("POLYBATCH_WORK")).config
    await js.update_stream(found.evolve(max_msgs=1, discard=DiscardPolicy.NEW))
    assert not await stored(bus, "one too many")
    taken = NotedItems()
    await server_bus.consume(Step.PLAN, taken, concurrency=1)
    assert (await taken.next())[0].batch_id == "first"
    async with asyncio.timeout(30):
        while not await stored(bus, "next"):
            pass
    assert (await js.stream_info("POLYBATCH_WORK")).config.max_msgs == 1
    await bus.close()


async def test_pulls_that_fail_for_one_cause_are_told_of_once(
    nats: Nats, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = NotedItems()
    consumer = await bus.consume(Step.PLAN, taken, concurrency=4)
    tried = asyncio.Semaphore(0)

    async def refused() -> None:
        tried.release()
        raise NatsError("no room for the consumer")

    with capture_logs() as logs, monkeypatch.context() as broken:
        broken.setattr(consumer, "_bind", refused)
        await bus._connection.js.delete_stream("POLYBATCH_WORK")
        for _ in range(12):
            await asyncio.wait_for(tried.acquire(), 30)
    causes = [each["cause"] for each in logs if each["event"] == "work_pull_failed"]
    assert "no room for the consumer" in causes
    assert len(causes) == len(set(causes))
    await bus.publish_work(Step.PLAN, "batch_1")
    assert (await taken.next())[0].batch_id == "batch_1"


async def test_consumers_stop_while_the_server_is_away(nats: Nats, bus: Bus) -> None:
    consumer = await bus.consume(Step.PLAN, NotedItems(), concurrency=4, stop_grace=60)
    await nats.kill()
    await until_not_ready(bus)
    await asyncio.wait_for(consumer.stop(), 30)


async def test_an_event_for_a_server_that_is_away_is_dropped_without_an_error(
    nats: Nats, bus: Bus
) -> None:
    event = BatchEvent(account_id="acct_1", batch_id="batch_1")
    assert await bus.publish_event(event)
    await nats.kill()
    await until_not_ready(bus)
    assert not await bus.publish_event(event)


async def test_connecting_to_nobody_is_an_error_that_names_the_address() -> None:
    url = f"nats://127.0.0.1:{free_port()}"
    with pytest.raises(BusUnavailable, match=url):
        await Bus.connect(url, name="lonely", connect_timeout=0.5)


async def test_the_password_of_an_address_is_not_in_the_error() -> None:
    url = f"nats://polybatch:hunter2@127.0.0.1:{free_port()},nats://u:hunter2@[::1]:1"
    with pytest.raises(BusUnavailable) as caught:
        await Bus.connect(url, name="lonely", connect_timeout=0.3)
    assert "hunter2" not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)


async def test_connecting_waits_for_a_server_that_starts_late(server: Nats) -> None:
    await server.kill()
    connecting = asyncio.create_task(Bus.connect(server.url, name="early"))
    await asyncio.sleep(0)
    await server.start()
    bus = await asyncio.wait_for(connecting, 30)
    assert bus.ready
    await bus.close()
    await bus.close()


def test_the_embedded_server_listens_on_loopback_only(tmp_path: Path) -> None:
    command = EmbeddedNats(tmp_path, 4333).command()
    assert '"host": "127.0.0.1"' in Path(command[-1]).read_text()


async def test_the_data_folder_of_the_embedded_server_may_have_any_name(tmp_path: Path) -> None:
    server = Nats(tmp_path / "Dätä ☃ 'x' $z %20")
    await server.start()
    bus = await Bus.connect(server.url, name="anywhere")
    assert bus.ready
    await bus.close()
    await server.kill()


async def test_a_server_that_is_gone_without_a_word_is_soon_known_to_be_away(
    server_bus: Bus,
) -> None:
    """Nothing ends such a connection, so until a ping is missed the bus says that it is ready."""
    options = server_bus._connection.nc.options
    assert options["ping_interval"] * (options["max_outstanding_pings"] + 1) <= 10
