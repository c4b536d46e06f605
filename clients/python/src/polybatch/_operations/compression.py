"""Reading what is compressed: told by its first bytes, whatever its name, in constant memory.

gzip, bzip2, xz and zstd, of any number of members or frames. Source: the magic numbers of RFC
1952, RFC 8878 and of the bzip2 and xz formats.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol, cast

from polybatch.errors import ConfigurationError, InvalidRequest

MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}
MAGIC_BYTES = max(map(len, MAGIC))
"""So many first bytes tell."""

XZ_MEMORY = 256 * 1024 * 1024
"""Bytes; xz -9 needs 65 MiB. zstd takes 128 MiB at most by itself, the others under 8 MiB."""

_ZSTD_FROM_PYTHON_3_14 = "compression"


class _Member(Protocol):
    """What the standard library's decompressors have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def compression_of(head: bytes) -> str | None:
    """Returns how a content that begins so is compressed, None where it is not."""
    return next((name for magic, name in MAGIC.items() if head.startswith(magic)), None)


class Unpacker:
    """Takes compressed bytes in any pieces and gives what they hold, so much at a time.

    Raises ConfigurationError where zstd is not installed, and InvalidRequest for bytes that
    are not what they seem.
    """

    def __init__(self, name: str) -> None:
        """`name`: as compression_of gave it."""
        self._name = name
        self._make, self._broken = _reader_of(name)
        self._member: _Member | None = None
        self._input = b""
        self._pieces: list[bytes] = []
        self._size = 0
        self._closed = False

    def push(self, data: bytes) -> None:
        """Takes the next compressed bytes; the ones before have to be pulled."""
        self._input += data

    def close(self) -> None:
        """Says that no more comes. InvalidRequest where something is missing."""
        self._closed = True
        if self._member is not None:
            raise self._unreadable("it ends too early")

    def pull(self, size: int) -> bytes:
        """Returns so many bytes, fewer only at the end; empty where more has to be pushed."""
        while self._size < size:
            try:
                piece = self._next(size - self._size)
            except self._broken as error:
                raise self._unreadable(str(error)) from None
            if piece is None:
                break
            self._pieces.append(piece)
            self._size += len(piece)
        if self._size < size and not self._closed:
            return b""
        pulled = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        return pulled

    def _next(self, limit: int) -> bytes | None:
        if self._member is None:
            # Between members and at the end there may be NULs, as tapes had them.
            data = self._input.lstrip(b"\0")
            if not data:
                self._input = b""
                return None
            self._member = self._make()
        elif self._member.needs_input and not self._input:
            return None
        data, self._input = self._input, b""
        piece = self._member.decompress(data, limit)
        if self._member.eof:
            self._input, self._member = self._member.unused_data, None
        return piece

    def _unreadable(self, why: str) -> InvalidRequest:
        return InvalidRequest(
            f"the input is compressed with {self._name}, and cannot be read: {why}",
            reason="INPUT_UNREADABLE",
            next_step="make it anew; the tool that compresses it can test it.",
        )


class _Gzip:
    """zlib's decompressor in the shape of the others."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


def _reader_of(name: str) -> tuple[Callable[[], _Member], tuple[type[Exception], ...]]:
    """What makes a decompressor, and what that raises."""
    if name == "gzip":
        return _Gzip, (zlib.error,)
    if name == "bzip2":
        return bz2.BZ2Decompressor, (OSError, ValueError)
    if name == "xz":
        return lambda: lzma.LZMADecompressor(memlimit=XZ_MEMORY), (lzma.LZMAError,)
    zstd = zstd_module()
    return cast("Callable[[], _Member]", zstd.ZstdDecompressor), (zstd.ZstdError,)


def zstd_module() -> Any:
    """Python's zstd, from 3.14 on its own. ConfigurationError where there is none."""
    for package in (_ZSTD_FROM_PYTHON_3_14, "backports"):
        if find_spec(package) and find_spec(f"{package}.zstd"):
            return import_module(f"{package}.zstd")
    raise ConfigurationError(
        "the input is compressed with zstd, which this Python cannot read",
        reason="ZSTD_MISSING",
        next_step="pip install 'polybatch[zstd]', or decompress it first (zstd -d).",
    )
