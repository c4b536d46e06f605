"""JSON values one after the other, or in an array, cut apart and put on one line each.

The bytes of a value stay as they are, but for the line breaks and the indentation between its
tokens: numbers and escapes are not written anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from polybatch._convert.records import MAX_RECORD_BYTES, Record, Refusal, unreadable

# Up to a bracket, or to a string that the chunk does not end.
_FLAT = re.compile(rb'(?:[^"{}\[\]]++|"(?:[^"\\\r\n]++|\\[^\r\n])*+")*+')
_IN_STRING = re.compile(rb'(?:[^"\\\r\n]++|\\[^\r\n])*+')
_SEPARATORS = b" \t\r\n,"
_OPENING, _CLOSING = b"{[", b"}]"
# Of a body, up to its array.
_BODY = re.compile(rb'\s*\{\s*"requests"\s*:\s*\[')
_MORE_IN_BODY = 'the body holds more than "requests"'
_LEAVE_IT_OUT = "leave out the rest: a line has no place for it."


def is_body(head: bytes) -> bool:
    """Whether it begins as the body of a call to Anthropic's API: an array under "requests"."""
    return _BODY.match(head) is not None


def values(chunks: Iterator[bytes]) -> Iterator[Record | Refusal]:
    """Yield each object of an array, of the array in a body, or of a sequence of objects.

    Line breaks cannot stand in strings of JSON, so all of them are between tokens. The first
    chunk holds what `is_body` has to see. Raises InvalidRequest where the brackets do not match.
    """
    first = next(chunks, b"")
    body = _BODY.match(first)
    splitter = _Splitter(in_body=body is not None)
    yield from splitter.feed(first[body.end() - 1 :] if body else first)
    for chunk in chunks:
        yield from splitter.feed(chunk)
    yield from splitter.finish()


def _end(pattern: re.Pattern[bytes], chunk: bytes, at: int) -> int:
    found = pattern.match(chunk, at)
    # Both match nothing as well.
    assert found is not None
    return found.end()


class _Splitter:
    """Follows strings and brackets, each byte once; keeps the value that is not whole yet."""

    def __init__(self, *, in_body: bool) -> None:
        self._in_body = in_body
        """Whether a brace is still to come behind the array."""
        self._parts: list[bytes] = []
        self._size = 0
        self._depth = 0
        self._base: int | None = None
        """Depth at which values stand: 1 within an array, 0 in a sequence."""
        self._in_string = self._escaped = False
        self._count = 0
        self._ended = False

    def feed(self, chunk: bytes) -> Iterator[Record | Refusal]:
        at = start = 0
        while at < len(chunk):
            if self._in_string:
                at = self._past_string(chunk, at)
                continue
            at = _end(_FLAT, chunk, at) + 1
            if at > len(chunk):
                break
            mark = chunk[at - 1 : at]
            if mark == b'"':
                self._in_string = True
                continue
            if mark in _OPENING:
                if self._base is None:
                    self._base = 1 if mark == b"[" else 0
                    if self._base:
                        self._keep(chunk[start : at - 1])
                        self._check_blank("something stands before the array")
                        start, self._depth = at, 1
                        continue
                if self._ended:
                    if self._in_body:
                        raise unreadable(_MORE_IN_BODY, _LEAVE_IT_OUT)
                    raise unreadable("more follows behind the end of the array")
                if self._depth == self._base:
                    yield from self._between(chunk[start : at - 1])
                    start = at - 1
                self._depth += 1
                continue
            if self._ended and self._in_body and mark == b"}":
                self._keep(chunk[start : at - 1])
                self._check_blank(_MORE_IN_BODY, _LEAVE_IT_OUT)
                start, self._in_body = at, False
                continue
            self._depth -= 1
            if self._base and self._depth == 0:
                yield from self._between(chunk[start : at - 1])
                start, self._ended = at, True
            elif self._depth < (self._base or 0):
                raise unreadable(f"a bracket too many, behind {self._place()}")
            elif self._depth == self._base:
                self._keep(chunk[start:at])
                yield self._take()
                start = at
        self._keep(chunk[start:])

    def _past_string(self, chunk: bytes, at: int) -> int:
        end = _end(_IN_STRING, chunk, at + self._escaped)
        # What stops before the end is a quote, or a backslash whose letter is still to come.
        self._escaped = chunk[end : end + 2] == b"\\"
        if not self._escaped and end < len(chunk) and chunk[end : end + 1] != b'"':
            raise unreadable(
                f"a text behind {self._place()} has a line break in it",
                "JSON writes it as \\n; or the quote before it is missing.",
            )
        self._in_string = self._escaped or end >= len(chunk)
        return end + 1

    def finish(self) -> Iterator[Record | Refusal]:
        if self._in_string or self._depth or (self._base and not self._ended) or self._in_body:
            raise unreadable(f"the JSON ends too early, behind {self._place()}")
        yield from self._between(b"")

    def _between(self, piece: bytes) -> Iterator[Refusal]:
        """What stands between two values: commas and white space, or a value of another kind."""
        self._keep(piece)
        text = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        text = text.strip(_SEPARATORS)
        if not text:
            return
        try:
            others: list[object] = json.loads(b"[%b]" % text)
        except ValueError:
            others = [text.decode(errors="replace")]
        for other in others:
            self._count += 1
            shown = str(other)[:40]
            yield Refusal(self._count, "", "not_an_object", f"{shown}: expected an object.")

    def _check_blank(self, problem: str, next_step: str = "") -> None:
        if any(part.strip(_SEPARATORS) for part in self._parts):
            raise unreadable(problem, next_step)
        self._parts.clear()
        self._size = 0

    def _take(self) -> Record:
        value = b"".join([line.strip() for line in b"".join(self._parts).splitlines()])
        self._parts.clear()
        self._size = 0
        self._count += 1
        return Record(self._count, value)

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > MAX_RECORD_BYTES:
            raise unreadable(f"more than {MAX_RECORD_BYTES} bytes in one, behind {self._place()}")
        if piece:
            self._parts.append(piece)

    def _place(self) -> str:
        return f"item {self._count}" if self._count else "the beginning"
