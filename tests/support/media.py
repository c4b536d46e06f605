"""The smallest images, recordings and documents that say what they are."""

from __future__ import annotations

import base64
import struct
import zlib


def png(width: int, height: int, filling: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"") + filling), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\x00\x00\x00;"


def jpeg(width: int, height: int, *, profile: int = 0) -> bytes:
    """`profile`: bytes of metadata before the frame."""
    metadata = b"".join(
        b"\xff\xe2" + struct.pack(">H", 2 + size) + bytes(size)
        for size in (min(profile - at, 65_000) for at in range(0, profile, 65_000))
    )
    frame = b"\xff\xc2" + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\x01\x11\x00"
    return b"\xff\xd8" + metadata + frame + b"\xff\xd9"


def webp(width: int, height: int, kind: bytes = b"VP8X") -> bytes:
    if kind == b"VP8X":
        sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        contents = kind + struct.pack("<II", 10, 0) + sides
    elif kind == b"VP8L":
        bits = (width - 1) | (height - 1) << 14
        contents = kind + struct.pack("<IB", 5, 0x2F) + bits.to_bytes(4, "little")
    else:
        start = struct.pack("<I", 10) + b"\x00\x00\x00\x9d\x01\x2a"
        contents = kind + start + struct.pack("<HH", width, height)
    return b"RIFF" + struct.pack("<I", 4 + len(contents)) + b"WEBP" + contents


def heic(width: int, height: int) -> bytes:
    """With a smaller preview before the image itself."""
    sizes = b"".join(
        struct.pack(">I4sIII", 20, b"ispe", 0, *each) for each in ((160, 120), (width, height))
    )
    return struct.pack(">I4s4sI", 16, b"ftyp", b"heic", 0) + sizes


def wav(seconds: float, rate: int = 8000) -> bytes:
    size = int(seconds * rate)
    header = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, rate, 1, 8)
    contents = header + struct.pack("<4sI", b"data", size) + bytes(size)
    return b"RIFF" + struct.pack("<I", 4 + len(contents)) + b"WAVE" + contents


def mp3(frames: int, *, tagged: bool = False) -> bytes:
    """Of 128 kbit/s and 44.1 kHz. `tagged`: a header says how many frames there are."""
    frame = b"\xff\xfb\x90\x00" + bytes(413)
    if not tagged:
        return b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(10) + frame * frames
    return b"\xff\xfb\x90\x00" + bytes(32) + b"Xing" + struct.pack(">II", 1, frames) + bytes(100)


def pdf(pages: int, *, form: str = "tree", filling: bytes = b"") -> bytes:
    """`form`: "tree", "linearised", "compressed" (in an object stream) or "encrypted"."""
    tree = b"2 0 obj\n<< /Type /Pages /Kids [3 0 R] /Count %d >>\nendobj\n" % pages
    # An outline's count is another one.
    other = b"9 0 obj\n<< /Type /Outlines /Count 999 >>\nendobj\n"
    head = b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n"
    if form == "linearised":
        head = b"%%PDF-1.7\n8 0 obj\n<< /Linearized 1 /L 99 /N %d >>\nendobj\n" % pages
        tree = b""
    elif form == "compressed":
        inner = zlib.compress(b"3 0 4 9 " + b"<</Type/Page/Parent 2 0 R>> " * pages)
        tree = b"7 0 obj\n<< /Type /ObjStm /N 2 /Length %d >>\nstream\n" % len(inner)
        tree += inner + b"\nendstream\nendobj\n"
    trailer = b"trailer\n<< /Root 1 0 R %s>>\n%%%%EOF\n"
    return head + tree + other + filling + trailer % (b"/Encrypt 6 0 R " * (form == "encrypted"))


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def data_url(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{encoded(data)}"
