"""Where converted lines go: the ending of the name says in what form.

.jsonl and whatever is not known: one line each; .json: an array; .csv and .tsv: a table with a
column for each field; .gz, .zst, .bz2 or .xz behind it: compressed.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from polybatch._convert.records import Refusal
from polybatch._operations.compression import zstd_module
from polybatch._operations.unfinished import create

Write = Callable[[bytes], None]
"""Takes one line of JSON without its newline. Refusal (number 0) where it has no place."""

_TEXT_FIELDS = frozenset({"custom_id", "key", "method", "provider", "url"})
_COMPRESSED: dict[str, Callable[[BinaryIO], object]] = {
    ".gz": lambda file: gzip.GzipFile("", "wb", fileobj=file, mtime=0),
    ".bz2": lambda file: bz2.BZ2File(file, "wb"),
    ".xz": lambda file: lzma.open(file, "wb"),  # noqa: SIM115
    ".zst": lambda file: zstd_module().open(file, "wb"),
}


@contextmanager
def open_output(name: str) -> Iterator[Write]:
    """Open a file to be written whole or not at all; `-` is stdout, written as it comes.

    Raises OSError before anything is read where it cannot be written.
    """
    with ExitStack() as stack:
        path = Path("lines.jsonl" if name == "-" else name)
        file = cast("BinaryIO", sys.stdout.buffer)
        if name != "-":
            file = stack.enter_context(_whole_or_not_at_all(path))
        suffixes = [suffix.lower() for suffix in path.suffixes]
        if suffixes and suffixes[-1] in _COMPRESSED:
            packer = _COMPRESSED[suffixes.pop()](file)
            file = stack.enter_context(cast("BinaryIO", packer))
        kind = suffixes[-1] if suffixes else ""
        if kind == ".json":
            yield from _array(file)
        elif kind in (".csv", ".tsv"):
            yield _Table(file, "," if kind == ".csv" else "\t").write
        else:
            yield lambda line: cast("None", file.write(line + b"\n"))
        if name == "-":
            file.flush()


@contextmanager
def _whole_or_not_at_all(path: Path) -> Iterator[BinaryIO]:
    if path.exists() and not path.is_file():
        # A device or a pipe, such as /dev/stdout: nothing to put in its place.
        with path.open("wb") as device:
            yield device
        return
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with create(unfinished, path) as file:
            yield file
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _array(file: BinaryIO) -> Iterator[Write]:
    first = True

    def write(line: bytes) -> None:
        nonlocal first
        file.write((b"[\n" if first else b",\n") + line)
        first = False

    yield write
    file.write(b"[]\n" if first else b"\n]\n")


class _Table:
    """The fields of the first line are the columns; all but a few are JSON."""

    def __init__(self, file: BinaryIO, delimiter: str) -> None:
        self._file = file
        self._row = io.StringIO()
        self._writer = csv.writer(self._row, delimiter=delimiter, lineterminator="\n")
        self._columns: list[str] = []

    def write(self, line: bytes) -> None:
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError):
            raise Refusal(0, "", "invalid_json", "Not JSON.") from None
        if not isinstance(fields, dict):
            raise Refusal(0, "", "not_an_object", "Not an object.")
        if not self._columns:
            self._columns = list(fields)
            self._writer.writerow(self._columns)
        for name in fields:
            if name not in self._columns:
                raise Refusal(0, name, "unknown_column", "The first line has no such field.")
        self._writer.writerow([_cell(name, fields.get(name)) for name in self._columns])
        self._file.write(self._row.getvalue().encode())
        self._row.seek(0)
        self._row.truncate()


def _cell(name: str, value: object) -> str:
    if value is None:
        return ""
    if name in _TEXT_FIELDS and isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
