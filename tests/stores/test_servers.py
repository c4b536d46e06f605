"""The servers of this folder are what they say, also after a crash."""

from __future__ import annotations

import asyncio

import asyncpg
import nats
from nats.js import JetStreamContext
from nats.js.api import StreamConfig
from nats.js.errors import NoStreamResponseError

from core.blobs import BlobStore
from core.failpoints import Failpoint
from tests.stores.nats_cluster import running_cluster
from tests.stores.object_storage import ObjectStorage
from tests.stores.postgres import running_postgres


async def test_postgres_keeps_what_was_committed_over_a_crash(postgres_url: str) -> None:
    assert await _answer(postgres_url, "SELECT 1") == 1
    with running_postgres() as server:
        url = server.create_database()
        await _answer(url, "CREATE TABLE kept AS SELECT 7 AS value")
        server.kill()
        server.start()
        assert await _answer(url, "SELECT value FROM kept") == 7


async def _answer(url: str, query: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_object_storage_gives_each_test_an_empty_bucket(
    object_storage: ObjectStorage, s3_url: str
) -> None:
    store = BlobStore.open(s3_url)
    await store.put("kept", b"seven", point=Failpoint.UPLOAD_DATA)
    assert await store.get("kept") == b"seven"
    assert not await BlobStore.open(object_storage.create_bucket()).exists("kept")


async def publish(jetstream: JetStreamContext, payload: bytes) -> None:
    """Until it is stored: a node may not have heard of the stream yet, or of its new leader."""
    async with asyncio.timeout(60):
        while True:
            try:
                await jetstream.publish("KEPT", payload)
            except NoStreamResponseError:
                continue
            return


async def test_a_cluster_stores_on_three_nodes_and_goes_on_with_two() -> None:
    with running_cluster() as cluster:
        client = await nats.connect(cluster.url.split(","), connect_timeout=10)
        try:
            jetstream = client.jetstream(timeout=30)
            made = await jetstream.add_stream(StreamConfig(name="KEPT", num_replicas=3))
            assert made.cluster is not None
            await publish(jetstream, b"seven")
            assert client.connected_url is not None
            busy = (made.cluster.leader, cluster.at(client.connected_url.port).name)
            idle = next(node for node in cluster.nodes if node.name not in busy)
            idle.kill()
            await publish(jetstream, b"eight")
            idle.start()
            assert (await jetstream.stream_info("KEPT")).state.messages == 2
        finally:
            await client.close()
