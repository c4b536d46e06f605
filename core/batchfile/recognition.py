"""What a file is that holds no JSON lines, told by how it begins.

Such a file has one problem, which names what it is and the command that turns it into lines,
instead of one for each of its lines. Sources: RFC 1952 (gzip), RFC 8878 (zstd), the xz and
bzip2 formats, APPNOTE.TXT (zip), Apache Parquet's file format, RFC 3629 and Unicode's FAQ
(byte-order marks).
"""

from __future__ import annotations

import csv
import io

import msgspec

from core.batchfile.problems import Problem
from core.batchfile.schema import BOM

HEAD_BYTES = 8 * 1024
"""So much of a file is looked at, or all of it where it is shorter."""

NOT_JSON_LINES = "not_json_lines"

_COMPRESSED = "compressed with "
_MAGIC = (
    (b"\x1f\x8b", "compressed with gzip"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (b"BZh", "compressed with bzip2"),
    (b"\xfd7zXZ\x00", "compressed with xz"),
    (b"PK\x03\x04", "a zip archive or a spreadsheet"),
    (b"PAR1", "a Parquet file"),
    # The marks of UTF-32 first: that of UTF-16 is how one of them begins.
    (b"\xff\xfe\x00\x00", "text in UTF-32"),
    (b"\x00\x00\xfe\xff", "text in UTF-32"),
    (b"\xff\xfe", "text in UTF-16"),
    (b"\xfe\xff", "text in UTF-16"),
)
_UNMARKED: dict[tuple[bool, ...], str] = {
    (True, False, False, False): "text in UTF-32",
    (False, False, False, True): "text in UTF-32",
    (True, False, True, False): "text in UTF-16",
    (False, True, False, True): "text in UTF-16",
}
"""Which of the first four bytes of ASCII text are not NUL."""
_DELIMITERS = ",;\t"
_LONGEST_NAME = 64


class FileRecognizer:
    """The first bytes of a file, held back until they tell what it is.

    What comes out does not depend on how the file was cut into chunks.
    """

    def __init__(self) -> None:
        self.problem: Problem | None = None
        """Set where the file holds no lines. Nothing of it is to be scanned."""
        self._head: bytearray | None = bytearray()

    def take(self, chunk: bytes) -> bytes:
        """The bytes that can be scanned: none while the file may turn out to hold no lines."""
        if self._head is None:
            return b"" if self.problem else chunk
        self._head += chunk
        enough = len(self._head) >= HEAD_BYTES or (b"\n" in chunk and _begins_well(self._head))
        return self.finish() if enough else b""

    def finish(self) -> bytes:
        """What was held back, now that no more comes, or is needed."""
        if self._head is None:
            return b""
        held, self._head = bytes(self._head), None
        kind = recognize(held[:HEAD_BYTES], whole=len(held) < HEAD_BYTES)
        if kind is None:
            return held
        self.problem = Problem(
            0,
            "",
            "",
            NOT_JSON_LINES,
            f"the file is {kind}; expected one JSON object a line: {_advice(kind)}",
        )
        return b""


def _advice(kind: str) -> str:
    if kind.startswith(_COMPRESSED):
        # The command and the Python client read what it holds; whoever streams bytes does not.
        return "unpack it first; `polybatch submit FILE` does that by itself"
    return "`polybatch convert FILE -o lines.jsonl` turns it into that"


def _begins_well(head: bytearray) -> bool:
    """Whether the first line settles it, whatever follows: mostly there is no need to wait."""
    line, newline, _ = head.removeprefix(BOM).lstrip().partition(b"\n")
    return bool(newline) and line.startswith(b"{") and line.rstrip().endswith(b"}")


def recognize(head: bytes, *, whole: bool) -> str | None:
    """What a file is, by its first bytes; None where it may well hold JSON lines.

    `whole`: there is no more of it. Never raises.
    """
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if len(head) >= 4:
        first = tuple(byte != 0 for byte in head[:4])
        if first in _UNMARKED:
            return _UNMARKED[first]
    text = head.removeprefix(BOM).lstrip()
    lines = text.split(b"\n")
    if not whole:
        # The last one is cut, unless it is the only one and goes on past the head.
        last = lines.pop()
        if not lines:
            return "a JSON array" if _opens_array(last) else None
    lines = [line.strip() for line in lines if not line.isspace()]
    if not lines:
        return None
    first_line, second = lines[0], lines[1] if len(lines) > 1 else b""
    if _opens_array(first_line):
        return "a JSON array"
    if first_line.startswith(b"{"):
        return "pretty-printed JSON" if _goes_on(first_line, second) else None
    return _table(b"\n".join(lines)) if second and not second.startswith(b"{") else None


def _opens_array(line: bytes) -> bool:
    rest = line[1:].lstrip()
    return line.startswith(b"[") and (not rest or rest.startswith(b"{"))


def _goes_on(first: bytes, second: bytes) -> bool:
    """Whether an object that a line begins ends in a later one, and was meant to."""
    if not first.endswith((b"{", b"[", b",")) or not second.startswith((b'"', b"{", b"[")):
        return False
    # One object a line with a comma after each is another fault, and one of each line.
    return not first.endswith(b",") or not _is_json(first[:-1])


def _is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _table(text: bytes) -> str | None:
    """CSV: two rows of as many cells, the first one of names."""
    try:
        rows = text.decode(errors="replace")
        header = rows.partition("\n")[0]
        delimiter = max(_DELIMITERS, key=header.count)
        reader = csv.reader(io.StringIO(rows, newline=""), delimiter=delimiter)
        names, cells = next(reader), next(reader)
    except (csv.Error, StopIteration):
        return None
    named = all(_is_name(name) for name in names) and len(set(names)) == len(names)
    return "CSV" if named and len(names) == len(cells) > 1 else None


def _is_name(text: str) -> bool:
    text = text.strip()
    return 0 < len(text) <= _LONGEST_NAME and text.isprintable() and text[0] not in "{}[]"
