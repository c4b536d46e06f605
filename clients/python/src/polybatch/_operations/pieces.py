"""Pieces of any size and kind, made into the chunks of an upload."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from typing import Any, BinaryIO, TextIO

CHUNK_BYTES = 1024 * 1024 - 64
"""The service takes chunks up to 1 MiB; with its frame a message stays under that too."""

Piece = bytes | bytearray | memoryview | str | Mapping[str, Any]
"""One line: its text, or a request as a dict. Or bytes: see Joined."""

Blocking = Callable[[Callable[[], bytes]], Awaitable[bytes]]


class Regrouped:
    """Pieces of any size, such as lines, made into chunks of CHUNK_BYTES."""

    def __init__(self, gather: Callable[[int], Awaitable[list[bytes]]]) -> None:
        self._gather = gather
        self._rest = memoryview(b"")

    async def read(self) -> bytes:
        """Returns the next chunk; empty at the end."""
        missing = CHUNK_BYTES - len(self._rest)
        if missing > 0:
            pieces = await self._gather(missing)
            self._rest = memoryview(b"".join((self._rest, *pieces)))
        chunk = bytes(self._rest[:CHUNK_BYTES])
        self._rest = self._rest[CHUNK_BYTES:]
        return chunk


def as_bytes(piece: Piece) -> bytes:
    """A piece as it is sent. TypeError, ValueError or RecursionError for what is no JSON."""
    if isinstance(piece, bytes):
        return piece
    if isinstance(piece, bytearray | memoryview):
        return bytes(piece)
    if isinstance(piece, str):
        return (piece if piece.endswith("\n") else f"{piece}\n").encode()
    if isinstance(piece, Mapping):
        # JSON has no NaN; the service would only refuse it later, by the line.
        return f"{json.dumps(dict(piece), allow_nan=False)}\n".encode()
    raise TypeError(
        f"cannot upload a piece of type {type(piece).__name__}: "
        "give requests (dicts), lines (str) or bytes"
    )


class Joined:
    """Puts pieces behind each other, as they come: texts and dicts each on a line of its own.

    Bytes are pieces of any size of one text, unless they are lines without their ends: where
    the first is a whole JSON object, and the second begins another.
    """

    def __init__(self) -> None:
        self._first: bytes | None = None
        self._lines: bool | None = None
        self._within_line = False

    def take(self, piece: Piece) -> bytes:
        """Returns the next bytes. Raises as `as_bytes`."""
        data = as_bytes(piece)
        if not data:
            return data
        own_line = isinstance(piece, str | Mapping)
        if self._first is None:
            self._first = b"" if own_line else data
        elif self._lines is None:
            # As one text these two could not be JSON lines.
            self._lines = data.startswith(b"{") and _is_object(self._first)
            self._first = b""
        if self._within_line and (own_line or self._lines):
            data = b"\n" + data
        self._within_line = not data.endswith(b"\n")
        return data


def _is_object(line: bytes) -> bool:
    if not (line.startswith(b"{") and line.endswith(b"}")):
        return False
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def gatherer(content: Iterable[Piece]) -> Callable[[int], Awaitable[list[bytes]]]:
    """Returns what gathers the next pieces: as many bytes as are wanted, or a little more."""
    pieces = iter(content)
    joined = Joined()

    async def gather(wanted: int) -> list[bytes]:
        gathered: list[bytes] = []
        for piece in pieces:
            gathered.append(joined.take(piece))
            wanted -= len(gathered[-1])
            if wanted <= 0:
                break
        return gathered

    return gather


def async_gatherer(
    content: AsyncIterable[Piece],
) -> Callable[[int], Awaitable[list[bytes]]]:
    """The same for pieces that are waited for."""
    pieces = aiter(content)
    joined = Joined()

    async def gather(wanted: int) -> list[bytes]:
        gathered: list[bytes] = []
        async for piece in pieces:
            gathered.append(joined.take(piece))
            wanted -= len(gathered[-1])
            if wanted <= 0:
                break
        return gathered

    return gather


def file_reader(
    file: BinaryIO | io.RawIOBase, blocking: Blocking
) -> Callable[[], Awaitable[bytes]]:
    """Returns what reads the next chunk of a file; empty at the end."""

    async def read() -> bytes:
        return await blocking(lambda: file.read(CHUNK_BYTES) or b"")

    return read


def text_reader(file: TextIO | io.TextIOBase, blocking: Blocking) -> Callable[[], Awaitable[bytes]]:
    """The same for a text file, in UTF-8."""

    # A character has at most four bytes in it.
    async def read() -> bytes:
        return await blocking(lambda: file.read(CHUNK_BYTES // 4).encode())

    return read
