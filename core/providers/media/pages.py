"""How many pages a PDF has, without reading it as one.

The page tree's root says it (ISO 32000-1, 7.7.3.2 /Count), and so does the first object of a
linearised file (annex F.2.2 /N). From PDF 1.5 on both may lie in compressed object streams
(7.5.7), which are inflated up to a limit. A PDF library would tell some files more, at a
hundred times the time, for each line of an upload.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from core.providers.media.encoded import Encoded

_HEAD = 2048
_LINEARISED = re.compile(rb"/Linearized\b[^>]*?/N\s+(\d{1,9})\b")
_ENCRYPTED = re.compile(rb"/Encrypt\s*(?:\d+\s+\d+\s+R|<<)")
_TREE = re.compile(rb"/Type\s*/Pages\b")
_COUNT = re.compile(rb"/Count\s+(\d{1,9})\b")
_PAGE = re.compile(rb"/Type\s*/Page\b")
_OBJECTS = re.compile(rb"/Type\s*/ObjStm\b[^>]*>>\s*stream\r?\n")
_MOST_STREAMS = 500
_MOST_INFLATED = 4 * 1024 * 1024
_MOST_IN_ALL = 8 * 1024 * 1024
# No document has more: a larger number is something else.
_MOST_PAGES = 100_000


class Document(NamedTuple):
    """What is to be known of a PDF."""

    pages: int | None
    """None: it cannot be told."""
    encrypted: bool


def read_document(data: Encoded) -> Document:
    """Look into a PDF; all of it is decoded for the time."""
    contents = data.all()
    encrypted = _ENCRYPTED.search(contents) is not None
    found = _LINEARISED.search(contents, 0, _HEAD)
    pages = int(found[1]) if found else _tree(contents)
    if not pages:
        pages = _compressed(contents)
    return Document(pages if 0 < pages <= _MOST_PAGES else None, encrypted)


def _tree(contents: bytes) -> int:
    """The largest count of all nodes of page trees; 0 where there is none."""
    most = start = 0
    while start < len(contents):
        # Object after object, so that each byte is looked at once.
        end = contents.find(b"endobj", start)
        end = len(contents) if end < 0 else end
        if _TREE.search(contents, start, end):
            count = _COUNT.search(contents, start, end)
            most = max(most, int(count[1]) if count else 0)
        start = end + len(b"endobj")
    return most


def _compressed(contents: bytes) -> int:
    """The pages of a file whose page tree is compressed, or that has none."""
    return sum(len(_PAGE.findall(part)) for part in (contents, *_object_streams(contents)))


def _object_streams(contents: bytes) -> Iterator[bytes]:
    left = _MOST_IN_ALL
    for number, stream in enumerate(_OBJECTS.finditer(contents)):
        if number == _MOST_STREAMS or left <= 0:
            return
        end = contents.find(b"endstream", stream.end())
        try:
            inflated = zlib.decompressobj().decompress(
                contents[stream.end() : end], min(_MOST_INFLATED, left)
            )
        except zlib.error:
            continue
        left -= len(inflated)
        yield inflated
