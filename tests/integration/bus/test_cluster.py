"""A cluster of three nodes loses one, whichever it is, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from nats.js.api import StreamInfo

from core.bus import Bus, BusUnavailable, Step
from core.bus.work import STREAM
from tests.integration.bus.conftest import Nats
from tests.support.bus.handlers import NotedItems
from tests.support.stores.nats_cluster import NatsCluster, NatsNode, running_cluster

pytestmark = pytest.mark.long

ITEMS = 50
# A new leader of a stream is there after some seconds; open pulls are missed after 12.5 s.
PATIENCE = 60.0


@pytest.fixture
async def bus(cluster: NatsCluster) -> AsyncIterator[Bus]:
    connected = await Bus.connect(cluster.url, name="test")
    yield connected
    await connected.close()


async def stream(bus: Bus) -> StreamInfo:
    return await bus._connection.js.stream_info(STREAM)


async def stream_leader(bus: Bus, cluster: NatsCluster) -> NatsNode:
    info = await stream(bus)
    assert info.cluster is not None
    assert info.cluster.leader is not None
    return cluster.node(info.cluster.leader)


async def consumer_leader(bus: Bus, cluster: NatsCluster) -> NatsNode:
    info = await bus._connection.js.consumer_info(STREAM, Step.PLAN)
    assert info.cluster is not None
    assert info.cluster.leader is not None
    return cluster.node(info.cluster.leader)


async def connected(bus: Bus, cluster: NatsCluster) -> NatsNode:
    assert bus._connection.nc.connected_url is not None
    return cluster.at(bus._connection.nc.connected_url.port)


async def publish(bus: Bus, name: str) -> None:
    """As the sweep does: again, until it is confirmed."""
    while True:
        try:
            await bus.publish_work(Step.PLAN, name)
        except BusUnavailable:
            continue
        return


async def all_taken(taken: NotedItems, names: set[str]) -> None:
    async with asyncio.timeout(PATIENCE):
        while names:
            item, _ = await taken.items.get()
            names.discard(item.batch_id)


@pytest.mark.parametrize("role", [stream_leader, consumer_leader, connected])
async def test_any_one_node_may_die(
    cluster: NatsCluster, bus: Bus, role: Callable[[Bus, NatsCluster], Awaitable[NatsNode]]
) -> None:
    taken = NotedItems()
    await bus.consume(Step.PLAN, taken, concurrency=4)
    before = {f"before_{number}" for number in range(ITEMS)}
    await asyncio.gather(*(publish(bus, name) for name in before))
    node = await role(bus, cluster)
    node.kill()
    after = {f"after_{number}" for number in range(ITEMS)}
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(publish(bus, name) for name in after))
    await all_taken(taken, before | after)
    assert bus.ready


async def test_a_node_with_a_new_disk_gets_all_that_the_others_have(
    cluster: NatsCluster, bus: Bus
) -> None:
    # NATS makes no new consumer of three replicas while a node is away.
    await (await bus.consume(Step.PLAN, NotedItems(), concurrency=1)).stop()
    names = {f"batch_{number}" for number in range(ITEMS)}
    await asyncio.gather(*(publish(bus, name) for name in names))
    new, other, _ = cluster.nodes
    new.kill()
    new.wipe()
    await asyncio.to_thread(new.start)
    await asyncio.to_thread(new.wait_healthy)
    # What it had before would not be there now if the new one had nothing.
    other.kill()
    taken = NotedItems()
    await bus.consume(Step.PLAN, taken, concurrency=4)
    await all_taken(taken, names)


async def test_a_cluster_that_the_url_names_stores_three_times(
    cluster: NatsCluster, bus: Bus
) -> None:
    await bus.consume(Step.PLAN, NotedItems(), concurrency=1)
    assert (await stream(bus)).config.num_replicas == 3
    info = await bus._connection.js.consumer_info(STREAM, Step.PLAN)
    assert info.cluster is not None
    assert len(info.cluster.replicas or []) == 2


async def test_the_replicas_are_a_setting(cluster: NatsCluster) -> None:
    one = await Bus.connect(cluster.nodes[0].url, name="one")
    assert (await stream(one)).config.num_replicas == 1
    await one.publish_work(Step.PLAN, "batch_1")
    three = await Bus.connect(cluster.nodes[0].url, name="three", replicas=3)
    assert (await stream(three)).config.num_replicas == 3
    again = await Bus.connect(cluster.url, name="again")
    taken = NotedItems()
    await again.consume(Step.PLAN, taken, concurrency=1)
    assert (await taken.next(limit=30))[0].batch_id == "batch_1"
    for bus in (one, three, again):
        await bus.close()


async def test_more_replicas_than_nodes_is_an_error_that_says_so(server: Nats) -> None:
    with pytest.raises(BusUnavailable, match="replicas > 1 not supported in non-clustered mode"):
        await Bus.connect(server.url, name="greedy", replicas=3, connect_timeout=2)


async def test_one_url_with_a_login_is_enough_for_all_nodes() -> None:
    with running_cluster(login={"user": "polybatch", "password": "hunter2"}) as cluster:
        with pytest.raises(BusUnavailable, match="refuses the login"):
            await Bus.connect(cluster.url, name="nobody")
        url = cluster.nodes[0].url.replace("//", "//polybatch:hunter2@")
        bus = await Bus.connect(url, name="somebody", replicas=3)
        cluster.nodes[0].kill()
        await asyncio.wait_for(bus.wait_down(), 30)
        await asyncio.wait_for(bus.wait_up(), PATIENCE)
        await publish(bus, "batch_1")
        await bus.close()
