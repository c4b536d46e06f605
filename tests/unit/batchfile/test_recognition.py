"""A file that holds no JSON lines has one problem, which names what it is."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator

import pytest

from core.batchfile import LineScanner, Problem, Rules, Scanned

MakeLine = Callable[..., bytes]

RULES = Rules({"openai": frozenset({"/v1/chat/completions"})})
LINE = '{"custom_id": "a", "method": "POST", "body": {"model": "m"}}\n'
PRETTY = json.dumps(json.loads(LINE), indent=2)
BIG = 40_000

NO_LINES = {
    "gzip": (gzip.compress(LINE.encode()), "gzip"),
    "zstd": (b"\x28\xb5\x2f\xfd\x04\x00", "zstd"),
    "bzip2": (b"BZh91AY&SY", "bzip2"),
    "xz": (b"\xfd7zXZ\x00\x00", "xz"),
    "zip": (b"PK\x03\x04\x14\x00", "zip"),
    "Parquet": (b"PAR1\x15\x04", "Parquet"),
    "UTF-16 with a mark": (LINE.encode("utf-16"), "UTF-16"),
    "UTF-16 without": (LINE.encode("utf-16-le"), "UTF-16"),
    "UTF-16, the other way round": (LINE.encode("utf-16-be"), "UTF-16"),
    "UTF-32 with a mark": (LINE.encode("utf-32"), "UTF-32"),
    "UTF-32 without": (LINE.encode("utf-32-be"), "UTF-32"),
    "an array": (f"[{LINE},{LINE}]".encode(), "JSON array"),
    "an array over lines": (f"[\n  {PRETTY},\n{PRETTY}]\n".encode(), "JSON array"),
    "an array whose first line is long": (b'[{"a": "' + b"x" * BIG + b'"}]', "JSON array"),
    "an array after a mark": (b"\xef\xbb\xbf\n [ \n{}]", "JSON array"),
    "pretty-printed": (PRETTY.encode(), "pretty-printed"),
    "pretty-printed, with CRLF": (PRETTY.replace("\n", "\r\n").encode(), "pretty-printed"),
    "pretty-printed in another way": (b'{"body":{"m":1},\n"custom_id":"a"}', "pretty-printed"),
    "pretty-printed and long": (PRETTY.encode() * 500, "pretty-printed"),
    "CSV": (b"id,prompt\n1,Hello\n2,Bye\n", "CSV"),
    "CSV with quotes": (b'id,"my text"\n1,"Hello,\nyou"\n2,Bye\n', "CSV"),
    "CSV from another country": ("id;größe\n1;2\n".encode("latin-1"), "CSV"),
    "tabs": (b"id\tprompt\n1\tHello\n", "CSV"),
}
LINES = {
    "lines": LINE * 3,
    "a mark": "\ufeff" + LINE,
    "blank lines": "\n \n" + LINE,
    "a list in a line": "[1]\n" + LINE,
    "a comma after each": LINE.replace("\n", ",\n") * 2,
    "a line cut short": LINE[:30] + "\n" + LINE,
    "a text": "Hello, world.\n",
    "a sentence before the lines": "Here you are, as promised:\n" + LINE,
    "a long line": '{"custom_id": "' + "a" * BIG + '"}\n',
    "nothing": "",
}


def scan(content: bytes, chunk: int) -> tuple[list[Problem], int, int]:
    scanner = LineScanner(RULES, max_line_bytes=100_000, max_lines=100_000)
    pieces = (content[at : at + chunk] for at in range(0, len(content), chunk))
    parts: Iterator[Scanned] = (part for piece in pieces for part in scanner.feed(piece))
    problems = [problem for part in parts for problem in part.problems]
    last, summary = scanner.finish()
    return problems + last.problems, summary.line_count, summary.bytes


@pytest.mark.parametrize("name", NO_LINES)
def test_what_holds_no_lines_is_named_once(name: str) -> None:
    content, kind = NO_LINES[name]
    for chunk in (1 << 20, 5_000, 7):
        [problem], line_count, size = scan(content, chunk)
        assert (problem.line, problem.field, problem.reason) == (0, "", "not_json_lines")
        assert kind in problem.message
        packed = "compressed" in problem.message
        step = "unpack it first; `polybatch submit FILE`" if packed else "`polybatch convert FILE"
        assert step in problem.message
        assert (line_count, size) == (0, len(content))


@pytest.mark.parametrize("name", LINES)
def test_lines_are_told_of_one_by_one(name: str) -> None:
    content = LINES[name].encode()
    whole, *others = (scan(content, chunk) for chunk in (1 << 20, 5_000, 7))
    assert all(problem.line for problem in whole[0])
    assert bool(whole[1]) == bool(content)
    assert others == [whole, whole]


def test_a_good_line_is_not_waited_with(rules: Rules, chat: MakeLine) -> None:
    scanner = LineScanner(rules, max_line_bytes=10_000, max_lines=10)
    assert [part.index for part in scanner.feed(chat("a") + b"\n")] != []
