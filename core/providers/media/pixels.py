"""The size of an image, from its header.

Sources: PNG (W3C, 11.2.2 IHDR), GIF89a (18, logical screen descriptor), JPEG (ITU T.81, B.2.2
frame header), WebP (RFC 9649, 2.5 to 2.7), HEIF (ISO/IEC 23008-12, 6.5.3 ispe), BMP
(BITMAPINFOHEADER).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

from core.providers.media.encoded import Encoded

# Start of frame of any coding; C4, C8 and CC are other segments.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_MOST_SEGMENTS = 2000
_HEIF_HEADER = 16 * 1024


class Size(NamedTuple):
    """In pixels."""

    width: int
    height: int


def size_of(data: Encoded, media_type: str) -> Size | None:
    """The size of an image of a known type; None where its header does not say it.

    Of a turned photograph the sides as they are stored.
    """
    read = _READERS.get(media_type)
    if read is None:
        return None
    try:
        size = read(data)
    except (struct.error, IndexError):
        return None
    return size if size is not None and size.width > 0 and size.height > 0 else None


def _png(data: Encoded) -> Size:
    return Size(*struct.unpack(">II", data.read(16, 8)))


def _gif(data: Encoded) -> Size:
    return Size(*struct.unpack("<HH", data.read(6, 4)))


def _bmp(data: Encoded) -> Size:
    width, height = struct.unpack("<ii", data.read(18, 8))
    return Size(width, abs(height))


def _webp(data: Encoded) -> Size | None:
    head = data.read(12, 18)
    if head.startswith(b"VP8X"):
        width, height = head[12:15], head[15:18]
        return Size(int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1)
    if head.startswith(b"VP8L"):
        bits = int.from_bytes(head[9:13], "little")
        return Size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if head.startswith(b"VP8 "):
        width, height = struct.unpack("<HH", head[14:18])
        return Size(width & 0x3FFF, height & 0x3FFF)
    return None


def _jpeg(data: Encoded) -> Size | None:
    at = 2
    for _ in range(_MOST_SEGMENTS):
        # Profiles and previews before the frame may be large: they are stepped over.
        head = data.read(at, 9)
        if head[0] != 0xFF:
            return None
        marker = head[1]
        if marker in _FRAMES:
            height, width = struct.unpack(">HH", head[5:9])
            return Size(width, height)
        if marker == 0xFF:
            at += 1
        elif marker in _WITHOUT_LENGTH:
            at += 2
        else:
            at += 2 + int.from_bytes(head[2:4], "big")
    return None


def _heif(data: Encoded) -> Size | None:
    head = data.read(0, _HEIF_HEADER)
    sizes = []
    at = head.find(b"ispe")
    while at >= 0 and at + 16 <= len(head):
        sizes.append(Size(*struct.unpack(">II", head[at + 8 : at + 16])))
        at = head.find(b"ispe", at + 4)
    # Tiles and previews have sizes of their own: the image is the largest.
    return max(sizes, key=lambda each: each.width * each.height, default=None)


_READERS: Mapping[str, Callable[[Encoded], Size | None]] = {
    "image/png": _png,
    "image/gif": _gif,
    "image/bmp": _bmp,
    "image/webp": _webp,
    "image/jpeg": _jpeg,
    "image/heic": _heif,
    "image/heif": _heif,
    "image/avif": _heif,
}
