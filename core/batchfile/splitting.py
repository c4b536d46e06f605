"""Cutting a stream of chunks into lines, in linear time and bounded memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Overlong:
    """A line over the limit; its bytes were let go."""

    size: int
    """Bytes up to the newline, which is not counted."""
    ends_in_cr: bool

    def __len__(self) -> int:
        return self.size


class LineSplitter:
    """Gives whole lines without their newline; keeps what belongs to a line not yet whole."""

    def __init__(self, max_size: int) -> None:
        """`max_size`: bytes a line may have before it is let go."""
        self._max_size = max_size
        self._parts: list[bytes] = []
        self._size = 0
        self._ends_in_cr = False

    def split(self, chunk: bytes) -> list[bytes | Overlong]:
        """The lines that this chunk ends."""
        pieces: list[bytes | Overlong] = chunk.split(b"\n")  # type: ignore[assignment]
        last = pieces.pop()
        assert isinstance(last, bytes)
        if not pieces:
            self._keep(last)
            return pieces
        if self._size:
            first = pieces[0]
            assert isinstance(first, bytes)
            self._keep(first)
            pieces[0] = self._take()
        if len(chunk) > self._max_size:
            pieces = [self._checked(piece) for piece in pieces]
        self._keep(last)
        return pieces

    def finish(self) -> bytes | Overlong | None:
        """The last line, where no newline ends it; None if there is none."""
        return self._take() if self._size else None

    def _keep(self, piece: bytes) -> None:
        if not piece:
            return
        self._size += len(piece)
        self._ends_in_cr = piece.endswith(b"\r")
        if self._size <= self._max_size:
            self._parts.append(piece)
        else:
            self._parts.clear()

    def _take(self) -> bytes | Overlong:
        if self._size > self._max_size:
            line: bytes | Overlong = Overlong(self._size, self._ends_in_cr)
        else:
            line = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        return line

    def _checked(self, piece: bytes | Overlong) -> bytes | Overlong:
        if isinstance(piece, bytes) and len(piece) > self._max_size:
            return Overlong(len(piece), piece.endswith(b"\r"))
        return piece
