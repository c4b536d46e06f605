"""Takes the requests out of `{"requests": [{...}, {...}]}` while its bytes come in.

The body may be of any length: one piece and one request are held. Each request becomes one line;
whether it is sound JSON, the gateway finds out.
"""

from __future__ import annotations

import re
from enum import Enum, auto

from services.web.errors import HttpError

_HEAD = re.compile(rb'[ \t\r\n]*+\{[ \t\r\n]*+"requests"[ \t\r\n]*+:[ \t\r\n]*+\[')
_MAX_HEAD_BYTES = 1024
_SPACE = re.compile(rb"[ \t\r\n]*+")
_TAIL = re.compile(rb"[ \t\r\n]*+\}[ \t\r\n]*+")
_MAX_TAIL_BYTES = 1024
# A whole string in one match, a quotation mark where its end has not come, or a bracket.
_SIGN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["{}\[\]]', re.DOTALL)
_REST_OF_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_NEWLINES = bytes.maketrans(b"\r\n", b"  ")
_OPENING = frozenset(b"{[")


class _At(Enum):
    HEAD = auto()
    FIRST = auto()
    """Before the first request, or the end of none."""
    NEXT = auto()
    """After a comma."""
    REQUEST = auto()
    AFTER = auto()
    """After a request: a comma or the end."""
    TAIL = auto()


class RequestSplitter:
    """Gives each request as one line, without its newline. Raises HttpError."""

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes`: of one request."""
        self.count = 0
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._at = _At.HEAD
        self._scanned = 0
        """How far the count of the request at the buffer's start has come."""
        self._depth = 0
        self._in_string = False

    def feed(self, piece: bytes) -> list[bytes]:
        """The requests that end in this piece of the body."""
        buffer = self._buffer
        buffer += piece
        found: list[bytes] = []
        position = 0
        while True:
            if self._at is _At.REQUEST:
                end = self._end_of_request(position)
                if not end:
                    if len(buffer) - position > self._max_bytes:
                        raise HttpError(
                            413,
                            f"requests.{self.count}: a request may have "
                            f"{self._max_bytes} bytes at most.",
                        )
                    break
                # Outside of strings a newline is space; inside it is always escaped.
                found.append(bytes(buffer[position:end]).translate(_NEWLINES))
                self.count += 1
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
        """The body has ended."""
        if self._at is _At.HEAD:
            raise _no_list()
        if self._at is not _At.TAIL or not _TAIL.fullmatch(self._buffer):
            raise HttpError(400, "The request body is not valid JSON: it ends too soon.")

    def _step(self, position: int) -> int | None:
        """Read what stands between requests. None: more bytes are needed."""
        buffer = self._buffer
        if self._at is _At.HEAD:
            head = _HEAD.match(buffer, position)
            if head is None:
                if len(buffer) < _MAX_HEAD_BYTES:
                    return None
                raise _no_list()
            self._at = _At.FIRST
            return head.end()
        if self._at is _At.TAIL:
            if len(buffer) - position > _MAX_TAIL_BYTES:
                raise _no_list()
            return None
        space = _SPACE.match(buffer, position)
        position = space.end() if space else position
        if position == len(buffer):
            del buffer[:]
            return None
        sign = buffer[position]
        if sign == ord("]") and self._at in (_At.FIRST, _At.AFTER):
            self._at = _At.TAIL
            return position + 1
        if self._at is _At.AFTER:
            if sign != ord(","):
                raise HttpError(400, "The request body is not valid JSON: expected ',' or ']'.")
            self._at = _At.NEXT
            return position + 1
        if sign != ord("{"):
            raise HttpError(400, f"requests.{self.count}: a request has to be an object.")
        self._at = _At.REQUEST
        return position

    def _end_of_request(self, start: int) -> int:
        """Where the request at `start` ends; 0 if that is still to come."""
        buffer = self._buffer
        position = start + self._scanned
        if self._in_string:
            rest = _REST_OF_STRING.match(buffer, position)
            position = rest.end() if rest else position
            if buffer[position : position + 1] != b'"':
                self._scanned = position - start
                return 0
            position += 1
            self._in_string = False
        for match in _SIGN.finditer(buffer, position):
            at, end = match.span()
            sign = buffer[at]
            if sign == ord('"'):
                if end - at == 1:
                    self._in_string = True
                    rest = _REST_OF_STRING.match(buffer, end)
                    self._scanned = (rest.end() if rest else end) - start
                    return 0
            elif sign in _OPENING:
                self._depth += 1
            else:
                self._depth -= 1
                if not self._depth:
                    self._scanned = 0
                    return end
        self._scanned = len(buffer) - start
        return 0


def _no_list() -> HttpError:
    return HttpError(400, 'The request body has to be {"requests": [...]}, with no other member.')
