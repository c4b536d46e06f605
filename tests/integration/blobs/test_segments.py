"""Stored files: what is committed, in which pieces, and what a reader sees."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

from core.blobs import BlobMissing, BlobStore, BlobUnavailable, SegmentConflict
from core.blobs.segments import SegmentWriter, StoredFile, segment_key
from core.failpoints import Failpoint
from tests.fuzz.budget import examples


async def _bytes_of(file: StoredFile, **where: int) -> bytes:
    return b"".join([chunk async for chunk in file.stream(**where)])


async def test_segments_are_cut_at_the_size_and_named_by_offset(store: BlobStore) -> None:
    writer = SegmentWriter(store, "f", segment_bytes=4, point=Failpoint.UPLOAD_DATA)
    for piece in (b"ab", b"cde", b"", b"fghijklmn"):
        await writer.write(piece)
    assert writer.size == 14
    assert await writer.close() == 14
    assert await store.list("f") == [
        (segment_key("f", 0), 4),
        (segment_key("f", 4), 4),
        (segment_key("f", 8), 4),
        (segment_key("f", 12), 2),
    ]
    file = await StoredFile.open(store, "f")
    assert file.size == 14
    assert await _bytes_of(file) == b"abcdefghijklmn"


async def test_an_empty_file(store: BlobStore) -> None:
    assert (
        await SegmentWriter(store, "f", segment_bytes=4, point=Failpoint.UPLOAD_DATA).close() == 0
    )
    file = await StoredFile.open(store, "f")
    assert file.size == 0
    assert await file.read(0, 0) == b""
    assert await _bytes_of(file) == b""


async def test_resume_at_the_committed_size(store: BlobStore) -> None:
    first = SegmentWriter(store, "f", segment_bytes=2, point=Failpoint.UPLOAD_DATA)
    await first.write(b"abc")
    await first.write(b"d")
    await first.write(b"e")
    assert await first.abandon() == 4
    committed = (await StoredFile.open(store, "f")).size
    assert committed == 4
    second = SegmentWriter(
        store, "f", segment_bytes=2, offset=committed, point=Failpoint.UPLOAD_DATA
    )
    await second.write(b"ef")
    assert await second.close() == 6
    assert await _bytes_of(await StoredFile.open(store, "f")) == b"abcdef"


async def test_a_second_writer_at_the_same_offset_is_told(store: BlobStore) -> None:
    first = SegmentWriter(store, "f", segment_bytes=2, point=Failpoint.UPLOAD_DATA)
    second = SegmentWriter(store, "f", segment_bytes=2, point=Failpoint.UPLOAD_DATA)
    await first.write(b"ab")
    assert await first.flush() == 2
    await second.write(b"xy")
    for _ in range(2):
        with pytest.raises(SegmentConflict):
            await second.flush()
    assert second.committed == 0
    assert await second.abandon() == 0
    assert await _bytes_of(await StoredFile.open(store, "f")) == b"ab"


async def test_overwrite_replaces_all_segments(store: BlobStore) -> None:
    for segment_bytes, contents in ((2, b"abcdef"), (4, b"abcdefgh"), (100, b"xyz"), (1, b"")):
        writer = SegmentWriter(
            store, "f", segment_bytes=segment_bytes, overwrite=True, point=Failpoint.UPLOAD_DATA
        )
        for at in range(0, len(contents), 3):
            await writer.write(contents[at : at + 3])
        assert await writer.close() == len(contents)
        assert await _bytes_of(await StoredFile.open(store, "f")) == contents
        assert sum(size for _, size in await store.list("f")) == len(contents)


@pytest.mark.long
async def test_overwriting_by_the_like_never_disturbs_a_reader(store: BlobStore) -> None:
    contents = bytes(range(100))
    first = SegmentWriter(store, "f", segment_bytes=8, overwrite=True, point=Failpoint.UPLOAD_DATA)
    await first.write(contents)
    await first.close()
    again = SegmentWriter(store, "f", segment_bytes=8, overwrite=True, point=Failpoint.UPLOAD_DATA)
    for at in range(100):
        await again.write(contents[at : at + 1])
        assert await _bytes_of(await StoredFile.open(store, "f")) == contents
    await again.abandon()
    assert await _bytes_of(await StoredFile.open(store, "f")) == contents


async def test_what_follows_a_gap_is_not_committed(store: BlobStore) -> None:
    await store.put(segment_key("f", 0), b"abc", point=Failpoint.UPLOAD_DATA)
    await store.put(segment_key("f", 4), b"efg", point=Failpoint.UPLOAD_DATA)
    assert (await StoredFile.open(store, "f")).size == 3


async def test_names_that_are_no_segment_s_are_passed_over(store: BlobStore) -> None:
    key = segment_key("f", 0)
    beside = key.replace("/", "/.") + ".sgwtmp.1796000000000000000"
    for name, content in ((key, b"abc"), (beside, b"abc"), (segment_key("f", 3), b"d")):
        await store.put(name, content, point=Failpoint.UPLOAD_DATA)
    assert await _bytes_of(await StoredFile.open(store, "f")) == b"abcd"


async def test_reads_outside_the_file(store: BlobStore) -> None:
    await store.put(segment_key("f", 0), b"abc", point=Failpoint.UPLOAD_DATA)
    file = await StoredFile.open(store, "f")
    for offset, length in ((0, 4), (3, 1), (-1, 1)):
        with pytest.raises(BlobMissing):
            await file.read(offset, length)
    for offset, end in ((4, 4), (0, 4), (2, 1)):
        with pytest.raises(BlobMissing):
            await _bytes_of(file, offset=offset, end=end)


async def test_one_put_in_flight_while_the_next_segment_fills(
    folder_store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = folder_store.put
    started: list[str] = []
    may_go_on = asyncio.Event()

    async def held(key: str, data: bytes, *, point: Failpoint, create_only: bool) -> None:
        started.append(key)
        await may_go_on.wait()
        await put(key, data, point=point, create_only=create_only)

    monkeypatch.setattr(folder_store, "put", held)
    writer = SegmentWriter(folder_store, "f", segment_bytes=2, point=Failpoint.UPLOAD_DATA)
    await writer.write(b"ab")
    await writer.write(b"c")
    full = asyncio.create_task(writer.write(b"d"))
    done, _ = await asyncio.wait([full], timeout=0.05)
    assert not done
    assert started == [segment_key("f", 0)]
    assert writer.committed == 0
    may_go_on.set()
    await full
    assert writer.committed == 2
    assert await writer.close() == 4


async def test_a_cancelled_writer_lets_its_put_end(
    folder_store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = folder_store.put
    may_go_on = asyncio.Event()

    async def held(key: str, data: bytes, *, point: Failpoint, create_only: bool) -> None:
        await may_go_on.wait()
        await put(key, data, point=point, create_only=create_only)

    monkeypatch.setattr(folder_store, "put", held)
    writer = SegmentWriter(folder_store, "f", segment_bytes=2, point=Failpoint.UPLOAD_DATA)
    await writer.write(b"ab")
    closing = asyncio.create_task(writer.close())
    await asyncio.wait([closing], timeout=0.01)
    closing.cancel()
    await asyncio.wait([closing])
    assert closing.cancelled()
    may_go_on.set()
    assert await writer.abandon() == 2
    assert (await StoredFile.open(folder_store, "f")).size == 2


async def test_an_error_of_the_store_is_raised_by_every_later_call(
    folder_store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(key: str, data: bytes, *, point: Failpoint, create_only: bool) -> None:
        raise BlobUnavailable("disk full", key=key)

    monkeypatch.setattr(folder_store, "put", broken)
    writer = SegmentWriter(folder_store, "f", segment_bytes=2, point=Failpoint.UPLOAD_DATA)
    await writer.write(b"ab")
    for _ in range(2):
        with pytest.raises(BlobUnavailable):
            await writer.write(b"cd")
    with pytest.raises(BlobUnavailable):
        await writer.close()


async def test_a_reader_that_stops_early_leaves_no_task(store: BlobStore) -> None:
    await store.put(segment_key("f", 0), b"abcdef", point=Failpoint.UPLOAD_DATA)
    file = await StoredFile.open(store, "f")
    stream = file.stream(chunk_bytes=1)
    assert await anext(stream) == b"a"
    await stream.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    pieces=st.lists(st.binary(max_size=12), max_size=12),
    segment_bytes=st.integers(1, 20),
    chunk_bytes=st.integers(1, 9),
    cut=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_any_range_of_any_segmentation(
    pieces: list[bytes], segment_bytes: int, chunk_bytes: int, cut: tuple[float, float]
) -> None:
    whole = b"".join(pieces)
    start, end = sorted(int(at * len(whole)) for at in cut)

    async def check() -> None:
        store = BlobStore(MemoryStore(), None)
        writer = SegmentWriter(store, "f", segment_bytes=segment_bytes, point=Failpoint.UPLOAD_DATA)
        for piece in pieces:
            await writer.write(piece)
        assert await writer.close() == len(whole)
        file = await StoredFile.open(store, "f")
        assert file.size == len(whole)
        assert await file.read(start, end - start) == whole[start:end]
        chunks = [c async for c in file.stream(start, end, chunk_bytes)]
        assert b"".join(chunks) == whole[start:end]
        assert all(0 < len(chunk) <= chunk_bytes for chunk in chunks)

    asyncio.run(check())
