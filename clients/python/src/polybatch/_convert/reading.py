"""What a file of requests is, and its requests one by one, in constant memory.

Containers are told by their first bytes, whatever the name: compressed ones, a zip archive of
one file, Parquet, UTF-16 and UTF-32, a JSON array, also in a request body, pretty-printed JSON,
CSV, JSON lines.
"""

from __future__ import annotations

import codecs
import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

from polybatch._convert.json_values import is_body, values
from polybatch._convert.parquet import open_parquet
from polybatch._convert.records import MAX_RECORD_BYTES, Record, Refusal, unreadable
from polybatch._convert.tables import Template, csv_records
from polybatch._operations.compression import Unpacker, compression_of

CHUNK_BYTES = 256 * 1024
_HEAD_BYTES = 64 * 1024
_MOST_LAYERS = 3
"""How often compressed: a download may have been once more; some archives hold themselves."""
EMPTY = "empty file"
_ZIP = b"PK\x03\x04"
_PARQUET = b"PAR1"
_UTF8_MARK = codecs.BOM_UTF8
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UNMARKED = {
    (True, False, False, False): "utf-32-le",
    (False, False, False, True): "utf-32-be",
    (True, False, True, False): "utf-16-le",
    (False, True, False, True): "utf-16-be",
}
"""Which of the first four bytes of ASCII text are not NUL."""


@dataclass(frozen=True, slots=True)
class Content:
    """A file of requests."""

    kind: str
    """What it is, for people."""
    unit: str
    """What a record's number counts: "line", "item" or "row"."""
    records: Iterator[Record | Refusal]


