"""What every blob store does, and what a local folder does besides."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.exceptions import AlreadyExistsError

from core.blobs import BlobExists, BlobMissing, BlobStore, BlobUnavailable
from core.failpoints import Failpoint


async def test_put_and_get(store: BlobStore) -> None:
    await store.put("a/b", b"one", point=Failpoint.UPLOAD_DATA)
    assert await store.get("a/b") == b"one"
    await store.put("a/b", b"two", point=Failpoint.UPLOAD_DATA)
    assert await store.get("a/b") == b"two"


async def test_put_joins_pieces(store: BlobStore) -> None:
    await store.put("a/b", [b"one", memoryview(b"two"), b""], point=Failpoint.UPLOAD_DATA)
    assert await store.get("a/b") == b"onetwo"
    await store.put("a/none", [], point=Failpoint.UPLOAD_DATA)
    assert await store.get("a/none") == b""


async def test_create_only_leaves_what_is_there(store: BlobStore) -> None:
    await store.put("a/b", b"one", create_only=True, point=Failpoint.UPLOAD_DATA)
    with pytest.raises(BlobExists) as raised:
        await store.put("a/b", b"two", create_only=True, point=Failpoint.UPLOAD_DATA)
    assert raised.value.key == "a/b"
    assert await store.get("a/b") == b"one"


async def test_one_of_many_creators_wins(store: BlobStore) -> None:
    outcomes = await asyncio.gather(
        *(
            store.put("a/b", b"%d" % n, create_only=True, point=Failpoint.UPLOAD_DATA)
            for n in range(8)
        ),
        return_exceptions=True,
    )
    assert outcomes.count(None) == 1
    assert await store.get("a/b") == b"%d" % outcomes.index(None)
    assert all(o is None or isinstance(o, BlobExists) for o in outcomes)


@pytest.mark.parametrize("refusals", [1, 100])
async def test_a_create_that_meets_another_under_way(
    s3_url: str, monkeypatch: pytest.MonkeyPatch, refusals: int
) -> None:
    store, put = BlobStore.open(f"{s3_url}/some/prefix"), obstore.put_async
    refused = iter(range(refusals))

    async def conflicting(*what: Any, **how: Any) -> Any:
        for _ in refused:
            raise AlreadyExistsError("409 ConditionalRequestConflict")
        return await put(*what, **how)

    monkeypatch.setattr(obstore, "put_async", conflicting)
    writing = store.put("a/b", b"one", create_only=True, point=Failpoint.UPLOAD_DATA)
    if refusals == 1:
        await writing
        assert await store.get("a/b") == b"one"
    else:
        with pytest.raises(BlobUnavailable):
            await writing
        assert not await store.exists("a/b")


async def test_missing_blobs(store: BlobStore) -> None:
    for reading in (store.get("a/b"), store.get_range("a/b", 0, 1)):
        with pytest.raises(BlobMissing):
            await reading
    assert not await store.exists("a/b")
    await store.put("a/b", b"x", point=Failpoint.UPLOAD_DATA)
    assert await store.exists("a/b")


async def test_ranges(store: BlobStore) -> None:
    await store.put("a/b", b"0123456789", point=Failpoint.UPLOAD_DATA)
    assert await store.get_range("a/b", 3, 4) == b"3456"
    assert await store.get_range("a/b", 9, 1) == b"9"
    assert await store.get_range("a/b", 9, 0) == b""
    with pytest.raises(BlobMissing):
        await store.get_range("a/b", 8, 3)


async def test_list_is_sorted_and_stays_in_its_folder(store: BlobStore) -> None:
    for key in ("a/b/2", "a/b/1", "a/bb/1", "a/b/c/1", "z"):
        await store.put(key, b"x" * len(key), point=Failpoint.UPLOAD_DATA)
    assert await store.list("a/b") == [("a/b/1", 5), ("a/b/2", 5), ("a/b/c/1", 7)]
    assert await store.list("none") == []


async def test_delete_prefix(store: BlobStore) -> None:
    for key in ("a/b/2", "a/b/c/1", "a/bb/1"):
        await store.put(key, b"x", point=Failpoint.UPLOAD_DATA)
    await store.delete_prefix("a/b", point=Failpoint.UPLOAD_DATA)
    assert await store.list("a") == [("a/bb/1", 1)]
    await store.delete_prefix("a/b", point=Failpoint.UPLOAD_DATA)


async def test_a_copy_of_a_folder_stays_when_the_folder_goes(store: BlobStore) -> None:
    for key in ("a/b/2", "a/b/c/1", "a/bb/1"):
        await store.put(key, key.encode(), point=Failpoint.UPLOAD_DATA)
    await store.copy_prefix("a/b", "d/e", point=Failpoint.UPLOAD_DATA)
    await store.put("a/b/2", b"another", point=Failpoint.UPLOAD_DATA)
    await store.delete_prefix("a/b", point=Failpoint.UPLOAD_DATA)
    assert await store.list("d") == [("d/e/2", 5), ("d/e/c/1", 7)]
    assert await store.get("d/e/2") == b"a/b/2"
    assert await store.get("d/e/c/1") == b"a/b/c/1"
    await store.copy_prefix("a/none", "d/f", point=Failpoint.UPLOAD_DATA)
    assert await store.list("d/f") == []


async def test_one_that_is_not_there_keeps_no_other(store: BlobStore) -> None:
    keys = [f"a/{number:02}" for number in range(40)]
    for key in keys:
        await store.put(key, b"x", point=Failpoint.UPLOAD_DATA)
    await store.delete(["a/none", *keys], point=Failpoint.UPLOAD_DATA)
    assert await store.list("a") == []


async def test_delete(store: BlobStore) -> None:
    for key in ("a/1", "a/2", "a/3"):
        await store.put(key, b"x", point=Failpoint.UPLOAD_DATA)
    await store.delete(["a/1", "a/none", "a/3"], point=Failpoint.UPLOAD_DATA)
    assert await store.list("a") == [("a/2", 1)]
    await store.delete([], point=Failpoint.UPLOAD_DATA)


@pytest.mark.parametrize("key", ["", "/a", "a//b", "../a", "a/..", "a/./b", "a#1", "a b", "a/"])
async def test_bad_keys_are_refused(store: BlobStore, key: str) -> None:
    with pytest.raises(ValueError, match="blob key"):
        await store.put(key, b"x", point=Failpoint.UPLOAD_DATA)
    with pytest.raises(ValueError, match="blob key"):
        await store.delete_prefix(key, point=Failpoint.UPLOAD_DATA)


@pytest.mark.parametrize("url", ["", "blobs", "http://x/y", "file://host/a", "s3://", "memory:///"])
def test_urls_that_are_none_of_ours(url: str) -> None:
    with pytest.raises(ValueError, match="expected file:///"):
        BlobStore.open(url)


@pytest.mark.parametrize("url", ["s3://bucket/prefix", "gs://bucket/prefix"])
def test_object_storage_opens_without_a_call(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    BlobStore.open(url)


async def test_check(store: BlobStore) -> None:
    await store.check()


async def test_a_folder_that_went_away_is_unavailable(tmp_path: Path) -> None:
    store = BlobStore.open((tmp_path / "blobs").as_uri())
    (tmp_path / "blobs").rmdir()
    with pytest.raises(BlobUnavailable):
        await store.check()


async def test_only_the_owner_can_read(folder_store: BlobStore, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        await folder_store.put("a/b/c", b"secret", point=Failpoint.UPLOAD_DATA)
    finally:
        os.umask(before)
    root = tmp_path / "blobs"
    for path in (root, root / "a", root / "a/b"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE((root / "a/b/c").stat().st_mode) == 0o600


async def test_folder_names_with_spaces(tmp_path: Path) -> None:
    store = BlobStore.open((tmp_path / "my blobs é").as_uri())
    await store.put("a/b", b"x", point=Failpoint.UPLOAD_DATA)
    assert await store.get("a/b") == b"x"
    assert (tmp_path / "my blobs é/a/b").read_bytes() == b"x"


async def test_contents_and_names_are_synced_before_put_returns(
    folder_store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "blobs"
    synced: list[tuple[str, bool]] = []
    fsync = os.fsync

    def recording(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        synced.append((path, (root / "a/b").exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recording)
    await folder_store.put("a/b", b"x", create_only=True, point=Failpoint.UPLOAD_DATA)
    folders = [str(root / "a"), str(root)]
    assert [path for path, _ in synced[:2]] == folders
    assert synced[2][0].startswith(f"{root}/a/b#")
    assert not synced[2][1], "the name appeared before its contents were on the disk"
    assert synced[3:] == [(str(root / "a"), True)]


async def test_a_failed_write_leaves_nothing(
    folder_store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    await folder_store.put("a/other", b"x", point=Failpoint.UPLOAD_DATA)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BlobUnavailable, match="No space left"):
        await folder_store.put("a/b", b"x", point=Failpoint.UPLOAD_DATA)
    assert [path.name for path in (tmp_path / "blobs/a").iterdir()] == ["other"]


async def test_unfinished_files_of_a_crash_are_not_seen(
    folder_store: BlobStore, tmp_path: Path
) -> None:
    await folder_store.put("a/b", b"x", point=Failpoint.UPLOAD_DATA)
    (tmp_path / "blobs/a/c#123").write_bytes(b"torn")
    assert await folder_store.list("a") == [("a/b", 1)]
    await folder_store.delete_prefix("a", point=Failpoint.UPLOAD_DATA)
    assert not (tmp_path / "blobs/a").exists()
