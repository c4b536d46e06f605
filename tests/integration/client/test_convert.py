"""`polybatch convert`, in this process: from any container, into any other, streamed."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import sys
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from arro3.core import Array, DataType, Table
from arro3.io import write_parquet
from polybatch._convert import Template, open_content
from polybatch._convert.json_values import values
from polybatch._convert.records import Record
from polybatch._operations.compression import zstd_module
from polybatch.cli import ExitCode, main

from tests.support.client.command import Converting
from tests.support.client.fake_service import FakePolybatch
from tests.support.client.fault import Fault

zstd = zstd_module()


def request(number: int, text: str = 'Grüße, 世界 \u2028 {"}') -> dict[str, Any]:
    body = {"model": "openai/gpt-4.1", "messages": [{"role": "user", "content": text}]}
    return {"custom_id": f"id-{number}", "method": "POST", "url": "/v1/chat/completions"} | {
        "body": body
    }


REQUESTS = [request(number) for number in range(1, 4)]
LINES = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in REQUESTS).encode()
CHAT = {"method": "POST", "url": "/v1/chat/completions"}


def zipped(**files: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def parquet(**columns: list[str]) -> bytes:
    file = io.BytesIO()
    arrays = [Array(cells, DataType.utf8()) for cells in columns.values()]
    write_parquet(Table.from_arrays(arrays, names=list(columns)), file)
    return file.getvalue()


CONTAINERS = {
    "lines": LINES,
    "lines with CRLF and blank ones": b"\r\n" + LINES.replace(b"\n", b"\r\n\r\n"),
    "a mark": b"\xef\xbb\xbf" + LINES,
    "gzip": gzip.compress(LINES),
    "zstd": zstd.compress(LINES),
    "xz": lzma.compress(LINES),
    "zip": zipped(requests=LINES),
    "UTF-16": LINES.decode().encode("utf-16"),
    "UTF-16 without a mark": LINES.decode().encode("utf-16-be"),
    "UTF-32": LINES.decode().encode("utf-32"),
    "gzip in gzip": gzip.compress(gzip.compress(LINES)),
    "UTF-16 in gzip": gzip.compress(LINES.decode().encode("utf-16")),
    "an array": json.dumps(REQUESTS).encode(),
    "an array over lines": json.dumps(REQUESTS, indent=4, ensure_ascii=False).encode(),
    "pretty-printed": "\n".join(json.dumps(each, indent=2) for each in REQUESTS).encode(),
    "Parquet": parquet(
        custom_id=[each["custom_id"] for each in REQUESTS],
        method=["POST"] * 3,
        url=[each["url"] for each in REQUESTS],
        body=[json.dumps(each["body"]) for each in REQUESTS],
    ),
}


def rows(path: str | Path) -> list[Any]:
    return [json.loads(line) for line in Path(path).read_bytes().splitlines()]


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_is_read_without_a_service(convert: Converting, name: str) -> None:
    Path("in").write_bytes(CONTAINERS[name])
    code, told = convert("in", "-o", "out.jsonl")
    assert code == ExitCode.OK, told
    assert rows("out.jsonl") == REQUESTS
    assert "3 " in told


@pytest.mark.parametrize(
    "ending", ["jsonl", "jsonl.gz", "jsonl.zst", "json", "csv", "tsv.xz", "json.bz2"]
)
def test_every_container_is_written_and_read_back(convert: Converting, ending: str) -> None:
    Path("in.jsonl").write_bytes(LINES)
    assert convert("in.jsonl", "-o", f"out.{ending}")[0] == ExitCode.OK
    assert convert(f"out.{ending}", "-o", "back.jsonl")[0] == ExitCode.OK
    assert rows("back.jsonl") == REQUESTS
    assert sorted(each.name for each in Path().iterdir()) == [
        "back.jsonl",
        "in.jsonl",
        f"out.{ending}",
    ]


def test_json_is_not_written_anew(convert: Converting) -> None:
    Path("in.json").write_bytes(
        b'[\n  {"a":  1.00,\n   "b": [1e400,\n "x\\n\\"]}", {}]}\n'
        b',\r\n{"a": 12345678901234567890}\n]\n'
    )
    assert convert("in.json", "-o", "out.jsonl")[0] == ExitCode.OK
    assert Path("out.jsonl").read_bytes() == (
        b'{"a":  1.00,"b": [1e400,"x\\n\\"]}", {}]}\n{"a": 12345678901234567890}\n'
    )


def test_values_do_not_depend_on_the_chunks() -> None:
    array = json.dumps([*REQUESTS, 5, "no, no", []], indent=1).encode()

    def shown(size: int) -> list[Any]:
        chunks = iter([array[at : at + size] for at in range(0, len(array), size)])
        return [
            each.line if isinstance(each, Record) else (each.number, each.message)
            for each in values(chunks)
        ]

    whole = shown(1 << 20)
    assert [json.loads(each) for each in whole[:3]] == REQUESTS
    assert [each[0] for each in whole[3:5]] == [4, 5]
    assert json.loads(whole[5]) == []
    assert all(shown(size) == whole for size in (1, 2, 7, 100))


def test_a_table_of_prompts_becomes_lines(convert: Converting) -> None:
    Path("t.csv").write_text('name;my text\nAnn;"Hello;\n""you"""\nBob;{x}\n', encoding="cp1252")
    options = ["--prompt", "{{Sum}}: {my text}", "--system", "To {name}", "--model", "m"]
    code, _ = convert(
        "t.csv", *options, "--provider", "openai", "--max-tokens", "9", "-o", "o.jsonl"
    )
    assert code == ExitCode.OK
    first, second = rows("o.jsonl")
    assert first == {"custom_id": "row-2", "provider": "openai"} | CHAT | {
        "body": {
            "model": "m",
            "messages": [
                {"role": "system", "content": "To Ann"},
                {"role": "user", "content": '{Sum}: Hello;\n"you"'},
            ],
            "max_completion_tokens": 9,
        }
    }
    assert second["body"]["messages"][1]["content"] == "{Sum}: {x}"
    code, _ = convert("t.csv", "--prompt", "{name}", "--model", "e", "--embeddings", "--id-column")
    assert code == ExitCode.BAD_INPUT
    options = ["--prompt", "{name}", "--model", "e", "--embeddings", "--id-column", "name"]
    assert convert("t.csv", *options, "-o", "e.jsonl")[0] == ExitCode.OK
    assert rows("e.jsonl")[0] == {
        "custom_id": "Ann",
        "method": "POST",
        "url": "/v1/embeddings",
        "body": {"model": "e", "input": "Ann"},
    }


