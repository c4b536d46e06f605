"""Reading lines by index records: exactly the lines, in few reads, in bounded memory."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import MemoryStore

from core.batchfile import INDEX, read_lines, stream_records
from core.batchfile.line_reader import read_records
from core.blobs import BlobMissing, BlobStore, SegmentWriter, StoredFile
from core.failpoints import Failpoint


async def stored(store: BlobStore, data: bytes, segment_bytes: int) -> StoredFile:
    writer = SegmentWriter(store, "f", segment_bytes=segment_bytes, point=Failpoint.UPLOAD_DATA)
    for at in range(0, len(data), 7):
        await writer.write(data[at : at + 7])
    await writer.close()
    return await StoredFile.open(store, "f")


@given(
    cuts=st.lists(st.integers(0, 300), max_size=30, unique=True),
    span_bytes=st.integers(1, 100),
    segment_bytes=st.integers(1, 120),
    every=st.integers(1, 4),
)
def test_ranges_come_back_whole(
    cuts: list[int], span_bytes: int, segment_bytes: int, every: int
) -> None:
    data = bytes(n % 251 for n in range(300))
    ranges = [
        (start, end - start, number)
        for number, (start, end) in enumerate(pairwise(sorted(cuts)), 1)
    ][::every]

    async def check() -> None:
        file = await stored(BlobStore(MemoryStore(), None), data, segment_bytes)
        records = b"".join(INDEX.pack(*found, 0, 0) for found in ranges)
        groups = [group async for group in read_lines(file, records, span_bytes=span_bytes)]
        assert [line for group in groups for line in group] == [
            (number, data[start : start + length]) for start, length, number in ranges
        ]
        assert all(
            sum(len(raw) for _, raw in group) <= span_bytes for group in groups if len(group) > 1
        )

    asyncio.run(check())


async def test_neighbours_are_read_together_and_far_ones_are_not(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.put("f/" + "0" * 20, bytes(1_000_000), point=Failpoint.UPLOAD_DATA)
    file = await StoredFile.open(store, "f")
    read = file.read
    reads: list[tuple[int, int]] = []

    async def recording(offset: int, length: int) -> bytes:
        reads.append((offset, length))
        return await read(offset, length)

    monkeypatch.setattr(file, "read", recording)
    ranges = [(0, 100), (101, 100), (300, 50), (500_000, 10), (500_011, 10)]
    groups = [group async for group in read_records(file, iter(ranges))]
    assert [len(group) for group in groups] == [3, 2]
    assert reads == [(0, 350), (500_000, 21)]


async def test_only_one_read_goes_ahead(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await store.put("f/" + "0" * 20, bytes(100), point=Failpoint.UPLOAD_DATA)
    file = await StoredFile.open(store, "f")
    read = file.read
    reads: list[int] = []

    async def recording(offset: int, length: int) -> bytes:
        reads.append(offset)
        return await read(offset, length)

    monkeypatch.setattr(file, "read", recording)
    groups = read_records(file, ((at, 10) for at in range(0, 100, 10)), span_bytes=10)
    assert [record for record, _ in await anext(groups)] == [(0, 10)]
    assert reads == [0, 10]
    await groups.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_file_that_is_shorter_than_its_index(store: BlobStore) -> None:
    await store.put("f/" + "0" * 20, b"abc", point=Failpoint.UPLOAD_DATA)
    file = await StoredFile.open(store, "f")
    with pytest.raises(BlobMissing):
        _ = [group async for group in read_lines(file, INDEX.pack(0, 4, 1, 0, 0))]


async def test_records_are_whole_however_the_index_is_cut(store: BlobStore) -> None:
    contents = b"".join(INDEX.pack(n, 1, n + 1, 0, 0) for n in range(50))
    index = await stored(store, contents, 33)
    for first in (0, 7, 49, 50, 99):
        chunks = [c async for c in stream_records(index, INDEX.size, first=first, at_once=3)]
        assert b"".join(chunks) == contents[first * INDEX.size :]
        assert all(len(chunk) % INDEX.size == 0 for chunk in chunks)
