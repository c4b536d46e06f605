"""What only object storage does: it is far away, and goes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import obstore
import pytest

from core.blobs import (
    BlobMissing,
    BlobStore,
    BlobUnavailable,
    SegmentConflict,
    SegmentWriter,
    StoredFile,
)
from core.failpoints import Failpoint
from tests.support.stores.lossy import LossyProxy
from tests.support.stores.object_storage import ObjectStorage, running_object_storage

POINT = Failpoint.UPLOAD_DATA


@pytest.fixture
def own_server(
    object_storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ObjectStorage]:
    """A server that the test may stop; skipped where the shared one is."""
    with running_object_storage() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
async def lossy(
    object_storage: ObjectStorage, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LossyProxy]:
    """A way to the shared server that can lose the answer to a put."""
    async with LossyProxy(object_storage.port, b"PUT /") as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
        yield proxy


async def test_an_outage_is_an_error_and_it_goes_on_afterwards(own_server: ObjectStorage) -> None:
    store = BlobStore.open(own_server.create_bucket())
    await store.put("a/b", b"one", point=POINT)
    await store.check()
    own_server.kill()
    calls = (
        store.put("a/b", b"two", point=POINT),
        store.put("a/c", b"two", create_only=True, point=POINT),
        store.get("a/b"),
        store.get_range("a/b", 0, 1),
        store.exists("a/b"),
        store.list("a"),
        store.delete_prefix("a", point=POINT),
        store.check(),
    )
    outcomes = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 60)
    assert [type(outcome) for outcome in outcomes] == [BlobUnavailable] * len(calls)
    own_server.start()
    assert await store.get("a/b") == b"one"
    await store.check()


async def test_a_key_that_is_refused(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-one")
    store = BlobStore.open(s3_url)
    with pytest.raises(BlobUnavailable, match="SignatureDoesNotMatch") as caught:
        await store.check()
    assert "wrong-one" not in str(caught.value)
    with pytest.raises(BlobUnavailable, match="SignatureDoesNotMatch"):
        await store.put("a", b"x", point=POINT)


async def test_a_bucket_that_is_not_there_is_no_missing_blob(s3_url: str) -> None:
    store = BlobStore.open("s3://no-such-bucket")
    with pytest.raises(BlobUnavailable, match="NoSuchBucket"):
        await store.check()
    with pytest.raises(BlobUnavailable, match="NoSuchBucket"):
        await store.put("a", b"x", point=POINT)


async def test_prefixes_of_one_bucket_see_nothing_of_each_other(s3_url: str) -> None:
    first, second = BlobStore.open(f"{s3_url}/first"), BlobStore.open(f"{s3_url}/second/deeper/")
    await first.put("a/b", b"x", point=POINT)
    assert await second.list("a") == []
    with pytest.raises(BlobMissing):
        await second.get("a/b")
    assert await BlobStore.open(s3_url).list("first") == [("first/a/b", 1)]


async def test_a_writer_whose_confirmation_was_lost_does_not_take_its_own_for_anothers(
    lossy: LossyProxy, s3_url: str
) -> None:
    store = BlobStore.open(s3_url)
    writer = SegmentWriter(store, "files/a", segment_bytes=1000, point=POINT)
    await writer.write(b"1" * 1000)
    assert await writer.flush() == 1000
    lossy.lose_next()
    await writer.write(b"2" * 1000)
    assert await writer.flush() == 2000
    assert not lossy.armed
    other = SegmentWriter(store, "files/a", segment_bytes=1000, offset=1000, point=POINT)
    await other.write(b"4" * 1000)
    with pytest.raises(SegmentConflict):
        await other.flush()
    await writer.write(b"3" * 500)
    assert await writer.close() == 2500
    file = await StoredFile.open(store, "files/a")
    assert await file.read(0, 2500) == b"1" * 1000 + b"2" * 1000 + b"3" * 500


async def test_a_segment_of_many_megabytes(s3_url: str) -> None:
    store = BlobStore.open(s3_url)
    data = bytes(range(256)) * 256 * 1024
    await store.put("large", data, create_only=True, point=POINT)
    assert await store.get_range("large", 48_000_000, 1000) == data[48_000_000:48_001_000]
    assert await store.get("large") == data


@pytest.mark.long
async def test_more_blobs_than_one_page_of_a_list(s3_url: str) -> None:
    store = BlobStore.open(s3_url)
    keys = [f"many/{number:05d}" for number in range(1203)]
    for start in range(0, len(keys), 100):
        await asyncio.gather(
            *(store.put(key, b"x", point=POINT) for key in keys[start : start + 100])
        )
    assert [key for key, _ in await store.list("many")] == keys
    await store.delete_prefix("many", point=POINT)
    assert await store.list("many") == []


def test_variables_that_make_no_sense(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONDITIONAL_PUT", "sometimes")
    with pytest.raises(ValueError, match="sometimes"):
        BlobStore.open(s3_url)


async def test_copies_are_made_a_few_at_once(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = BlobStore.open(s3_url)
    for first in range(0, 80, 20):
        puts = (store.put(f"a/{n:03}", b"x", point=POINT) for n in range(first, first + 20))
        await asyncio.gather(*puts)
    copy, running, most = obstore.copy_async, 0, 0

    async def counted(*args: Any) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await copy(*args)
        running -= 1

    monkeypatch.setattr(obstore, "copy_async", counted)
    await store.copy_prefix("a", "b", point=POINT)
    assert [key for key, _ in await store.list("b")] == [f"b/{n:03}" for n in range(80)]
    assert 1 < most <= 32
