"""Finding lines that ask the same, in 16 bytes a line.

A request's digest is of its provider, the provider's id of the model, the url and the body: keys
in any order, white space left out, numbers by their value. Digests are dealt into partitions by
their first byte, so that only the dict of one is ever built.

What a batch ran, and what it lends, is kept as `{prefix}/records`, digest (12 bytes) | line u32 for
each line, by first byte of the digest, with `{prefix}/table`: how many there are of each, u32.
"""

from __future__ import annotations

import hashlib
import struct
from array import array
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from core.batchfile.index import INDEX_SEGMENT_BYTES, stream_records
from core.blobs import BlobStore, SegmentWriter, StoredFile
from core.failpoints import Failpoint

DIGEST_BYTES = 12
"""Of 96 bits: two of 100 million lines have the same by chance once in 10 million times."""
EQUAL = struct.Struct(f"<{DIGEST_BYTES}sI")
PARTITIONS = 256
REUSE_TABLE = struct.Struct(f"<{PARTITIONS}I")
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(order="deterministic").encode


def request_digest(context: bytes, url: str, body: bytes | msgspec.Raw) -> bytes:
    """The digest of a valid line's request.

    `context`: of what else tells requests apart (see `context_of`). Raises msgspec.DecodeError.
    """
    content: Any = _decode(body)
    if isinstance(content, dict):
        # The context has the provider's id of it: a file may name one model in several ways.
        content.pop("model", None)
    digest = hashlib.blake2b(context, digest_size=DIGEST_BYTES)
    digest.update(url.encode())
    digest.update(b"\0")
    digest.update(_encode(content))
    return digest.digest()


def context_of(provider: str, remote_model: str, *, lenient: bool) -> bytes:
    """What all lines for one model have in common. `lenient`: something may be left out of them."""
    return _encode([provider, remote_model, lenient])


class Twin(NamedTuple):
    """A line that asks what an earlier one of its batch asks."""

    line: int
    first: int


class Digests:
    """The digests of a batch's lines; 16 bytes for each."""

    def __init__(self) -> None:
        self._partitions = [bytearray() for _ in range(PARTITIONS)]

    def add(self, digest: bytes, line: int) -> None:
        """Take in a line; they come in ascending order."""
        self._partitions[digest[0]] += digest + line.to_bytes(4, "little")

    def partitions(self) -> Iterator[tuple[dict[bytes, int], list[Twin]]]:
        """For each first byte the first line with a digest, and its twins.

        To be asked once, as it lets the digests go.
        """
        self._partitions.reverse()
        while self._partitions:
            first: dict[bytes, int] = {}
            twins: list[Twin] = []
            for digest, line in EQUAL.iter_unpack(self._partitions.pop()):
                known = first.setdefault(digest, line)
                if known != line:
                    twins.append(Twin(line, known))
            yield first, twins


class DigestWriter:
    """Writes records of digests, one partition after the other."""

    def __init__(self, store: BlobStore, prefix: str, *, point: Failpoint) -> None:
        self._store, self._prefix, self._point = store, prefix, point
        self._counts = [0] * PARTITIONS
        self._records = SegmentWriter(
            store,
            f"{prefix}/records",
            point=point,
            segment_bytes=INDEX_SEGMENT_BYTES,
            overwrite=True,
        )

    async def write(self, records: Sequence[tuple[bytes, int]]) -> None:
        """Add records whose first bytes do not fall. Raises as SegmentWriter.write."""
        for digest, _ in records:
            self._counts[digest[0]] += 1
        await self._records.write(b"".join([EQUAL.pack(*record) for record in records]))

    async def close(self) -> None:
        """Commit; only what has a table is ever read."""
        await self._records.close()
        await self._store.put(
            f"{self._prefix}/table", REUSE_TABLE.pack(*self._counts), point=self._point
        )


class DigestReader:
    """Reads what a DigestWriter has closed."""

    def __init__(self, records: StoredFile, counts: Sequence[int]) -> None:
        self._records = records
        self._starts = [0]
        for count in counts:
            self._starts.append(self._starts[-1] + count)

    @classmethod
    async def open(cls, store: BlobStore, prefix: str) -> DigestReader:
        """Raises BlobMissing."""
        table = await store.get(f"{prefix}/table")
        return cls(await StoredFile.open(store, f"{prefix}/records"), REUSE_TABLE.unpack(table))

    async def partition(self, first_byte: int) -> bytes:
        """The records whose digests begin with a byte."""
        start, end = self._starts[first_byte], self._starts[first_byte + 1]
        if start == end:
            return b""
        return await self._records.read(start * EQUAL.size, (end - start) * EQUAL.size)

    async def all(self) -> AsyncGenerator[bytes, None]:
        """All records, a part at a time."""
        async for records in stream_records(self._records, EQUAL.size):
            yield records


class Pairs:
    """Pairs of line numbers, in 8 bytes each, that come back sorted by the first of them."""

    _BLOCK_BITS = 16

    def __init__(self) -> None:
        # In blocks, as sorting all at once would make an object of each.
        self._blocks: dict[int, array[int]] = {}

    def __bool__(self) -> bool:
        return bool(self._blocks)

    def add(self, key: int, line: int) -> None:
        """Add one pair."""
        block = self._blocks.get(key >> self._BLOCK_BITS)
        if block is None:
            block = self._blocks[key >> self._BLOCK_BITS] = array("Q")
        block.append(key << 32 | line)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for number in sorted(self._blocks):
            for both in sorted(self._blocks[number]):
                yield both >> 32, both & 0xFFFF_FFFF