@contextmanager
def open_content(
    file: BinaryIO,
    template: Template,
    *,
    encoding: str | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Iterator[Content]:
    """Open a file, from where it stands; nothing of it is read twice but its first bytes.

    `encoding`: of text that is not UTF-8 and has no byte-order mark. `progress` is called with
    the bytes of the file that have been read. Raises InvalidRequest, ConfigurationError, here
    or while the records are read.
    """
    with ExitStack() as stack:
        yield _content(_read(file, progress), template, encoding, stack)


def _content(
    chunks: Iterator[bytes], template: Template, encoding: str | None, stack: ExitStack
) -> Content:
    head, chunks = _peek(chunks)
    how: list[str] = []
    while len(how) < _MOST_LAYERS:
        if (compression := compression_of(head)) is not None:
            how.append(compression)
            head, chunks = _peek(_unpacked(compression, chunks))
        elif head.startswith(_ZIP):
            how.append("zip")
            head, chunks = _peek(_unzipped(chunks, stack))
        else:
            break
    if head.startswith(_PARQUET):
        columns, rows = open_parquet(_stored(chunks, stack))
        return Content(_named("Parquet", how), "row", template.records(columns, rows))
    encoding = _encoding(head) or encoding
    if encoding is not None:
        how.append(encoding.upper())
        head, chunks = _peek(_recoded(chunks, encoding))
    head, chunks = _peek(_unmarked(chunks))
    text = head.lstrip()
    if not text and len(head) < _HEAD_BYTES:
        return Content(_named(EMPTY, how), "line", iter(()))
    if not text.startswith((b"{", b"[")) and text:
        lines = _text_lines(_with_line_feeds(head, chunks))
        return Content(_named("CSV", how), "row", csv_records(lines, template))
    if is_body(text):
        return Content(_named("Anthropic's request body", how), "item", values(chunks))
    if text.startswith(b"[") or (text and not _is_one_line(text)):
        kind = "JSON array" if text.startswith(b"[") else "pretty-printed JSON"
        return Content(_named(kind, how), "item", values(chunks))
    return Content(_named("JSON lines", how), "line", _lines(chunks))


def _named(kind: str, how: list[str]) -> str:
    return f"{kind} ({', '.join(how)})" if how else kind


def _is_one_line(text: bytes) -> bool:
    """Whether the first line holds a whole object, or is one that is longer than the head."""
    line, newline, _ = text.partition(b"\n")
    if not newline:
        return True
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        # A bad line, unless it looks as if the object went on.
        return not line.rstrip().endswith((b"{", b"[", b",", b":"))
    return True


def _read(file: BinaryIO, progress: Callable[[int], None]) -> Iterator[bytes]:
    done = 0
    while chunk := file.read(CHUNK_BYTES):
        done += len(chunk)
        progress(done)
        yield chunk


def _peek(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first bytes, and all of them once more."""
    first = bytearray()
    while len(first) < _HEAD_BYTES and (chunk := next(chunks, b"")):
        first += chunk
    head = bytes(first)

    def whole() -> Iterator[bytes]:
        if head:
            yield head
        yield from chunks

    return head[:_HEAD_BYTES], whole()


def _unpacked(compression: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    unpacker = Unpacker(compression)
    for chunk in chunks:
        unpacker.push(chunk)
        while piece := unpacker.pull(CHUNK_BYTES):
            yield piece
    unpacker.close()
    while piece := unpacker.pull(CHUNK_BYTES):
        yield piece


def _stored(chunks: Iterator[bytes], stack: ExitStack) -> BinaryIO:
    """What has to be read from its end first, in a temporary file."""
    file = stack.enter_context(tempfile.SpooledTemporaryFile(MAX_RECORD_BYTES))  # noqa: SIM115
    for chunk in chunks:
        file.write(chunk)
    file.seek(0)
    return cast("BinaryIO", file)


def _unzipped(chunks: Iterator[bytes], stack: ExitStack) -> Iterator[bytes]:
    try:
        archive = stack.enter_context(zipfile.ZipFile(_stored(chunks, stack)))
        names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
        if "[Content_Types].xml" in names:
            raise unreadable("the file is a spreadsheet or a document", "save it as CSV.")
        if len(names) != 1:
            raise unreadable(
                f"the zip archive holds {len(names)} files; expected one",
                "unpack it, and convert the one with the requests.",
            )
        with archive.open(names[0]) as member:
            while chunk := member.read(CHUNK_BYTES):
                yield chunk
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise unreadable(f"the zip archive cannot be read: {error}") from error


def _encoding(head: bytes) -> str | None:
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    return _UNMARKED.get(cast("tuple[bool, bool, bool, bool]", tuple(map(bool, head[:4]))))


def _recoded(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """The same text in UTF-8."""
    try:
        decoder = codecs.getincrementaldecoder(encoding)()
    except LookupError:
        raise unreadable(f"there is no encoding {encoding}") from None
    done = 0
    try:
        for chunk in chunks:
            yield decoder.decode(chunk).encode()
            done += len(chunk)
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as error:
        raise unreadable(f"behind byte {done} the text is not {encoding}: {error}") from None


def _unmarked(chunks: Iterator[bytes]) -> Iterator[bytes]:
    head, chunks = _peek(chunks)
    yield next(chunks, b"").removeprefix(_UTF8_MARK) if head else b""
    yield from chunks


def _with_line_feeds(head: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Text of lines that end with carriage returns alone, as some spreadsheets still write them."""
    if b"\n" in head or b"\r" not in head[:-1]:
        return chunks
    return (chunk.replace(b"\r", b"\n") for chunk in chunks)


def _cut(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Lines with their line feeds."""
    begun = bytearray()
    for chunk in chunks:
        start = 0
        while (end := chunk.find(b"\n", start) + 1) > 0:
            if begun:
                begun += chunk[start:end]
                yield bytes(begun)
                begun.clear()
            else:
                yield chunk[start:end]
            start = end
        begun += chunk[start:]
        if len(begun) > MAX_RECORD_BYTES:
            raise unreadable(f"a line has more than {MAX_RECORD_BYTES} bytes")
    if begun:
        yield bytes(begun)


def _lines(chunks: Iterator[bytes]) -> Iterator[Record | Refusal]:
    for number, line in enumerate(_cut(chunks), 1):
        yield Record(number, line.strip(b" \t\r\n"))


def _text_lines(chunks: Iterator[bytes]) -> Iterator[str]:
    for number, line in enumerate(_cut(chunks), 1):
        try:
            yield line.decode()
        except UnicodeDecodeError:
            raise unreadable(
                f"line {number} is not UTF-8", "name what it is, such as: --encoding cp1252."
            ) from None
