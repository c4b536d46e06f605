"""Blobs that are written bit by bit: unseen until committed, and nothing is left of the others."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import threading
from pathlib import Path

import pytest

from core.blobs import BlobExists, BlobStore, BlobUnavailable, SegmentConflict
from core.blobs.segments import SegmentWriter, StoredFile, segment_key
from core.failpoints import Failpoint
from tests.support.stores.files import files_below

MIB = 1024 * 1024


def names_in(tmp_path: Path) -> list[str]:
    return [path.name for path in files_below(tmp_path / "blobs")]


async def test_a_draft_is_seen_once_it_is_committed(store: BlobStore) -> None:
    draft = store.draft("a/b", point=Failpoint.UPLOAD_DATA)
    await draft.append([b"one", memoryview(b"two")])
    await draft.append([])
    assert await store.list("a") == []
    await draft.commit([b"three"], create_only=True)
    assert await store.get("a/b") == b"onetwothree"
    await draft.discard()
    assert await store.get("a/b") == b"onetwothree"


async def test_a_draft_without_bytes(store: BlobStore) -> None:
    await store.draft("a/b", point=Failpoint.UPLOAD_DATA).commit([], create_only=True)
    assert await store.get("a/b") == b""


async def test_create_only_leaves_what_is_there(store: BlobStore, tmp_path: Path) -> None:
    await store.put("a/b", b"first", point=Failpoint.UPLOAD_DATA)
    draft = store.draft("a/b", point=Failpoint.UPLOAD_DATA)
    await draft.append([b"second"])
    with pytest.raises(BlobExists):
        await draft.commit([], create_only=True)
    assert await store.get("a/b") == b"first"
    other = store.draft("a/b", point=Failpoint.UPLOAD_DATA)
    await other.append([b"third"])
    await other.commit([], create_only=False)
    assert await store.get("a/b") == b"third"
    assert names_in(tmp_path) in ([], ["b"])


async def test_a_discarded_or_forgotten_draft_leaves_nothing(
    folder_store: BlobStore, tmp_path: Path
) -> None:
    for forget in (False, True):
        draft = folder_store.draft("a/b", point=Failpoint.UPLOAD_DATA)
        await draft.append([b"x"])
        assert len(names_in(tmp_path)) == 1
        if not forget:
            await draft.discard()
        del draft
        async with asyncio.timeout(20):
            # The thread that wrote lets go of it a moment after it has said that it is done.
            while names_in(tmp_path):
                gc.collect()
                await asyncio.sleep(0)


async def test_more_parts_than_one_call_takes(folder_store: BlobStore) -> None:
    parts = [b"%d," % number for number in range(5000)]
    await folder_store.put("a/b", parts, point=Failpoint.UPLOAD_DATA)
    assert await folder_store.get("a/b") == b"".join(parts)


async def test_a_write_that_is_cut_short_goes_on(
    folder_store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, writev = os.write, os.writev
    monkeypatch.setattr(os, "writev", lambda at, parts: writev(at, [parts[0][:2]]))
    monkeypatch.setattr(os, "write", lambda at, data: write(at, data[:3]))
    await folder_store.put("a/b", [b"01234", b"56789", b"abc"], point=Failpoint.UPLOAD_DATA)
    assert await folder_store.get("a/b") == b"0123456789abc"


@pytest.mark.parametrize("piece", [300_000, MIB, 2 * MIB + 1, 7 * MIB])
@pytest.mark.parametrize("segment", [MIB, 3 * MIB, 3 * MIB + 5])
async def test_large_segments_from_pieces_of_any_size(
    store: BlobStore, piece: int, segment: int
) -> None:
    contents = os.urandom(7 * MIB + 11)
    writer = SegmentWriter(store, "f", segment_bytes=segment, point=Failpoint.UPLOAD_DATA)
    for at in range(0, len(contents), piece):
        await writer.write(contents[at : at + piece])
        assert writer.size == min(at + piece, len(contents))
    assert await writer.close() == len(contents)
    file = await StoredFile.open(store, "f")
    assert b"".join([chunk async for chunk in file.stream()]) == contents
    sizes = [size for _, size in await store.list("f")]
    assert sizes == [segment] * (len(contents) // segment) + [len(contents) % segment]


async def test_a_conflict_over_a_drafted_segment(folder_store: BlobStore, tmp_path: Path) -> None:
    writer = SegmentWriter(folder_store, "f", segment_bytes=3 * MIB, point=Failpoint.UPLOAD_DATA)
    await writer.write(b"x" * 2 * MIB)
    await folder_store.put(segment_key("f", 0), b"another's", point=Failpoint.UPLOAD_DATA)
    with pytest.raises(SegmentConflict):
        await writer.flush()
    assert await writer.abandon() == 0
    assert names_in(tmp_path) == ["0" * 20]


async def test_what_is_abandoned_leaves_no_file(folder_store: BlobStore, tmp_path: Path) -> None:
    writer = SegmentWriter(folder_store, "f", segment_bytes=3 * MIB, point=Failpoint.UPLOAD_DATA)
    for _ in range(4):
        await writer.write(b"x" * MIB)
    assert await writer.abandon() == 3 * MIB
    assert names_in(tmp_path) == ["0" * 20]


async def test_a_disk_that_fills_up(
    folder_store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int, _parts: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    writer = SegmentWriter(folder_store, "f", segment_bytes=3 * MIB, point=Failpoint.UPLOAD_DATA)
    monkeypatch.setattr(os, "writev", full)
    await writer.write(b"x" * MIB)
    for _ in range(2):
        with pytest.raises(BlobUnavailable):
            await writer.flush()
    monkeypatch.undo()
    assert await writer.abandon() == 0
    assert names_in(tmp_path) == []


async def test_two_segments_on_their_way_to_the_disk_get_their_names_in_order(
    folder_store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What survives a power cut has no gap, whichever the disk has done with first."""
    link, fsync = os.link, os.fsync
    synced = threading.Semaphore(0)
    first_may_be_named = threading.Event()

    def held_link(unfinished: Path, path: Path) -> None:
        if path.name == "0" * 20:
            assert first_may_be_named.wait(20)
        link(unfinished, path)

    def noted_fsync(descriptor: int) -> None:
        fsync(descriptor)
        synced.release()

    monkeypatch.setattr(os, "link", held_link)
    monkeypatch.setattr(os, "fsync", noted_fsync)
    writer = SegmentWriter(folder_store, "f", segment_bytes=2 * MIB, point=Failpoint.UPLOAD_DATA)
    for _ in range(4):
        await writer.write(b"x" * MIB)
    third = asyncio.create_task(_write_all(writer, [b"y" * MIB] * 2))
    # The new folder and its parent; then both segments, while neither has a name.
    for _ in range(4):
        assert await asyncio.to_thread(synced.acquire, timeout=20)
    assert not third.done()
    assert writer.committed == 0
    assert {name.partition("#")[0] for name in names_in(tmp_path)} >= {"0" * 20, f"{2 * MIB:020d}"}
    assert all("#" in name for name in names_in(tmp_path))
    first_may_be_named.set()
    await third
    assert await writer.close() == 6 * MIB
    assert (await StoredFile.open(folder_store, "f")).size == 6 * MIB


async def test_no_segment_gets_a_name_behind_one_that_got_none(
    folder_store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = SegmentWriter(folder_store, "f", segment_bytes=2 * MIB, point=Failpoint.UPLOAD_DATA)
    await folder_store.put(segment_key("f", 0), b"another's", point=Failpoint.UPLOAD_DATA)
    with pytest.raises(SegmentConflict):
        await _write_all(writer, [b"x" * MIB] * 8)
    with pytest.raises(SegmentConflict):
        await writer.flush()
    assert await writer.abandon() == 0
    assert names_in(tmp_path) == ["0" * 20]


async def _write_all(writer: SegmentWriter, pieces: list[bytes]) -> None:
    for piece in pieces:
        await writer.write(piece)
