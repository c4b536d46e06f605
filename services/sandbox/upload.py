"""Takes a multipart upload apart while it comes in; the file goes straight to disk."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

_MAX_FIELD_BYTES = 64 * 1024


class BadUpload(Exception):
    """The body is not the form that it should be."""


class Upload:
    """A form with one file. `fields` are the other parts; `size` is the file's, in bytes.

    Of a file longer than `max_bytes` only the size is kept.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self.size = 0
        self._path = path
        self._max_bytes = max_bytes
        self._header = b""
        self._value = b""
        self._name = ""
        self._in_file = False
        self._text = bytearray()

    async def read(self, content_type: str, body: AsyncIterator[bytes]) -> None:
        """Read the form to its end. Raises BadUpload."""
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or b"boundary" not in options:
            raise BadUpload("Could not parse multipart form: the request is not one.")
        parser = MultipartParser(
            options[b"boundary"],
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_part_data": self._data,
                "on_part_end": self._end,
            },
        )
        with self._path.open("wb", buffering=0) as self._file:
            try:
                async for chunk in body:
                    parser.write(chunk)
                parser.finalize()
            except FormParserError as error:
                raise BadUpload(f"Could not parse multipart form: {error}") from error

    def _begin(self) -> None:
        self._name = ""
        self._in_file = False
        self._text.clear()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            self._name = options.get(b"name", b"").decode()
            if self._name == "file":
                self._in_file = True
                self.filename = options.get(b"filename", b"").decode()
        self._header = self._value = b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self.size += end - start
            if self.size <= self._max_bytes:
                self._file.write(memoryview(data)[start:end])
        else:
            self._text += data[start:end]
            if len(self._text) > _MAX_FIELD_BYTES:
                raise FormParserError(f"the field '{self._name}' is too long.")

    def _end(self) -> None:
        if not self._in_file:
            self.fields[self._name] = self._text.decode(errors="replace")
