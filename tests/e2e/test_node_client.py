"""The main job from another language: the Node.js client against the running suite."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.client.node_program import run_node
from tests.support.e2e.inputs import chat, write
from tests.support.e2e.stories import check_bill
from tests.support.e2e.suite import ROOT, Suite


def submit(suite: Suite, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    ready = suite.ready
    environment = suite.environment | {
        "POLYBATCH_GATEWAY": ready["gateway"],
        "POLYBATCH_COLLECTOR": ready["collector"],
        "POLYBATCH_DATA_DIR": str(Path(ready["api_key_file"]).parent),
    }
    return run_node(*map(str, arguments), environment=environment)


def test_mixed_chat(suite: Suite, tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    done = submit(suite, ROOT / "examples/chat-mixed.jsonl", out)
    assert done.returncode == 0, done.stderr
    assert "Completed (completed), 100 %, 4 of 4 lines" in done.stderr
    with suite.client() as client:
        found = list(client.results(done.stdout.strip()))
    assert out.read_bytes() == b"".join(line.raw + b"\n" for line in found)
    assert [line.custom_id for line in found] == [f"request-{n}" for n in range(1, 5)]
    assert all(line.ok for line in found)
    check_bill(suite, 4)


def test_bad_lines_are_named_and_can_be_skipped(suite: Suite, tmp_path: Path) -> None:
    path = write(tmp_path / "bad.jsonl", [chat(1), "not json", chat(3, n=2), chat(4)])
    out = tmp_path / "results.jsonl"
    refused = submit(suite, path, out)
    assert refused.returncode == 2
    assert "(INVALID_LINES)" in refused.stderr
    assert "\n  line 2: not JSON" in refused.stderr
    assert "\n  line 3: body.n: " in refused.stderr
    assert "--lenient takes 1 of them" in refused.stderr
    assert not out.exists()
    assert suite.sandbox("/sandbox/bill")["lines_billed"] == 0
    skipped = submit(suite, "--lenient", "--skip-invalid", path, out)
    assert skipped.returncode == 3, skipped.stderr
    assert "4 of 4 lines, 1 failed" in skipped.stderr
    assert len(out.read_bytes().splitlines()) == 4
