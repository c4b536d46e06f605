"""A stream for log lines whose disk may be full, or its reader gone, at nobody else's cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, AnyStr, Generic


class LogStream(Generic[AnyStr]):
    """Writes what is told; what cannot be written is left out, counted, and said later.

    Raised here, the error would come out of whatever has just told something: a full disk of
    logs would fail calls and end processes that need nothing of it.
    """

    def __init__(self, file: IO[AnyStr], notice: Callable[[int], AnyStr]) -> None:
        """`notice`: what is written, once that works again, of so many lines."""
        self._file: IO[AnyStr] = file
        self._notice: Callable[[int], AnyStr] = notice
        self._missing = 0

    def write(self, text: AnyStr, lines: int = 1) -> None:
        """Write so many whole lines, or count them."""
        try:
            # What the file's own buffer has kept of an earlier line goes first, or nothing does.
            self._file.flush()
            if self._missing:
                self._file.write(self._notice(self._missing))
            self._file.write(text)
            self._file.flush()
        except OSError:
            self._missing += lines
        else:
            self._missing = 0

    def flush(self) -> None:
        """Each write has done it."""
