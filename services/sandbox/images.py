"""Images and documents in requests, as far as the providers are documented to look at them.

A PNG's size counts; other formats are known by their first bytes alone.
"""

from __future__ import annotations

import base64
import binascii

LARGEST_SIDE = 8000
_FORMATS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
)
_PATCH = 32
_TOKENS = 765


class BadImage(ValueError):
    """The data is no image that can be used; the message is the provider's own."""


def decode(data: str) -> bytes:
    """The bytes that base64 stands for. Raises BadImage."""
    try:
        return base64.b64decode(data.encode(), validate=True)
    except (binascii.Error, ValueError):
        raise BadImage("Invalid base64 data") from None


def format_of(image: bytes) -> str:
    """The media type by the first bytes; empty where it is none of those taken."""
    if image[:4] == b"RIFF" and image[8:12] == b"WEBP":
        return "image/webp"
    if image[4:12] in (b"ftypheic", b"ftypmif1"):
        return "image/heic"
    return next((kind for start, kind in _FORMATS if image.startswith(start)), "")


def is_pdf(data: bytes) -> bool:
    """Whether it begins as a PDF."""
    return b"%PDF-" in data[:1024]


def size_of(image: bytes) -> tuple[int, int] | None:
    """Width and height of a PNG."""
    if format_of(image) != "image/png" or len(image) < 24:
        return None
    return int.from_bytes(image[16:20], "big"), int.from_bytes(image[20:24], "big")


def tokens_of(image: bytes | None) -> int:
    """A plausible number of tokens; `image`: None for one that is only named."""
    size = size_of(image) if image else None
    if size is None:
        return _TOKENS
    return -(-size[0] // _PATCH) * -(-size[1] // _PATCH)
