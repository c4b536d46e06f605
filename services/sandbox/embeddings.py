"""Vectors for texts: unit length, the same for the same text, quick to write as JSON.

Writing a float takes longer than anything else here, so vectors are put together from
pieces of one written vector. A vector has eight segments; each is the same segment of a
fixed unit vector, turned round by an amount that the text decides. Turning keeps the
length, and the amounts tell texts apart: 192 ** 8 vectors of 1,536 numbers. Short vectors,
where that would not tell texts apart, are written number by number.
"""

from __future__ import annotations

import itertools
import math
from array import array
from base64 import b64encode
from functools import lru_cache
from hashlib import blake2b, shake_128
from random import Random
from typing import NamedTuple

_SEGMENTS = 8
_SHORT = 256


class _Segment(NamedTuple):
    """One segment of a vector, written twice over so that each turn of it is one slice."""

    text: bytes
    starts: list[int]
    """Where each number begins in the first half of `text`."""
    length: int
    """Of the segment in `text`, without a trailing comma."""
    packed: bytes
    """The same as 32-bit floats."""


@lru_cache(maxsize=16)
def _segments(dimensions: int) -> list[_Segment]:
    random = Random(dimensions)
    vector = _unit([random.gauss(0.0, 1.0) for _ in range(dimensions)])
    bounds = [dimensions * i // _SEGMENTS for i in range(_SEGMENTS + 1)]
    segments = []
    for start, end in itertools.pairwise(bounds):
        numbers = vector[start:end]
        texts = [repr(x).encode() for x in numbers]
        starts = list(itertools.accumulate((len(t) + 1 for t in texts[:-1]), initial=0))
        segments.append(
            _Segment(
                text=b",".join(texts * 2),
                starts=starts,
                length=starts[-1] + len(texts[-1]),
                packed=array("f", numbers * 2).tobytes(),
            )
        )
    return segments


def vector(text: bytes, model: str, dimensions: int, base64: bool) -> bytes:
    """The JSON of the embedding of a text: an array of numbers, or a string if `base64`."""
    digest = blake2b(text, digest_size=4 * _SEGMENTS, key=model.encode()[:64]).digest()
    if dimensions < _SHORT:
        numbers = _unit([x + 0.5 for x in array("h", shake_128(digest).digest(2 * dimensions))])
        if base64:
            return b'"%b"' % b64encode(array("f", numbers))
        return b"[%b]" % b",".join([repr(x).encode() for x in numbers])
    pieces = []
    for word, segment in zip(memoryview(digest).cast("I"), _segments(dimensions), strict=True):
        turn = word % len(segment.starts)
        if base64:
            pieces.append(segment.packed[4 * turn :][: len(segment.packed) // 2])
        else:
            start = segment.starts[turn]
            pieces.append(segment.text[start : start + segment.length])
    if base64:
        return b'"%b"' % b64encode(b"".join(pieces))
    return b"[%b]" % b",".join(pieces)


def _unit(numbers: list[float]) -> list[float]:
    length = math.sqrt(sum(x * x for x in numbers))
    return [round(x / length, 9) for x in numbers]
