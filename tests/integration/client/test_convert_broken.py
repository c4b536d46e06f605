"""`polybatch convert` of files that are no requests, or of a form that looks like one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from polybatch.cli import ExitCode, main

Converting = Callable[..., tuple[int, str]]

LINES = [json.dumps({"custom_id": f"id-{n}", "body": {"n": n}}).encode() for n in range(3)]


@pytest.fixture
def convert(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Converting:
    """Runs the command in a folder of its own; gives the exit code and what stderr says."""
    monkeypatch.chdir(tmp_path)

    def convert(*arguments: str) -> tuple[int, str]:
        code = main(["convert", *arguments])
        return code, capfd.readouterr().err

    return convert


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
