"""The bytes of an HTTP body, unpacked a bounded piece at a time.

httpx2 unpacks whatever one read of the socket gave at once: 64 KiB of gzip are up to 64
MiB of text, and each further coding that an answer names multiplies that by a thousand.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, AsyncIterable

ACCEPTED = "gzip"
"""What requests say in accept-encoding: results are text, and pack well."""

_PIECE_BYTES = 256 * 1024
# zlib's "wbits" for data with gzip's header and check.
_GZIP = 16 + zlib.MAX_WBITS


class BadEncoding(Exception):
    """The body is not packed as it says, or in a way that was not asked for."""


async def unpacked(chunks: AsyncIterable[bytes], coding: str) -> AsyncGenerator[bytes, None]:
    """Yield the body, in pieces of at most 256 KiB where it came packed.

    `coding`: the content-encoding. Raises BadEncoding.
    """
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        async for chunk in chunks:
            yield chunk
        return
    if coding not in ("gzip", "x-gzip"):
        raise BadEncoding(f"the answer's content-encoding is {coding[:50]!r}, not gzip or none")
    unpacker = zlib.decompressobj(_GZIP)
    async for chunk in chunks:
        rest = chunk
        while rest:
            if unpacker.eof:
                # One packed body may follow another.
                unpacker = zlib.decompressobj(_GZIP)
            try:
                piece = unpacker.decompress(rest, _PIECE_BYTES)
            except zlib.error as error:
                raise BadEncoding(f"the answer is not gzip as it says: {error}") from None
            if piece:
                yield piece
            rest = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
    while not unpacker.eof:
        piece = unpacker.decompress(b"", _PIECE_BYTES)
        if not piece:
            raise BadEncoding("the answer ended in the middle of its gzip")
        yield piece
