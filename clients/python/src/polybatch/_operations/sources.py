"""Where the bytes of an upload come from, cut into chunks, and read again after a break.

What is compressed is read as what it holds: positions and sizes are those of that.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections import deque
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TextIO, cast

from polybatch._operations.compression import MAGIC_BYTES, Unpacker, compression_of
from polybatch._operations.pieces import (
    CHUNK_BYTES,
    Blocking,
    Piece,
    Regrouped,
    as_bytes,
    async_gatherer,
    file_reader,
    gatherer,
    text_reader,
)
from polybatch.errors import UploadInterrupted

TAIL_CHECK_BYTES = 16 * 1024 * 1024
"""So much of a source that cannot be rewound is kept before asking what is committed."""

TAIL_LIMIT_BYTES = 64 * 1024 * 1024
"""More is not kept: an upload so far ahead of the service can no longer be resumed."""

UploadInput = (
    str
    | os.PathLike[str]
    | bytes
    | bytearray
    | BinaryIO
    | TextIO
    | Mapping[str, Any]
    | Iterable[Piece]
    | AsyncIterable[Piece]
)
"""A path, the content itself, an open file, one request, or an iterable of pieces or requests."""

Progress = Callable[[int, int | None], None]
"""Called with the bytes sent and the bytes in all (None where not known). After a break
the bytes sent go back to what the service had committed. Of an upload they are all of them only
once the service has confirmed it."""


class Source(Protocol):
    """Bytes from position 0 on."""

    total: int | None
    """Size in bytes, None where not known beforehand."""
    unconfirmed: int
    """Bytes kept in memory because they may have to be sent again."""

    async def read(self) -> bytes:
        """Returns the next chunk of at most CHUNK_BYTES; empty at the end."""
        ...

    def rewind(self, offset: int) -> None:
        """Goes to a position. UploadInterrupted where that cannot be done."""
        ...

    def confirm(self, committed: int) -> None:
        """Bytes before `committed` will not be asked for again."""
        ...

    async def digest(self) -> str | None:
        """Returns the SHA-256 of all of it before it is read; None where it is read only once."""
        ...

    def close(self) -> None:
        """Closes what this source has opened itself."""
        ...


def open_source(content: UploadInput, blocking: Blocking) -> tuple[Source, str]:
    """Returns the source and a human-readable file name.

    `blocking` runs file reads. Raises OSError where a path cannot be opened, TypeError
    for what is no source of bytes.
    """
    if isinstance(content, str | os.PathLike):
        path = Path(content)
        # Unbuffered: reads are as large as chunks, a buffer would only copy them.
        opened = path.open("rb", buffering=0)
        if opened.seekable():
            return _seekable(opened, blocking, owned=True), path.name
        reader = _Unpacked(file_reader(opened, blocking), blocking)
        return ReplaySource(reader.read, closes=opened), path.name
    if isinstance(content, bytes | bytearray):
        return _seekable(io.BytesIO(content), blocking, owned=True), ""
    if isinstance(content, Mapping):
        return _seekable(io.BytesIO(as_bytes(content)), blocking, owned=True), ""
    name = getattr(content, "name", "")
    filename = Path(name).name if isinstance(name, str) else ""
    if isinstance(content, io.TextIOBase):
        return ReplaySource(text_reader(content, blocking)), filename
    if hasattr(content, "read"):
        file = cast("BinaryIO", content)
        if file.seekable():
            return _seekable(file, blocking, owned=False), filename
        return ReplaySource(_Unpacked(file_reader(file, blocking), blocking).read), filename
    if isinstance(content, AsyncIterable):
        pieces = Regrouped(async_gatherer(content))
        return ReplaySource(_Unpacked(pieces.read, blocking).read), ""
    if isinstance(content, Iterable):
        pieces = Regrouped(gatherer(content))
        return ReplaySource(_Unpacked(pieces.read, blocking).read), ""
    raise TypeError(
        f"cannot upload {type(content).__name__}: "
        "give a path, bytes, an open file, or an iterable of requests (dicts), lines or bytes"
    )


def _seekable(file: BinaryIO | io.RawIOBase, blocking: Blocking, *, owned: bool) -> Source:
    start = file.tell()
    compression = compression_of(file.read(MAGIC_BYTES) or b"")
    file.seek(start)
    if compression is None:
        return SeekableSource(file, blocking, owned=owned)
    return CompressedSource(file, blocking, owned=owned, compression=compression)


class SeekableSource:
    """A file: read again from any position. Starts where the file object stands."""

    total: int | None
    unconfirmed: int = 0

    def __init__(self, file: BinaryIO | io.RawIOBase, blocking: Blocking, *, owned: bool) -> None:
        self._file = file
        self._blocking = blocking
        self._owned = owned
        self._base = file.tell()
        self.total = file.seek(0, os.SEEK_END) - self._base
        file.seek(self._base)
        self._identity = _identity(file)

    async def read(self) -> bytes:
        """See Source."""
        return await self._blocking(self._read)

    def rewind(self, offset: int) -> None:
        """See Source. A file that was changed meanwhile is not continued."""
        if offset > (self.total or 0):
            raise _changed()
        self._go_to(offset)

    def confirm(self, committed: int) -> None:
        """See Source; a file keeps nothing in memory."""

    async def digest(self) -> str | None:
        """See Source."""
        found = hashlib.sha256()
        while chunk := await self.read():
            found.update(chunk)
        self.rewind(0)
        return found.hexdigest()

    def close(self) -> None:
        """See Source."""
        if self._owned:
            self._file.close()

    def _go_to(self, position: int) -> None:
        if _identity(self._file) != self._identity:
            raise _changed()
        self._file.seek(self._base + position)

    def _read(self) -> bytes:
        return self._file.read(CHUNK_BYTES) or b""


class CompressedSource(SeekableSource):
    """A compressed file: read again from its start on, up to the position."""

    def __init__(
        self, file: BinaryIO | io.RawIOBase, blocking: Blocking, *, owned: bool, compression: str
    ) -> None:
        super().__init__(file, blocking, owned=owned)
        self.total = None
        self._compression = compression
        self._unpacker = Unpacker(compression)
        self._skipping = 0
        self._ended = False

    def rewind(self, offset: int) -> None:
        """See Source. What lies before is unpacked again, when the next chunk is read."""
        self._go_to(0)
        self._unpacker = Unpacker(self._compression)
        self._skipping = offset
        self._ended = False

    def _read(self) -> bytes:
        while self._skipping:
            skipped = len(self._unpacked(min(self._skipping, CHUNK_BYTES)))
            self._skipping -= skipped
            if not skipped:
                raise _changed()
        return self._unpacked(CHUNK_BYTES)

    def _unpacked(self, size: int) -> bytes:
        while not (chunk := self._unpacker.pull(size)) and not self._ended:
            packed = super()._read()
            if packed:
                self._unpacker.push(packed)
            else:
                self._unpacker.close()
                self._ended = True
        return chunk


class ReplaySource:
    """What can be read once only: keeps the chunks that are not yet committed."""

    total: int | None = None

    def __init__(
        self, read: Callable[[], Awaitable[bytes]], closes: io.IOBase | None = None
    ) -> None:
        self._read = read
        self._closes = closes
        self._tail: deque[bytes] = deque()
        self._tail_start = 0
        self._replayed = 0
        self.unconfirmed = 0

    async def read(self) -> bytes:
        """See Source."""
        if self._replayed < len(self._tail):
            chunk = self._tail[self._replayed]
        else:
            chunk = await self._read()
            if not chunk:
                return chunk
            self._tail.append(chunk)
            self.unconfirmed += len(chunk)
        self._replayed += 1
        while self.unconfirmed > TAIL_LIMIT_BYTES:
            self._drop_first()
        return chunk

    def rewind(self, offset: int) -> None:
        """See Source."""
        self._replayed = len(self._tail)
        self.confirm(offset)
        if offset != self._tail_start:
            raise UploadInterrupted(
                f"the upload broke at byte {offset}, which is no longer in memory.",
                reason="SOURCE_NOT_SEEKABLE",
                next_step="write the data to a file and upload that, or start again.",
            )
        self._replayed = 0

    def confirm(self, committed: int) -> None:
        """See Source. What this stream has not sent again yet is kept in any case."""
        while self._replayed and self._tail_start + len(self._tail[0]) <= committed:
            self._drop_first()
        if self._replayed and self._tail_start < committed:
            first = self._tail[0]
            cut = committed - self._tail_start
            self._tail[0] = first[cut:]
            self._tail_start = committed
            self.unconfirmed -= cut

    async def digest(self) -> str | None:
        """See Source."""
        return None

    def close(self) -> None:
        """See Source."""
        if self._closes is not None:
            self._closes.close()

    def _drop_first(self) -> None:
        dropped = len(self._tail.popleft())
        self._tail_start += dropped
        self.unconfirmed -= dropped
        self._replayed -= 1


class _Unpacked:
    """Chunks as they are read, or what they hold where they are compressed."""

    def __init__(self, read: Callable[[], Awaitable[bytes]], blocking: Blocking) -> None:
        self._packed = read
        self._blocking = blocking
        self._unpacker: Unpacker | None = None
        self._begun = self._ended = False

    async def read(self) -> bytes:
        """Returns the next chunk; empty at the end."""
        if not self._begun:
            self._begun = True
            head = await self._packed()
            # A pipe may bring its first bytes one by one.
            while len(head) < MAGIC_BYTES and (more := await self._packed()):
                head += more
            compression = compression_of(head)
            if compression is None:
                return head
            self._unpacker = Unpacker(compression)
            self._unpacker.push(head)
        unpacker = self._unpacker
        if unpacker is None:
            return await self._packed()
        while not (chunk := await self._blocking(lambda: unpacker.pull(CHUNK_BYTES))):
            if self._ended:
                break
            packed = await self._packed()
            if packed:
                unpacker.push(packed)
            else:
                unpacker.close()
                self._ended = True
        return chunk


def _changed() -> UploadInterrupted:
    return UploadInterrupted(
        "the file was changed while it was being uploaded.",
        reason="SOURCE_CHANGED",
        next_step="upload it again.",
    )


def _identity(file: BinaryIO | io.RawIOBase) -> tuple[int, int] | None:
    """What changes with a file's content; None where the system does not tell."""
    try:
        status = os.fstat(file.fileno())
    except (OSError, AttributeError):
        return None
    return status.st_size, status.st_mtime_ns
