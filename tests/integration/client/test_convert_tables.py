"""`polybatch convert` of tables as spreadsheets write them, and what it says of their rows."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from arro3.core import Array, DataType, Field, Table, struct_array
from arro3.io import write_parquet
from polybatch.cli import ExitCode

from tests.support.client.command import Command, Converting
from tests.support.client.fake_service import FakePolybatch

PROMPT = ("--model", "m", "--prompt", "{text}")


def asked(path: str = "out.jsonl") -> list[tuple[str, str]]:
    lines = [json.loads(line) for line in Path(path).read_bytes().splitlines()]
    return [(each["custom_id"], each["body"]["messages"][0]["content"]) for each in lines]


TABLES = {
    "Excel's line of its separator": b"sep=|\r\nid|text\r\n1|a,b\r\n2|c\r\n",
    "carriage returns alone": b'id,text\r1,"a,b"\r2,c\r',
    "line feeds": b'id,text\n1,"a,b"\n2,c',
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_read_as_spreadsheets_write_it(convert: Converting, name: str) -> None:
    Path("t.csv").write_bytes(TABLES[name])
    code, told = convert("t.csv", *PROMPT, "-o", "out.jsonl")
    assert (code, "2 rows converted" in told) == (ExitCode.OK, True), told
    assert asked() == [("row-2", "a,b"), ("row-3", "c")]


def test_rows_have_the_numbers_that_a_spreadsheet_shows(convert: Converting) -> None:
    Path("t.csv").write_bytes(b'\nid,text\n\n1,"a\nb"\n,\n2,c\n,,,\n3,d,e\n')
    code, told = convert("t.csv", *PROMPT, "-o", "out.jsonl", "--skip-invalid")
    assert code == ExitCode.OK, told
    assert asked() == [("row-4", "a\nb"), ("row-6", "c")]
    assert "row 8: error: The row has 3 cells; expected 2." in told
    Path("t.csv").write_bytes(b'sep=,\n\nid,text\n\n1,a\n"2')
    code, told = convert("t.csv", *PROMPT, "-o", "out.jsonl")
    assert (code, "row 5 (line 6) is no CSV" in told) == (ExitCode.BAD_INPUT, True), told


def test_a_carriage_return_in_a_cell_is_named(convert: Converting) -> None:
    Path("t.csv").write_bytes(b"id,text\n1,a\rb\n")
    code, told = convert("t.csv", *PROMPT, "-o", "out.jsonl")
    assert code == ExitCode.BAD_INPUT
    assert "row 2 (line 2) is no CSV: a carriage return stands in a cell without quotes" in told


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\r\n \n"])
def test_an_empty_file_is_called_so(convert: Converting, content: bytes) -> None:
    Path("t.csv").write_bytes(content)
    code, told = convert("t.csv", *PROMPT, "-o", "out.jsonl")
    assert (code, "the file is empty; --prompt is for a table" in told) == (2, True), told
    code, told = convert("t.csv", "-o", "out.jsonl")
    assert (code, "t.csv: empty file, 0 lines converted." in told) == (ExitCode.OK, True), told


def request(number: int, **more: int) -> bytes:
    body = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "x"}]}
    chat = {"custom_id": f"id-{number}", "method": "POST", "url": "/v1/chat/completions"}
    return json.dumps(chat | {"body": body} | more).encode()


@pytest.mark.parametrize("options", [(), ("--model", "gpt-4.1-mini")])
def test_a_field_without_a_column_is_told_by_its_line(
    convert: Converting, served: FakePolybatch, options: tuple[str, ...]
) -> None:
    lines = [request(1), b"", b"[1]", request(4), b"{}" if options else b"5", request(6, key=1)]
    Path("in.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    code, told = convert("in.jsonl", *options, "-o", "out.csv", "--skip-invalid")
    assert code == ExitCode.OK, told
    assert "line 6: error: key: The first line has no such field. (unknown_column)" in told
    assert "2 lines converted, 3 refused" in told


def test_cells_of_every_type_are_written_as_a_person_would(convert: Converting) -> None:
    day = Array([18_000, None, 0], DataType.int32()).cast(DataType.date32())
    nested = DataType.struct([Field("day", DataType.date32()), Field("n", DataType.int64())])
    columns = {
        "day": day,
        "at": Array([86_400, None, 0], DataType.int64()).cast(DataType.timestamp("s")),
        "price": Array([7, None, 0], DataType.int64()).cast(DataType.decimal128(10, 2)),
        "raw": Array(["né".encode(), None, b"\xff"], DataType.binary()),
        "n": Array([3, None, 0], DataType.int64()),
        "yes": Array([True, None, False], DataType.bool()),
        "struct": struct_array([day, Array([5, None, 0], DataType.int64())], fields=nested.fields),
    }
    file = io.BytesIO()
    write_parquet(Table.from_arrays(list(columns.values()), names=list(columns)), file)
    Path("t.parquet").write_bytes(file.getvalue())
    prompt = "|".join(f"{{{name}}}" for name in columns)
    options = ("--model", "m", "--prompt", prompt, "-o", "out.jsonl")
    code, told = convert("t.parquet", *options, "--skip-invalid")
    assert code == ExitCode.OK, told
    first, second = asked()
    shown = '2019-04-14|1970-01-02 00:00:00|7.00|né|3|true|{"day": "2019-04-14", "n": 5}'
    assert first == ("row-2", shown)
    assert second == ("row-3", '||||||{"day": null, "n": null}')
    assert "row 4: error: A cell holds bytes that are not UTF-8. (not_text)" in told


def test_damaged_parquet_is_told_in_one_line(command: Command) -> None:
    file = io.BytesIO()
    write_parquet(Table.from_arrays([Array(["a"], DataType.utf8())], names=["text"]), file)
    whole = file.getvalue()
    (command.folder / "t.parquet").write_bytes(whole[:-60] + bytes(40) + whole[-20:])
    told = command.run("convert", "t.parquet", *PROMPT)
    assert told.returncode == ExitCode.BAD_INPUT
    assert "the Parquet file cannot be read" in told.stderr
    assert "panicked" not in told.stderr
