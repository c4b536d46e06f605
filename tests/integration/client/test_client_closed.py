"""Clients that are closed before their last call: a clear error, and nothing is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from polybatch import PolybatchError

from tests.integration.client.conftest import Api, AsyncioApi, BlockingApi, connected
from tests.support.client.batches import snapshot
from tests.support.client.fake_service import FakePolybatch

BATCH = "batch_1"
REQUESTS = b'{"custom_id": "a"}\n'


@pytest.fixture(params=["blocking", "asyncio"])
async def api(request: pytest.FixtureRequest, fake: FakePolybatch) -> AsyncIterator[Api]:
    async with connected(request.param, fake.address, wait=60) as client:
        yield client


async def close(api: Api) -> None:
    """Closes the client, from another thread where it is the blocking one."""
    if isinstance(api, BlockingApi):
        await asyncio.to_thread(api.client.close)
    else:
        assert isinstance(api, AsyncioApi)
        await api.client.close()


async def test_an_open_watch_ends_with_it(api: Api, fake: FakePolybatch) -> None:
    fake.publish(snapshot(BATCH, 1))
    watch = asyncio.create_task(api.items("watch", BATCH))
    assert await asyncio.to_thread(fake.watching.wait, 20)
    await close(api)
    with pytest.raises(PolybatchError, match="client is closed") as caught:
        await asyncio.wait_for(watch, 20)
    assert caught.value.reason == "CLIENT_CLOSED"
    assert api.retries == []


async def test_no_call_follows(api: Api, fake: FakePolybatch) -> None:
    fake.publish(snapshot(BATCH, 1))
    await api.call("get_batch", BATCH)
    await close(api)
    for begin in (
        lambda: api.call("get_batch", BATCH),
        lambda: api.call("submit", REQUESTS),
        lambda: api.items("watch", BATCH),
        lambda: api.items("results", BATCH),
    ):
        with pytest.raises(PolybatchError, match="client is closed") as caught:
            await begin()
        assert caught.value.reason == "CLIENT_CLOSED"
    assert api.retries == []
    assert len(fake.calls) == 1
    await close(api)