def test_parquet_of_prompts_becomes_lines(convert: Converting) -> None:
    Path("t").write_bytes(gzip.compress(parquet(custom_id=["x", "y"], text=["1", "2"])))
    assert convert("t", "--prompt", "{text}?", "--model", "m", "-o", "o.jsonl")[0] == ExitCode.OK
    assert [
        (each["custom_id"], each["body"]["messages"][0]["content"]) for each in rows("o.jsonl")
    ] == [
        ("x", "1?"),
        ("y", "2?"),
    ]


UNUSABLE = {
    "no template": (b"id,text\n1,x\n", [], "--prompt"),
    "no model": (b"id,text\n1,x\n", ["--prompt", "{text}"], "--model"),
    "no such column": (b"id,text\n1,x\n", ["--prompt", "{txt}", "--model", "m"], "id, text"),
    "a bad template": (b"id,text\n1,x\n", ["--prompt", "{text", "--model", "m"], "{{"),
    "a template for lines": (LINES, ["--prompt", "x"], "is for tables"),
    "an unknown encoding": (LINES, ["--encoding", "x"], "no encoding x"),
    "another encoding": (
        "a,b\nä,ö\n".encode("cp1252"),
        ["--prompt", "{a}", "--model", "m"],
        "cp1252",
    ),
    "CSV that ends in a quote": (b'a,b\n1,"x\n', ["--prompt", "{a}", "--model", "m"], "row 2"),
    "an array cut short": (b'[{"a": 1}, {"b": ', [], "item 1"),
    "a line break in a text": (b'{\n"a": "x\ny"}', [], "line break"),
    "a bracket too many": (b'{"a":\n1}}', [], "bracket too many"),
    "gzip cut short": (gzip.compress(LINES)[:-9], [], "too early"),
    "two files in a zip": (zipped(a=b"1", b=b"2"), [], "2 files"),
    "a spreadsheet": (zipped(**{"[Content_Types].xml": b"", "x": b""}), [], "spreadsheet"),
    "damaged Parquet": (b"PAR1" + bytes(50) + b"PAR1", [], "Parquet"),
    "Parquet cut short": (parquet(a=["1"])[:-5], [], "cut short"),
    "UTF-16 cut short": (LINES.decode().encode("utf-16")[:-1], [], "utf-16"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_cannot_be_read_writes_nothing_and_says_why(convert: Converting, name: str) -> None:
    content, options, expected = UNUSABLE[name]
    Path("in").write_bytes(content)
    code, told = convert("in", *options, "-o", "out.jsonl")
    assert code == ExitCode.BAD_INPUT, told
    assert expected in told
    assert [each.name for each in Path().iterdir()] == ["in"]


def test_what_would_be_lost_is_refused_by_line_and_field(
    convert: Converting, served: FakePolybatch, capfd: pytest.CaptureFixture[str]
) -> None:
    lossy = request(2) | {"body": request(2)["body"] | {"n": 2}}
    bad = [request(1), lossy, {"custom_id": "odd"}, request(4)]
    Path("in.json").write_text(json.dumps(bad))
    to_claude = ["in.json", "--to", "anthropic", "--model", "claude-sonnet-4-5", "-o", "out.jsonl"]
    code, told = convert(*to_claude)
    assert code == ExitCode.BAD_INPUT
    assert "item 2: error: id-2: body.n: There is no equivalent. (unsupported_parameter)" in told
    assert "item 3: error: odd" in told
    assert "2 refused; nothing was written" in told
    assert "--lenient takes 1 of them" in told
    assert not Path("out.jsonl").exists()
    code, told = convert(*to_claude, "--lenient", "--skip-invalid")
    assert code == ExitCode.OK
    assert "item 2: left out: id-2: body.n" in told
    assert [each["custom_id"] for each in rows("out.jsonl")] == ["id-1", "id-2", "id-4"]
    assert rows("out.jsonl")[0]["params"]["model"].startswith("claude-sonnet-4-5")
    assert main(["convert", *to_claude, "--json"]) == ExitCode.BAD_INPUT
    first, _, summary = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert (first["line"], first["field"], first["severity"]) == (2, "body.n", "error")
    assert (summary["refused"], summary["written"]) == (2, 0)


def test_what_all_lines_have_is_told_once(convert: Converting, served: FakePolybatch) -> None:
    Path("in.jsonl").write_text("\n".join(json.dumps(request(n)) for n in range(1_500)))
    code, told = convert("in.jsonl", "--to", "anthropic", "-o", "out.jsonl")
    assert code == ExitCode.BAD_INPUT
    assert told.count("no model of anthropic") == 2
    assert "line 1: error: id-0: body.model" in told
    assert "the same 1,499 times more" in told


@pytest.mark.long
def test_lines_go_there_and_back_in_groups_over_a_break(
    convert: Converting, served: FakePolybatch
) -> None:
    many = [request(number) | {"provider": "anthropic"} for number in range(2_500)]
    for each in many:
        each["body"] = each["body"] | {"model": "claude-sonnet-4-5-20250929", "max_tokens": 9}
    many[1]["body"]["messages"][0]["content"] = "x" * 1_500_000
    Path("in.jsonl").write_text("\n".join(map(json.dumps, many)))
    served.faults["ConvertLines"].append(Fault())
    assert convert("in.jsonl", "--to", "anthropic", "-o", "c.jsonl.gz")[0] == ExitCode.OK
    firsts = [spec.first_line for name, spec in served.calls if name == "ConvertLines"]
    assert firsts == [1, 1, 2, 3, 1003, 2003]
    code, told = convert("c.jsonl.gz", "--to", "openai", "-o", "back.jsonl")
    assert code == ExitCode.OK, told
    for each in many:
        each["body"]["max_completion_tokens"] = each["body"].pop("max_tokens")
    assert rows("back.jsonl") == many


def test_a_line_that_is_too_long_for_the_service_is_refused_alone(
    convert: Converting, served: FakePolybatch
) -> None:
    long = request(2, "x" * 2_100_000)
    Path("in.jsonl").write_text("\n".join(map(json.dumps, [request(1), long, request(3)])))
    code, told = convert("in.jsonl", "--model", "gpt-4.1", "--skip-invalid", "-o", "out.jsonl")
    assert code == ExitCode.OK
    assert "line 2: error: It has 2,1" in told
    assert [each["custom_id"] for each in rows("out.jsonl")] == ["id-1", "id-3"]


def test_stdin_and_stdout(
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(zstd.compress(LINES)))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert main(["convert", "-"]) == ExitCode.OK
    assert capfdbinary.readouterr().out == LINES


LONG = b"x" * 3_000


class Endless(io.RawIOBase):
    """So many copies of some bytes, between a beginning and an end."""

    def __init__(self, begin: bytes, piece: bytes, count: int, end: bytes = b"") -> None:
        self._pieces = self._all(begin, piece, count, end)

    def read(self, _size: int = -1) -> bytes:
        return next(self._pieces, b"")

    def _all(self, begin: bytes, piece: bytes, count: int, end: bytes) -> Iterator[bytes]:
        yield begin + piece
        for _ in range(count):
            yield piece
        yield end


@pytest.mark.parametrize(
    ("begin", "piece", "end"),
    [
        (b"", b'{"body": "%b"}\n' % LONG * 100, b""),
        (b'[\n{"body": "x"}\n', b',{\n"body": "%b"}\n' % LONG * 100, b"]"),
        (b"body\n", b'"""%b"""\n' % LONG * 100, b""),
    ],
    ids=["lines", "an array", "CSV"],
)
def test_a_large_file_takes_no_more_memory(begin: bytes, piece: bytes, end: bytes) -> None:
    def peak(count: int) -> tuple[int, int]:
        tracemalloc.start()
        try:
            with open_content(Endless(begin, piece, count, end), Template()) as read:  # type: ignore[arg-type]
                seen = sum(1 for _ in read.records)
            return seen, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    (few, small), (many, large) = peak(2), peak(20)
    assert many - few == 18 * 100
    assert large < small + 200_000
