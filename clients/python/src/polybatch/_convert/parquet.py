"""Rows of Parquet files, by arro3 (`polybatch[parquet]`)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, BinaryIO

from polybatch._convert.records import unreadable
from polybatch.errors import ConfigurationError

if TYPE_CHECKING:
    from polybatch._convert.tables import Row

_BATCH_ROWS = 1024
_STDERR = 2
_UNWRAPPED = "called `Result::unwrap()` on an `Err` value: "
_END = 8
_MAGIC = b"PAR1"


def open_parquet(file: BinaryIO) -> tuple[list[str], Iterator[Row]]:
    """The columns, and the rows some at a time. ConfigurationError without arro3."""
    if not (find_spec("arro3") and find_spec("arro3.io")):
        raise ConfigurationError(
            "the input is a Parquet file, which needs a library more",
            reason="PARQUET_MISSING",
            next_step="pip install 'polybatch[parquet]', or write it as CSV.",
        )
    from arro3.io import read_parquet

    file.seek(-min(_END, file.seek(0, os.SEEK_END)), os.SEEK_END)
    if not file.read().endswith(_MAGIC):
        raise unreadable("the Parquet file is cut short: its end is missing")
    file.seek(0)
    with _panics():
        batches: Any = read_parquet(file, batch_size=_BATCH_ROWS)
    columns = [field.name for field in batches.schema]
    return columns, _rows(batches, columns)


@contextmanager
def _panics() -> Iterator[None]:
    """arro3 panics where a file is damaged, which Python sees as no Exception."""
    try:
        with _without_stderr():
            yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        reason = str(error).removeprefix(_UNWRAPPED)
        raise unreadable(f"the Parquet file cannot be read: {reason}") from error


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Rust writes each panic there itself, for whoever can repair Rust."""
    try:
        kept = os.dup(_STDERR)
    except OSError:
        # Closed already.
        yield
        return
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, _STDERR)
        os.close(null)
        yield
    finally:
        os.dup2(kept, _STDERR)
        os.close(kept)


def _rows(batches: Any, columns: list[str]) -> Iterator[Row]:
    remaining = iter(batches)
    while True:
        with _panics():
            batch = next(remaining, None)
        if batch is None:
            return
        cells = [batch.column(name).to_pylist() for name in columns]
        for row in zip(*cells, strict=True):
            yield dict(zip(columns, row, strict=True))
