"""Files leave some of the disk free."""

from __future__ import annotations

import errno
import os
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from core.blobs import BlobStore, BlobUnavailable, is_full, require_headroom, write_whole
from core.failpoints import Failpoint
from tests.support.stores.files import files_below

POINT = Failpoint.UPLOAD_DATA


def free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


async def test_what_would_take_the_reserve_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    url = (tmp_path / "blobs").as_uri()
    await BlobStore.open(url).put("a/there", b"x", point=POINT)
    short = BlobStore.open(url, reserve=2 * free(tmp_path))
    with pytest.raises(BlobUnavailable) as caught:
        await short.put("a/new", b"x", point=POINT)
    assert is_full(caught.value)
    draft = short.draft("a/bit", point=POINT)
    with pytest.raises(BlobUnavailable):
        await draft.append([b"x"])
    await draft.discard()
    assert [path.name for path in files_below(tmp_path / "blobs")] == ["there"]
    assert await short.get("a/there") == b"x", "reading goes on"
    await short.delete_prefix("a", point=POINT)
    await BlobStore.open(url, reserve=1).put("a/new", b"x", point=POINT)


async def test_a_folder_that_has_gone_is_not_made_anew(tmp_path: Path) -> None:
    """Its disk may be back in a moment: nothing is to lie below it by then."""
    folder, away = tmp_path / "blobs", tmp_path / "away"
    store = BlobStore.open(folder.as_uri())
    await store.put("a/there", b"x", point=POINT)
    os.rename(folder, away)
    with pytest.raises(BlobUnavailable, match="is missing"):
        await store.put("a/new", b"x", point=POINT)
    with pytest.raises(BlobUnavailable, match="is missing"):
        await store.draft("a/new", point=POINT).append([b"x"])
    with pytest.raises(BlobUnavailable):
        await store.check()
    os.rename(away, folder)
    await store.put("b/new", b"x", point=POINT)
    assert await store.get("a/there") == b"x"


def test_the_room_that_is_asked_for_counts(tmp_path: Path) -> None:
    require_headroom(tmp_path, 1, 1)
    require_headroom(tmp_path, 2 * free(tmp_path), 0)
    with pytest.raises(OSError, match="would stay free") as caught:
        require_headroom(tmp_path, free(tmp_path), 4096)
    assert caught.value.errno == errno.ENOSPC


def test_full_is_told_from_other_troubles() -> None:
    assert is_full(OSError(errno.EDQUOT, "quota"))
    assert not is_full(OSError(errno.EIO, "broken"))
    assert not is_full(BlobUnavailable("away", key="a"))
    assert not is_full(None)


class NearlyFull(FileIO):
    """A file on a disk that takes so many bytes at a time, as long as it has room."""

    def write(self, contents: Any) -> int:
        if self.tell() >= 10:
            raise OSError(errno.ENOSPC, "no space left on device")
        return super().write(memoryview(contents)[:4])


@pytest.mark.parametrize("size", [0, 1, 4, 9])
def test_all_is_written_though_a_disk_takes_parts(tmp_path: Path, size: int) -> None:
    contents = bytes(range(size))
    with NearlyFull(tmp_path / "spool", "w+") as file:
        write_whole(file, contents)
    assert (tmp_path / "spool").read_bytes() == contents


def test_what_does_not_fit_is_no_success(tmp_path: Path) -> None:
    with NearlyFull(tmp_path / "spool", "w+") as file, pytest.raises(OSError, match="no space"):
        write_whole(file, bytes(100))
