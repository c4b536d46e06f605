"""multipart/form-data, taken apart while it comes in: the file goes on at once.

Fields come in any order; those behind the file are known only at the end.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from services.web.errors import HttpError

_MAX_FIELD_BYTES = 16 * 1024
_MAX_PARTS = 50
_EXTENDED_FILENAME = re.compile(rb";\s*filename\*=utf-8'[^']*'([^;\s]+)", re.ASCII | re.IGNORECASE)
# Before the first boundary and behind the last there is nothing of use.
_MAX_OUTSIDE_BYTES = 64 * 1024


class Form:
    """One form with one file, in the field `file_field`."""

    def __init__(self, content_type: str, file_field: str) -> None:
        """Raises HttpError (400) where the request is no form."""
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise HttpError(
                400, f"The body has to be multipart/form-data with the file in {file_field!r}."
            )
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        """That of the file, once it has begun; empty where it has none."""
        self._file_field = file_field
        self._pieces: list[bytes] = []
        self._header = bytearray()
        self._value = bytearray()
        self._name = ""
        self._in_file = False
        self._text = bytearray()
        self._ended = False
        self._outside = 0
        self._part_bytes = 0
        self._parts = 0
        try:
            self._parser = MultipartParser(
                options[b"boundary"],
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._header_field,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_finished,
                    "on_part_data": self._data,
                    "on_part_end": self._end,
                    "on_end": self._finish,
                },
            )
        except FormParserError as error:
            raise _malformed(str(error)) from error

    def feed(self, piece: bytes) -> list[bytes]:
        """Take the next bytes; returns those of the file in them. Raises HttpError (400)."""
        self._pieces, self._part_bytes = [], 0
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise _malformed(str(error)) from error
        if not self._part_bytes:
            self._outside += len(piece)
            if self._outside > _MAX_OUTSIDE_BYTES:
                raise _malformed("too much lies outside of its parts")
        return self._pieces

    def finish(self) -> None:
        """Nothing more comes. Raises HttpError (400) where the form is not whole."""
        if not self._ended:
            raise _malformed("it ends before its last boundary")
        if self.filename is None:
            raise HttpError(
                400,
                f"'{self._file_field}' is a required property.",
                "missing_required_parameter",
                self._file_field,
            )

    def _begin(self) -> None:
        self._name, self._in_file = "", False
        self._text.clear()
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise FormParserError(f"it has more than {_MAX_PARTS} parts")

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            self._name = options.get(b"name", b"").decode(errors="replace")
            if self._name == self._file_field:
                self._in_file = True
                if self.filename is not None:
                    raise FormParserError(f"the field '{self._name}' comes twice")
                filename = _filename(bytes(self._value), options)
                self.filename = filename.rpartition("/")[2].rpartition("\\")[2]
        self._header.clear()
        self._value.clear()

    def _headers_finished(self) -> None:
        if not self._name:
            raise FormParserError("a part has no name")

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._part_bytes += end - start
        if self._in_file:
            self._pieces.append(data[start:end])
            return
        self._text += data[start:end]
        if len(self._text) > _MAX_FIELD_BYTES:
            raise FormParserError(f"the field '{self._name[:50]}' is too long")

    def _end(self) -> None:
        if not self._in_file:
            self.fields[self._name] = self._text.decode(errors="replace")

    def _finish(self) -> None:
        self._ended = True


def _filename(header: bytes, options: dict[bytes, bytes]) -> str:
    """Of a part, by its Content-Disposition; empty where it has none."""
    plain = options.get(b"filename")
    if plain is not None:
        # Browsers and httpx write a quote so, and a percent sign as it is.
        return plain.replace(b"%22", b'"').decode(errors="replace")
    # Forms are not to have this one; clients that know only e-mail's rules send nothing else.
    extended = _EXTENDED_FILENAME.search(header)
    return unquote_to_bytes(extended[1]).decode(errors="replace") if extended else ""


def _malformed(why: str) -> HttpError:
    return HttpError(400, f"Could not parse the multipart form: {why[:200].rstrip('.')}.")
