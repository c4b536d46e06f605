"""Real NATS, one server or a cluster, which a test can kill, wipe and start again."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig
from nats.js.errors import ServiceUnavailableError

from core.bus import Bus, EmbeddedNats, Step
from core.bus.work import STREAM
from tests.support.stores.nats_cluster import NatsCluster, running_cluster
from tests.support.stores.process import free_port


class Nats:
    """One nats-server; `url` stays the same over restarts."""

    def __init__(self, data_dir: Path) -> None:
        self.embedded = EmbeddedNats(data_dir, free_port())
        self.url = self.embedded.url
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self.embedded.command(), stderr=asyncio.subprocess.PIPE
        )
        stderr = self._process.stderr
        assert stderr is not None
        async with asyncio.timeout(10):
            async for line in stderr:
                if b"Server is ready" in line:
                    return
        raise AssertionError("nats-server ended before it was ready")

    async def stop(self) -> None:
        """Orderly: what it knows of deliveries is on the disk then."""
        assert self._process is not None
        self._process.terminate()
        await self._process.communicate()
        self._process = None

    async def kill(self) -> None:
        """What it learned just before, as of an acknowledgement, may be lost with it."""
        if self._process is not None:
            self._process.kill()
            await self._process.communicate()
            self._process = None

    def wipe(self) -> None:
        shutil.rmtree(self.embedded.store_dir)


class Cluster:
    """Three nodes that behave as one server; `url` names all of them."""

    def __init__(self, cluster: NatsCluster) -> None:
        self.cluster = cluster
        self.url = cluster.url

    async def start(self) -> None:
        await asyncio.to_thread(self.cluster.start)

    async def stop(self) -> None:
        await asyncio.to_thread(self.cluster.stop)

    async def kill(self) -> None:
        await asyncio.to_thread(self.cluster.kill)

    def wipe(self) -> None:
        for node in self.cluster.nodes:
            node.wipe()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Nats]:
    """One server."""
    single = Nats(tmp_path)
    await single.start()
    yield single
    await single.kill()


@pytest.fixture
def cluster() -> Iterator[NatsCluster]:
    """A cluster of three nodes."""
    with running_cluster() as nodes:
        yield nodes


@pytest.fixture(params=["server", pytest.param("cluster", marks=pytest.mark.long)])
def nats(request: pytest.FixtureRequest) -> Nats | Cluster:
    """Each kind of NATS that the bus runs on."""
    found = request.getfixturevalue(request.param)
    return Cluster(found) if isinstance(found, NatsCluster) else found


@pytest.fixture
async def bus(nats: Nats | Cluster) -> AsyncIterator[Bus]:
    connected = await Bus.connect(nats.url, name="test")
    yield connected
    await connected.close()


@pytest.fixture
async def server_bus(server: Nats) -> AsyncIterator[Bus]:
    connected = await Bus.connect(server.url, name="test")
    yield connected
    await connected.close()


async def pulls_open(bus: Bus, step: Step, number: int) -> None:
    """Wait until the server knows of so many open pulls of a step.

    The leader of a new consumer of a cluster refuses pulls for a moment, and a replica
    that was refused asks again only after a pause.
    """
    async with asyncio.timeout(30):
        while ((await bus._connection.js.consumer_info(STREAM, step)).num_waiting or 0) < number:
            pass


async def items_left(bus: Bus, number: int) -> None:
    """Wait until so many items are not acknowledged yet, of all steps together."""
    async with asyncio.timeout(30):
        while (await bus._connection.js.stream_info(STREAM)).state.messages != number:
            pass


async def ack_wait_passes(bus: Bus, seconds: float) -> None:
    """Wait until the server delivers again what nobody has acknowledged for so long."""
    await bus.publish_work(Step.STOP, "clock")
    config = ConsumerConfig(ack_wait=seconds)
    pulls = await bus._connection.js.pull_subscribe(
        f"polybatch.work.{Step.STOP}", durable="clock", stream=STREAM, config=config
    )
    await pulled(pulls)
    again = await pulled(pulls)
    assert again.metadata.num_delivered == 2
    await again.ack_sync(timeout=30)


async def pulled(pulls: JetStreamContext.PullSubscription) -> Msg:
    """The next item; the leader of a new consumer of a cluster refuses pulls for a moment."""
    async with asyncio.timeout(60):
        while True:
            with suppress(ServiceUnavailableError):
                (item,) = await pulls.fetch(1, timeout=30)
                return item
