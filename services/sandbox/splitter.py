"""Takes the requests out of `{"requests": [{...}, {...}]}` while its bytes come in.

The body may be 256 MB long, so it is never held: only one chunk and one element are.
Where an element ends is guessed from how the next one begins, and the guess is right if
the piece is one whole JSON object: that is the fast way. Where the guess fails, brackets
and strings are counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum, auto
from typing import Generic, TypeVar

from services.sandbox.plan import UNREADABLE

T = TypeVar("T")

_HEAD = re.compile(rb'\s*+\{\s*+"requests"\s*+:\s*+\[')
_MAX_HEAD_BYTES = 1024
_EXPECTED = 'The request body must be {"requests": [...]}, with no other member'
_SPACE = re.compile(rb"[ \t\r\n]*+")
_TAIL = re.compile(rb"[ \t\r\n]*+\}[ \t\r\n]*+")
_SEAM = re.compile(rb'\}[ \t\r\n]*+,[ \t\r\n]*+(?=\{[ \t\r\n]*+"(?:custom_id|params)")')
_STRUCTURE = re.compile(rb'["{}\[\]]')
_REST_OF_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
"""Up to the closing quotation mark, or the end of what is there (before a lone backslash)."""


class BadBody(Exception):
    """The body is not the JSON that it should be."""


class ElementTooLong(Exception):
    """An element is longer than the limit."""


class _At(Enum):
    HEAD = auto()
    FIRST = auto()
    """Before the first element, or the end of an empty array."""
    BETWEEN = auto()
    """After a comma: only another element may come."""
    ELEMENT = auto()
    AFTER = auto()
    """After an element: a comma or the end of the array."""
    TAIL = auto()


class Splitter(Generic[T]):
    """`decode` reads an element; `max_bytes` is the limit of one element."""

    def __init__(self, decode: Callable[[bytearray], T], max_bytes: int) -> None:
        self._decode = decode
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._at = _At.HEAD
        self._scanned = 0
        """How far the counting of the element at the buffer's start has come."""
        self._depth = 0
        self._in_string = False

    def feed(self, chunk: bytes) -> list[tuple[bytearray, T | None]]:
        """The elements that end in this chunk: their bytes, and what `decode` made of them.

        That is None for an element that `decode` refuses, for its form or for its content.
        Raises BadBody, ElementTooLong.
        """
        buffer = self._buffer
        buffer += chunk
        found: list[tuple[bytearray, T | None]] = []
        position = 0
        seams = True
        while True:
            if self._at is _At.ELEMENT:
                if seams and not self._scanned:
                    seam = _SEAM.search(buffer, position)
                    seams = seam is not None
                    if seam is not None:
                        element = buffer[position : seam.start() + 1]
                        try:
                            found.append((element, self._decode(element)))
                        except UNREADABLE:
                            pass
                        else:
                            position = seam.end()
                            continue
                end = self._count_to_end(position)
                if not end:
                    if len(buffer) - position > self._max_bytes:
                        raise ElementTooLong
                    break
                element = buffer[position:end]
                found.append((element, self._decoded(element)))
                self._at = _At.AFTER
                position = end
                continue
            step = self._step(position)
            if step is None:
                break
            position = step
        del buffer[:position]
        return found

    def finish(self) -> None:
        """The body has ended. Raises BadBody if it should not have."""
        if self._at is _At.HEAD:
            raise BadBody(_EXPECTED)
        if self._at is not _At.TAIL or not _TAIL.fullmatch(self._buffer):
            raise BadBody("The request body is not valid JSON: unexpected end of data")

    def _step(self, position: int) -> int | None:
        """Read what stands between elements. None: more bytes are needed."""
        buffer = self._buffer
        if self._at is _At.HEAD:
            head = _HEAD.match(buffer, position)
            if head is None:
                if len(buffer) < _MAX_HEAD_BYTES:
                    return None
                raise BadBody(_EXPECTED)
            self._at = _At.FIRST
            return head.end()
        if self._at is _At.TAIL:
            return None
        space = _SPACE.match(buffer, position)
        position = space.end() if space else position
        if position == len(buffer):
            return None
        sign = buffer[position]
        if sign == ord("]") and self._at in (_At.FIRST, _At.AFTER):
            self._at = _At.TAIL
            return position + 1
        if self._at is _At.AFTER:
            if sign != ord(","):
                raise BadBody("The request body is not valid JSON: expected ',' or ']'")
            self._at = _At.BETWEEN
            return position + 1
        if sign != ord("{"):
            raise BadBody("requests: each element must be an object")
        self._at = _At.ELEMENT
        return position

    def _count_to_end(self, start: int) -> int:
        """Where the element at `start` ends; 0 if that is still to come."""
        buffer = self._buffer
        position = start + self._scanned
        while True:
            if self._in_string:
                rest = _REST_OF_STRING.match(buffer, position)
                position = rest.end() if rest else position
                if buffer[position : position + 1] != b'"':
                    break
                position += 1
                self._in_string = False
                continue
            sign = _STRUCTURE.search(buffer, position)
            if sign is None:
                position = len(buffer)
                break
            position = sign.end()
            match sign.group():
                case b'"':
                    self._in_string = True
                case b"{" | b"[":
                    self._depth += 1
                case _:
                    self._depth -= 1
                    if not self._depth:
                        self._scanned = 0
                        return position
        self._scanned = position - start
        return 0

    def _decoded(self, element: bytearray) -> T | None:
        try:
            return self._decode(element)
        except UNREADABLE:
            return None
