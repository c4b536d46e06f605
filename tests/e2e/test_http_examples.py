"""What the documentation shows of the HTTP API runs as it stands there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.e2e.suite import ROOT, Suite

PAGE = (ROOT / "docs/http-api.md").read_text()
README = (ROOT / "README.md").read_text()


def key_of(suite: Suite) -> str:
    return Path(suite.ready["api_key_file"]).read_text().strip()


def test_the_program_of_the_readme(suite: Suite, tmp_path: Path) -> None:
    programs = re.findall(r"```python\n(.*?)```", README, re.S)
    [program] = [each for each in programs if "OpenAI" in each]
    changed = program.replace("http://127.0.0.1:8080", suite.ready["web"]).replace(
        ".polybatch/api-key", suite.ready["api_key_file"]
    )
    assert changed.count("\n") == program.count("\n")
    done = subprocess.run(
        [sys.executable, "-c", changed], capture_output=True, text=True, timeout=90, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines() if line]
    assert [each["custom_id"] for each in answers] == ["question-1", "question-2"]
    assert all(each["response"]["status_code"] == 200 for each in answers)


@pytest.mark.parametrize(("sdk", "said"), [("OpenAI", '"b"'), ("Anthropic", "b ")])
@pytest.mark.long
def test_the_programs_of_the_sdks(suite: Suite, tmp_path: Path, sdk: str, said: str) -> None:
    programs = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    [program] = [each for each in programs if f"import {sdk}" in each]
    [lines] = re.findall(r"<<'LINES'\n(.*?)LINES", PAGE, re.S)
    (tmp_path / "requests.jsonl").write_text(lines)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", "-c", program],
        env={**suite.environment, "BASE": suite.ready["web"], "KEY": key_of(suite)},
        capture_output=True,
        text=True,
        timeout=90,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    *_, last = done.stdout.strip().splitlines()
    assert said in last


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.long
def test_the_calls_by_hand(suite: Suite, tmp_path: Path) -> None:
    script = "set -euo pipefail\n" + "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.S))
    done = subprocess.run(
        ["bash", "-c", script],
        env={**suite.environment, "BASE": suite.ready["web"], "KEY": key_of(suite)},
        capture_output=True,
        text=True,
        timeout=90,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = (tmp_path / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["custom_id"] for line in results] == ["a", "b"]
    [message] = (tmp_path / "messages.jsonl").read_text().splitlines()
    assert json.loads(message)["result"]["type"] == "succeeded"
    assert json.loads((tmp_path / "models.json").read_text())["data"]
    upload = json.loads((tmp_path / "upload.json").read_text())
    assert upload["file"]["bytes"] == (tmp_path / "requests.jsonl").stat().st_size
    assert '"deleted":true' in done.stdout
