"""Tables of prompts to request lines: each row is put into a template."""

from __future__ import annotations

import csv
import json
import re
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from polybatch._convert.records import MAX_RECORD_BYTES, Record, Refusal, unreadable

CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"
ID_COLUMN = "custom_id"

_DELIMITERS = ",;\t"
_LONE_RETURN = "a carriage return stands in a cell without quotes"
_AS_JSON = frozenset({"body", "params", "request"})
_LINE_FIELDS = frozenset({"custom_id", "key", "method", "provider", "url"}) | _AS_JSON

_SEPARATOR_LINE = re.compile(r"sep=([^\w\"\r\n ])\r?\n?", re.IGNORECASE)
"""With which Excel is told how cells are separated; it is no row, for Excel neither."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Template:
    """What each row is put into."""

    prompt: str | None = None
    """Such as "Summarise: {text}", with names of columns; None: the rows hold requests."""
    system: str | None = None
    """Likewise, for a system message."""
    model: str | None = None
    provider: str | None = None
    max_tokens: int | None = None
    id_column: str | None = None
    """None: `custom_id` if there is one, else rows are numbered."""
    embeddings: bool = False
    """Embed the prompts instead of having them answered."""
    _parsed: dict[str, list[tuple[str, str | None]]] = field(default_factory=dict)

    def records(
        self, columns: Sequence[str], rows: Iterable[Row | Refusal | None], first: int = 2
    ) -> Iterator[Any]:
        """Yield a Record or a Refusal for each row. Raises InvalidRequest for a bad template.

        `rows`: None for a blank one. `first`: number of the first; the header is a row as well.
        """
        self._check(columns)
        for number, row in enumerate(rows, first):
            if isinstance(row, Refusal):
                yield row
                continue
            if row is None:
                yield Record(number, b"")
                continue
            try:
                yield Record(number, self._line(number, row))
            except Refusal as refusal:
                yield refusal
            except UnicodeDecodeError:
                yield Refusal(number, "", "not_text", "A cell holds bytes that are not UTF-8.")

    def _check(self, columns: Sequence[str]) -> None:
        if not columns:
            raise unreadable("the table has no columns")
        shown = ", ".join(columns)
        if self.prompt is None:
            if _AS_JSON.isdisjoint(columns):
                raise unreadable(
                    f"the file is a table with the columns {shown}",
                    "say what to ask of each row, such as: --model MODEL --prompt "
                    f"'Summarise: {{{columns[-1]}}}'.",
                )
            return
        if not self.model:
            raise unreadable("a table of prompts names no model", "name one: --model MODEL.")
        for option, template in (("--prompt", self.prompt), ("--system", self.system)):
            for name in self._names(option, template or ""):
                if name not in columns:
                    raise unreadable(
                        f"{option} names {{{name}}}, and the columns are {shown}",
                        "double braces that are meant as such: {{ and }}.",
                    )
        if self.id_column is not None and self.id_column not in columns:
            raise unreadable(f"there is no column {self.id_column}; the columns are {shown}")

    def _names(self, option: str, template: str) -> list[str]:
        try:
            parts = list(string.Formatter().parse(template))
        except ValueError as error:
            raise unreadable(
                f"{option}: {error}", "double braces that are meant as such: {{ and }}."
            ) from None
        if any(spec or conversion for _, _, spec, conversion in parts):
            raise unreadable(f"{option}: expected only names of columns between braces")
        self._parsed[template] = [(text, name) for text, name, _, _ in parts]
        return [name for _, name, _, _ in parts if name is not None]

    def _line(self, number: int, row: Row) -> bytes:
        if self.prompt is None:
            return _request(number, row)
        prompt = self._filled(self.prompt, row)
        body: dict[str, Any] = {"model": self.model}
        if self.embeddings:
            body["input"] = prompt
        else:
            body["messages"] = [{"role": "user", "content": prompt}]
            if self.system is not None:
                instruction = {"role": "system", "content": self._filled(self.system, row)}
                body["messages"].insert(0, instruction)
        if self.max_tokens is not None:
            body["max_completion_tokens"] = self.max_tokens
        line: dict[str, Any] = {"custom_id": self._custom_id(number, row)}
        if self.provider:
            line["provider"] = self.provider
        url = EMBEDDINGS if self.embeddings else CHAT
        return _encoded(number, line | {"method": "POST", "url": url, "body": body})

    def _filled(self, template: str, row: Row) -> str:
        return "".join(
            text + ("" if name is None else _text(row[name]))
            for text, name in self._parsed[template]
        )

    def _custom_id(self, number: int, row: Row) -> str:
        column = self.id_column or (ID_COLUMN if ID_COLUMN in row else None)
        if column is None:
            return f"row-{number}"
        custom_id = _text(row[column])
        if not custom_id:
            raise Refusal(number, column, "empty_field", "The cell is empty; expected an id.")
        return custom_id


def csv_records(lines: Iterator[str], template: Template) -> Iterator[Record | Refusal]:
    """The rows of a CSV with a header. `lines`: with their line breaks."""
    header = next(lines, "")
    before = 0
    if (told := _SEPARATOR_LINE.fullmatch(header)) is not None:
        header, before = next(lines, ""), 1
    blank = 0
    while header and not header.strip():
        header, blank = next(lines, ""), blank + 1
    delimiter = told[1] if told is not None else max(_DELIMITERS, key=header.count)
    csv.field_size_limit(MAX_RECORD_BYTES)

    def whole() -> Iterator[str]:
        yield header
        yield from lines

    reader = csv.reader(whole(), delimiter=delimiter, strict=True)
    try:
        columns = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise unreadable(f"the first row is no CSV: {_reason(error)}") from None
    if not columns or not all(columns) or len(set(columns)) != len(columns):
        raise unreadable(
            "the file is neither JSON nor a table whose first row names each column, each once"
        )
    rows = _rows(reader, columns, blank + 1, before + blank)
    yield from template.records(columns, rows, blank + 2)


def _rows(
    reader: Any, columns: list[str], number: int, lines_before: int
) -> Iterator[Row | Refusal | None]:
    """The rows behind that of a number, the header. `lines_before`: what the reader was spared."""
    while True:
        number += 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            line = lines_before + reader.line_num
            raise unreadable(f"row {number} (line {line}) is no CSV: {_reason(error)}") from None
        if not any(cells):
            # Spreadsheets write such behind the last one: nothing is asked there.
            yield None
        elif len(cells) == len(columns):
            yield dict(zip(columns, cells, strict=True))
        else:
            yield Refusal(
                number, "", "cells", f"The row has {len(cells)} cells; expected {len(columns)}."
            )


def _reason(error: csv.Error) -> str:
    """Why, without advice for programmers."""
    text = str(error)
    return _LONE_RETURN if text.startswith("new-line character") else text


def _request(number: int, row: Row) -> bytes:
    """The request that a row holds: `body`, `params` or `request` as JSON, the rest as text."""
    line: dict[str, Any] = {}
    for name, cell in row.items():
        if name not in _LINE_FIELDS:
            raise Refusal(number, name, "unknown_field", f"{name} is no field of a request.")
        if cell in (None, ""):
            continue
        if name in _AS_JSON and isinstance(cell, str):
            try:
                cell = json.loads(cell)
            except (ValueError, RecursionError):
                raise Refusal(number, name, "invalid_json", f"{name} is not JSON.") from None
        line[name] = cell
    return _encoded(number, line)


def _encoded(number: int, line: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(line, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise Refusal(number, "", "not_json", f"The row has no form in JSON: {error}.") from None


def _text(cell: Any) -> str:
    """A cell as a person would write it."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bytes):
        return cell.decode()
    if isinstance(cell, bool | int | float | dict | list):
        return json.dumps(cell, ensure_ascii=False, default=_text)
    # Dates, times and decimals of Parquet.
    return str(cell)
