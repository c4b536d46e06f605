"""OpenAI's SDK for Node.js against the running suite. It sends the fields of a form as they
get ready, in any order."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.e2e.suite import ROOT, Suite

FOLDER = ROOT / "tests/support/web/node"


@pytest.mark.long
def test_a_batch_from_node(suite: Suite) -> None:
    node = shutil.which("node")
    if node is None or not (FOLDER / "node_modules/openai").is_dir():
        missing = "Node.js is missing" if node is None else "run make node-packages first"
        if os.environ.get("CI"):
            pytest.fail(f"{missing} (CI must have it)", pytrace=False)
        pytest.skip(missing)
    version = subprocess.run([node, "--version"], capture_output=True, text=True).stdout
    if int(version.lstrip("v").partition(".")[0]) < 20:
        pytest.skip(f"OpenAI's SDK needs Node.js 20; this is {version.strip()}")
    key = Path(suite.ready["api_key_file"]).read_text().strip()
    example = ROOT / "examples/chat-mixed.jsonl"
    done = subprocess.run(
        [node, FOLDER / "batch.mjs", f"{suite.ready['web']}/v1", key, example],
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line)["custom_id"] for line in done.stdout.splitlines()]
    assert found == [f"request-{number}" for number in range(1, 5)]
