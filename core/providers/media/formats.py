"""What data is by its first bytes, whatever it is said to be.

Few types matter here, those that a provider takes and those that people send by mistake, and
each is told by a fixed signature (the formats' own specifications; WHATWG MIME Sniffing,
sections 6.1 to 6.3). The libraries that tell hundreds of types want the decoded data.
"""

from __future__ import annotations

PDF = "application/pdf"
WAV = "audio/wav"
MP3 = "audio/mp3"

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"fLaC", "audio/flac"),
    (b"OggS", "audio/ogg"),
    (b"ID3", MP3),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1a\x45\xdf\xa3", "video/webm"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": WAV, b"AVI ": "video/avi"}
_BRANDS = {
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"hevc": "image/heic",
    b"mif1": "image/heif",
    b"msf1": "image/heif",
    b"avif": "image/avif",
    b"M4A ": "audio/mp4",
    b"qt  ": "video/quicktime",
}
_SAME = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "audio/x-wav": WAV,
    "audio/wave": WAV,
    "audio/mpeg": MP3,
    "application/x-pdf": PDF,
}

HEAD = 1024
"""Bytes that are enough to tell."""


def sniff(head: bytes) -> str:
    """The media type of data that begins so; empty where it is none of those known here."""
    for signature, found in _SIGNATURES:
        if head.startswith(signature):
            return found
    if head.startswith(b"RIFF"):
        return _RIFF.get(head[8:12], "")
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "video/mp4")
    if b"%PDF-" in head[:HEAD]:
        # Readers take it anywhere in there (ISO 32000-1, annex H, note 13).
        return PDF
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2:
        return MP3
    return ""


def canonical(media_type: str) -> str:
    """One name for each type, in lower case, without parameters."""
    bare = media_type.partition(";")[0].strip().lower()
    return _SAME.get(bare, bare)
