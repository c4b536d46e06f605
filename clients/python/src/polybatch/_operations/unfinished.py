"""A file that is written beside its place, under another name."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of the block name the path, as those of a full disk do not by themselves."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def create(unfinished: Path, path: Path) -> io.BufferedWriter:
    """Opens `unfinished`, which must not exist; errors of writing name `path`."""
    return io.BufferedWriter(_Unfinished(unfinished, path))


class _Unfinished(io.FileIO):
    # Below the buffer: what is left in it is written by `close`, too.
    def __init__(self, unfinished: Path, path: Path) -> None:
        super().__init__(unfinished, "xb")
        self._path = path

    def write(self, data: Any, /) -> int:
        with naming(self._path):
            return super().write(data)
