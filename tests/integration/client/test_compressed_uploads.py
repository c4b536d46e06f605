"""Compressed input is uploaded as what it holds, whatever its name and wherever it comes from."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from polybatch import InvalidRequest
from polybatch._operations.compression import Unpacker, zstd_module
from polybatch._operations.pieces import CHUNK_BYTES

from tests.integration.client.conftest import Api
from tests.support.client.fake_service import FakePolybatch
from tests.support.client.fault import Fault

zstd = zstd_module()

LINE = b'{"custom_id": "%06d", "text": "' + b"x" * 80 + b'"}\n'
CONTENT = b"".join(LINE % number for number in range(25_000))
HALF = len(CONTENT) // 2
# 22 bytes that no decoder gives anything for: https://www.rfc-editor.org/rfc/rfc8878#name-skippable-frames
SKIPPABLE = b"\x50\x2a\x4d\x18\x0e\x00\x00\x00" + b"polybatch test"

PACKED = {
    "gzip": gzip.compress(CONTENT),
    "two members": gzip.compress(CONTENT[:HALF]) + gzip.compress(CONTENT[HALF:]),
    "NULs at the end": gzip.compress(CONTENT) + bytes(1000),
    "zstd": zstd.compress(CONTENT),
    "frames": zstd.compress(CONTENT[:HALF]) + SKIPPABLE + zstd.compress(CONTENT[HALF:]),
    "bzip2": bz2.compress(CONTENT),
    "xz": lzma.compress(CONTENT, preset=0),
}


def path(packed: bytes, folder: Path) -> object:
    (folder / "requests.jsonl").write_bytes(packed)
    return folder / "requests.jsonl"


def standing_file(packed: bytes, _folder: Path) -> object:
    file = io.BytesIO(b"not this" + packed)
    file.seek(len(b"not this"))
    return file


SOURCES: list[Callable[[bytes, Path], object]] = [
    path,
    standing_file,
    lambda packed, _: packed,
    lambda packed, _: (packed[at : at + 1013] for at in range(0, len(packed), 1013)),
    lambda packed, _: (bytes([byte]) for byte in packed),
]


@pytest.mark.parametrize("name", PACKED)
def test_every_way_of_compressing_is_read(name: str) -> None:
    for size in (1, 4_099, 1 << 20):
        unpacker = Unpacker(name if name in ("zstd", "bzip2", "xz") else _way(PACKED[name]))
        pieces = []
        for at in range(0, len(PACKED[name]), size):
            unpacker.push(PACKED[name][at : at + size])
            while piece := unpacker.pull(100_000):
                assert len(piece) == 100_000
                pieces.append(piece)
        unpacker.close()
        assert b"".join(pieces) + unpacker.pull(100_000) == CONTENT


def _way(packed: bytes) -> str:
    return "gzip" if packed.startswith(b"\x1f\x8b") else "zstd"


@pytest.mark.parametrize("packed", [PACKED["two members"], PACKED["frames"]], ids=["gzip", "zstd"])
@pytest.mark.parametrize("source", SOURCES, ids=["path", "file", "bytes", "pieces", "single bytes"])
async def test_a_compressed_upload_survives_a_break(
    api: Api,
    fake: FakePolybatch,
    tmp_path: Path,
    packed: bytes,
    source: Callable[[bytes, Path], object],
) -> None:
    fake.faults["UploadFile"].append(Fault(after_bytes=1_500_000))
    file = await api.call("upload", source(packed, tmp_path))
    assert fake.contents[file.id] == CONTENT
    assert fake.count("UploadFile") == 2


async def test_what_is_cut_short_or_spoilt_makes_no_file(api: Api, fake: FakePolybatch) -> None:
    packed = PACKED["gzip"]
    spoilt = packed[:200] + bytes(50) + packed[250:]
    for content in (packed[:-20], packed[:9], spoilt, packed + b"more", PACKED["zstd"][:-9]):
        with pytest.raises(InvalidRequest) as caught:
            await api.call("submit", content)
        assert caught.value.reason == "INPUT_UNREADABLE"
    assert fake.files == {}


def test_a_bomb_is_unpacked_piece_by_piece() -> None:
    """64 MiB of NULs in 64 kB of gzip, and in 6 kB of zstd, take the memory of one chunk."""
    for packed in (gzip.compress(bytes(1 << 26)), zstd.compress(bytes(1 << 26))):
        unpacker = Unpacker(_way(packed))
        unpacker.push(packed)
        tracemalloc.start()
        try:
            size = 0
            while chunk := unpacker.pull(CHUNK_BYTES):
                size += len(chunk)
            assert tracemalloc.get_traced_memory()[1] < 5 * CHUNK_BYTES
        finally:
            tracemalloc.stop()
        assert size >= (1 << 26) - CHUNK_BYTES
