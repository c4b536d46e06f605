"""Blobs in memory, and the indexes of made-up files."""

from __future__ import annotations

from collections.abc import Sequence

from core.batchfile import INDEX
from core.blobs import BlobMissing
from core.blobs.segments import segment_key
from core.ledger import File


class MemoryBlobs:
    """As much of core.blobs.BlobStore as planning, cutting and sending need."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}
        self._records: dict[tuple[int, int], bytes] = {}
        """The longest index so far, by bytes of a line and groups."""

    async def put(self, key: str, data: bytes | Sequence[bytes], **_options: object) -> None:
        """As of BlobStore."""
        self._kept[key] = data if isinstance(data, bytes) else b"".join(data)

    async def get(self, key: str) -> bytes:
        """As of BlobStore."""
        try:
            return self._kept[key]
        except KeyError:
            raise BlobMissing(key, key=key) from None

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        """As of BlobStore."""
        return (await self.get(key))[start : start + length]

    async def list(self, prefix: str) -> list[tuple[str, int]]:
        """As of BlobStore; here each file has one segment."""
        key = segment_key(prefix, 0)
        return [(key, len(self._kept[key]))] if key in self._kept else []

    def forget(self, key: str) -> None:
        """Of what has been sent nothing is read again."""
        self._kept.pop(key, None)

    def write_index(self, file: File, lines: int, line_bytes: int) -> None:
        """Write the index of a file whose lines go to its groups by turns."""
        groups = len(file.groups)
        shape = (line_bytes, groups)
        records = self._records.get(shape, b"")
        if len(records) < lines * INDEX.size:
            records = b"".join(
                INDEX.pack(line * line_bytes, line_bytes - 1, line + 1, line % groups, 0)
                for line in range(lines)
            )
            self._records[shape] = records
        self._kept[segment_key(f"{file.prefix}/index", 0)] = records[: lines * INDEX.size]

    def forget_index(self, file: File) -> None:
        """It has been planned."""
        self.forget(segment_key(f"{file.prefix}/index", 0))
