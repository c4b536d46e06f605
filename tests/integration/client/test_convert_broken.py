"""`polybatch convert` of files that are no requests, or of a form that looks like one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from polybatch._convert.json_values import values
from polybatch._convert.records import Record
from polybatch.cli import ExitCode

from tests.support.client.command import Converting

LINES = [json.dumps({"custom_id": f"id-{n}", "body": {"n": n}}).encode() for n in range(3)]


BROKEN = {
    "cut off": b'{"custom_id": "x", ',
    "no JSON": b'{"custom_id": NaN}',
    "not UTF-8": b'{"custom_id": "\xff"}',
    "no object": b"[5]",
}


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv"])
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_line_is_refused_though_nothing_is_translated(
    convert: Converting, name: str, ending: str
) -> None:
    first, *others = LINES
    Path("in.jsonl").write_bytes(b"\n".join([first, b"", BROKEN[name], *others]))
    code, told = convert("in.jsonl", "-o", f"out.{ending}")
    assert code == ExitCode.BAD_INPUT
    assert "line 3: error: Not " in told
    assert "1 refused; nothing was written" in told
    assert [each.name for each in Path().iterdir()] == ["in.jsonl"]
    code, told = convert("in.jsonl", "-o", f"out.{ending}", "--skip-invalid")
    assert (code, "3 lines converted, 1 refused" in told) == (ExitCode.OK, True)
    assert convert(f"out.{ending}", "-o", "back.jsonl")[0] == ExitCode.OK
    assert Path("back.jsonl").read_bytes().splitlines() == LINES


def test_a_broken_item_of_an_array_is_refused(convert: Converting) -> None:
    Path("in.json").write_bytes(b'[{"a": 1}, {"b": }, {"n": %b}]' % (b"1" * 5_000))
    code, told = convert("in.json", "-o", "out.jsonl")
    assert (code, "item 2: error: Not JSON." in told) == (ExitCode.BAD_INPUT, True)
    assert convert("in.json", "--skip-invalid", "-o", "out.jsonl")[0] == ExitCode.OK
    assert Path("out.jsonl").read_bytes() == b'{"a": 1}\n{"n": %b}\n' % (b"1" * 5_000)


ITEMS = [{"custom_id": f"id-{n}", "params": {"model": "m", "stop_sequences": ["]}"]}} for n in "ab"]


@pytest.mark.parametrize("indent", [None, 2])
def test_the_body_of_a_call_is_unpacked(convert: Converting, indent: int | None) -> None:
    Path("in.json").write_text(json.dumps({"requests": ITEMS}, indent=indent) + "\n")
    code, told = convert("in.json", "-o", "out.jsonl")
    assert (code, "request body, 2 items converted" in told) == (ExitCode.OK, True), told
    assert [json.loads(line) for line in Path("out.jsonl").read_bytes().splitlines()] == ITEMS


def test_the_body_of_a_call_is_unpacked_from_any_chunks() -> None:
    body = json.dumps({"requests": ITEMS}, indent=1).encode()
    for size in (20, 21, 64, 1_000):
        chunks = iter([body[at : at + size] for at in range(0, len(body), size)])
        found = [each.line for each in values(chunks) if isinstance(each, Record)]
        assert [json.loads(line) for line in found] == ITEMS


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"requests": [{"a": 1}], "betas": 1}', 'the body holds more than "requests"'),
        ('{"requests": [{"a": 1}], "betas": ["b"]}', 'the body holds more than "requests"'),
        ('{"requests": [{"a": 1}]', "the JSON ends too early, behind item 1"),
        ('{"requests": [{"a": 1}]}}', "a bracket too many"),
        ('{"requests": [{"a": 1}]}\n{"a": 1}', "more follows behind the end of the array"),
        ('{"betas": [], "requests": [{"a": 1}]}', "line 1: error: requests: It holds requests"),
    ],
)
def test_a_body_with_more_in_it_is_refused(convert: Converting, body: str, said: str) -> None:
    Path("in.json").write_text(body)
    code, told = convert("in.json", "-o", "out.jsonl")
    assert (code, said in told) == (ExitCode.BAD_INPUT, True), told
    assert [each.name for each in Path().iterdir()] == ["in.json"]
