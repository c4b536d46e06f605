"""The log of a shard that the dispatcher runs itself: what was begun, what came of it.

    {run prefix}/{number:010d}    segments from 0 on, never changed once written

A segment holds whole records, each a head of 28 bytes, counts and a piece: position u32 in
the shard's line list | length u32 of the piece | event u8 | us_inference u8 | rarer counts u16 |
tokens u32: input, cached input, output, reasoning. `rarer counts` has a bit for each of RARE that
is not 0; those follow the head, u32 each. (Logs of before these were kept have 0 there.)
Of a line's records the last one counts. A segment is written only if there is none of its
number: so of two dispatchers that take a shard for their own the slower one finds out before
it has begun another call.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncGenerator, Sequence
from enum import IntEnum
from typing import NamedTuple

from core.blobs import BlobExists, BlobStore
from core.failpoints import Failpoint
from core.prices.usage import NO_USAGE, Usage

HEAD = struct.Struct("<IIBBHIIII")
COMMON = ("input", "cached_input", "output", "reasoning")
RARE = tuple(kind for kind in Usage.__struct_fields__ if kind not in (*COMMON, "us_inference"))
_COUNT = struct.Struct("<I")
_MOST = 0xFFFFFFFF
_READ_BYTES = 1 << 20
_READ_SEGMENTS = 32


class Event(IntEnum):
    """What a record says of its line."""

    HELD = 0
    """Nothing of a line: the shard has a new holder, whose token is the piece."""
    BEGUN = 1
    """A call is about to be made. Written only where it matters if one gets lost."""
    RETURNED = 2
    """The call that was begun was surely not run."""
    RETRYABLE = 3
    """Failed for a transient reason; the piece is what the line's result ends with."""
    FAILED = 4
    """As RETRYABLE, for good."""
    SUCCEEDED = 5


FINAL = frozenset({Event.FAILED, Event.SUCCEEDED})


class Record(NamedTuple):
    """One record."""

    position: int
    event: Event
    piece: bytes
    usage: Usage


class RunTaken(Exception):
    """Another dispatcher has the shard now."""


class RunLog:
    """The log of one shard, for its one holder.

    Holds two bytes a line: its last event and its attempts so far.
    """

    def __init__(self, blobs: BlobStore, prefix: str, lines: int) -> None:
        self._blobs = blobs
        self._prefix = prefix
        self._number = 0
        self._pending: list[bytes] = []
        self._segment = b""
        self._segment_finals = 0
        self._pending_finals = 0
        self._writing = asyncio.Lock()
        self.events = bytearray(lines)
        """The last Event of each line; 0: nothing is known of it."""
        self.attempts = bytearray(lines)
        """Answers and lost calls of each line, at most 255."""
        self.pending_bytes = 0
        """What the next flush will write."""
        self.kept = 0
        """Lines with a final result that is durable."""

    @classmethod
    async def open(cls, blobs: BlobStore, prefix: str, lines: int) -> RunLog:
        """Read what an earlier holder wrote."""
        log = cls(blobs, prefix, lines)
        async for segments, records in _read(blobs, prefix):
            log._number += segments
            for record in records:
                log._learn(record.position, record.event)
        log.kept = sum(log.events.count(event) for event in FINAL)
        return log

    def final(self, position: int) -> bool:
        """Whether a line needs nothing more."""
        return self.events[position] in FINAL

    def under_way(self) -> list[int]:
        """Positions of lines that were begun, of which nothing was heard since."""
        return [at for at, event in enumerate(self.events) if event == Event.BEGUN]

    def fence(self, token: str) -> None:
        """Say who writes from now on; flush before anything else."""
        self._append(0, Event.HELD, token.encode(), NO_USAGE)

    def add(
        self, position: int, event: Event, piece: bytes = b"", usage: Usage | None = None
    ) -> None:
        """Note an event; a flush makes it durable."""
        self._learn(position, event)
        self._pending_finals += event in FINAL
        self._append(position, event, piece, usage or NO_USAGE)

    async def flush(self) -> None:
        """Make all that was noted so far durable.

        Raises RunTaken, and BlobUnavailable, after which it may be called again.
        """
        async with self._writing:
            await self._store()
            if self._pending:
                self._segment = b"".join(self._pending)
                self._segment_finals, self._pending_finals = self._pending_finals, 0
                self._pending = []
                self.pending_bytes = 0
                await self._store()

    async def _store(self) -> None:
        """Write the segment in hand. Its bytes stay the same until it is written."""
        if not self._segment:
            return
        key = f"{self._prefix}/{self._number:010d}"
        try:
            await self._blobs.put(key, self._segment, point=Failpoint.RUN_LOG, create_only=True)
        except BlobExists:
            # Ours, if an earlier try was written and only its confirmation got lost.
            if await self._blobs.get(key) != self._segment:
                raise RunTaken(key) from None
        self._number += 1
        self.kept += self._segment_finals
        self._segment, self._segment_finals = b"", 0

    def _learn(self, position: int, event: Event) -> None:
        if event is Event.HELD:
            return
        if event is not Event.RETURNED or self.events[position] == Event.BEGUN:
            self.events[position] = event
        if event >= Event.RETRYABLE:
            self.attempts[position] = min(self.attempts[position] + 1, 255)

    def _append(self, position: int, event: Event, piece: bytes, usage: Usage) -> None:
        tokens = (min(getattr(usage, kind), _MOST) for kind in COMMON)
        rare, counts = 0, b""
        for bit, kind in enumerate(RARE):
            if count := getattr(usage, kind):
                rare |= 1 << bit
                counts += _COUNT.pack(min(count, _MOST))
        head = HEAD.pack(position, len(piece), event, usage.us_inference, rare, *tokens) + counts
        self._pending += (head, piece)
        self.pending_bytes += len(head) + len(piece)


async def read_run(blobs: BlobStore, prefix: str) -> AsyncGenerator[Sequence[Record], None]:
    """Yield the records of a log in the order in which they were written, in groups."""
    async for _, records in _read(blobs, prefix):
        yield records


async def _read(
    blobs: BlobStore, prefix: str
) -> AsyncGenerator[tuple[int, Sequence[Record]], None]:
    """Yield (segments read, their records); about a megabyte at a time."""
    keys: list[str] = []
    size = 0
    for number, (key, length) in enumerate(await blobs.list(prefix)):
        if key != f"{prefix}/{number:010d}":
            break
        if keys and (size + length > _READ_BYTES or len(keys) == _READ_SEGMENTS):
            yield len(keys), await _get(blobs, keys)
            keys, size = [], 0
        keys.append(key)
        size += length
    if keys:
        yield len(keys), await _get(blobs, keys)


async def _get(blobs: BlobStore, keys: Sequence[str]) -> Sequence[Record]:
    # Many are a few bytes long: one at a time would wait for the store more than read.
    segments = await asyncio.gather(*(blobs.get(key) for key in keys))
    return [record for segment in segments for record in _records(segment)]


def _records(segment: bytes) -> list[Record]:
    found = []
    at = 0
    while at < len(segment):
        position, length, event, in_us, rare, *tokens = HEAD.unpack_from(segment, at)
        at += HEAD.size
        usage = dict(zip(COMMON, tokens, strict=True), us_inference=in_us)
        for bit, kind in enumerate(RARE):
            if rare & 1 << bit:
                (usage[kind],) = _COUNT.unpack_from(segment, at)
                at += _COUNT.size
        found.append(Record(position, Event(event), segment[at : at + length], Usage(**usage)))
        at += length
    return found
