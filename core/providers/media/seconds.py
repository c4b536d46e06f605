"""How long a recording is, from its header.

Sources: WAVE (Microsoft and IBM, Multimedia Programming Interface 1.0), MPEG audio (ISO/IEC
11172-3, 2.4.1.3; the Xing and Info headers of encoders), FLAC (RFC 9639, 8.2).
"""

from __future__ import annotations

import struct

from core.providers.media.encoded import Encoded
from core.providers.media.formats import MP3, WAV

_MOST_CHUNKS = 1000
# Where a header does not say it: speech in the usual compression.
_BYTES_A_SECOND = 16_000

# Kilobits a second by the header's index.
_LAYER_3 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_LAYER_3_LOW = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_VERSION_1 = 3
_MONO = 3


def seconds_of(data: Encoded, media_type: str) -> float:
    """Seconds of a recording; of other formats than WAV, MP3 and FLAC, guessed from its size."""
    try:
        if media_type == WAV:
            found = _wav(data)
        elif media_type == MP3:
            found = _mp3(data)
        elif media_type == "audio/flac":
            found = _flac(data)
        else:
            found = 0.0
    except (struct.error, ValueError, IndexError, ZeroDivisionError):
        found = 0.0
    return found or data.size / _BYTES_A_SECOND


def _wav(data: Encoded) -> float:
    at, rate = 12, 0
    for _ in range(_MOST_CHUNKS):
        name, size = struct.unpack("<4sI", data.read(at, 8))
        if name == b"fmt ":
            (rate,) = struct.unpack("<I", data.read(at + 16, 4))
        elif name == b"data":
            # Of a stream that was cut off, or whose length nobody knew, what there is.
            return min(size or data.size, data.size - at - 8) / rate
        at += 8 + size + size % 2
    return 0.0


def _mp3(data: Encoded) -> float:
    head = data.read(0, 10)
    at = 0
    if head.startswith(b"ID3"):
        at = 10
        for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True):
            at += (byte & 0x7F) << shift
    frame = data.read(at, 64)
    if frame[0] != 0xFF or frame[1] & 0xE6 != 0xE2:
        return 0.0
    version, mono = frame[1] >> 3 & 3, frame[3] >> 6 == _MONO
    kilobits = (_LAYER_3 if version == _VERSION_1 else _LAYER_3_LOW)[frame[2] >> 4]
    rate = _RATES.get(version, ())[frame[2] >> 2 & 3]
    if version == _VERSION_1:
        samples, side = 1152, 17 if mono else 32
    else:
        samples, side = 576, 9 if mono else 17
    tag = frame[4 + side : 16 + side]
    if tag[:4] in (b"Xing", b"Info") and tag[7] & 1:
        return int.from_bytes(tag[8:12], "big") * samples / rate
    return (data.size - at) * 8 / (kilobits * 1000)


def _flac(data: Encoded) -> float:
    bits = int.from_bytes(data.read(18, 8), "big")
    return float(bits & 0xF_FFFF_FFFF) / (bits >> 44)
