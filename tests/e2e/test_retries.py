"""What failed of a batch is run once more, and the family is one file: over real processes."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

from polybatch import ResultLine

from tests.support.e2e.inputs import chat, check_answers, write
from tests.support.e2e.suite import Suite


def test_what_failed_is_followed_and_run_once_more(suite: Suite, tmp_path: Path) -> None:
    path = write(tmp_path / "input.jsonl", (chat(number) for number in range(12)))
    refused = {"kind": "line", "outcome": "invalid", "provider": "openai", "count": 3}
    suite.sandbox("/sandbox/config", {"faults": [refused]})
    batch_id = suite.cli("submit", str(path), "--no-watch").stdout.strip()
    followed = suite.cli("results", batch_id, "--follow")
    assert followed.returncode == 0, followed.stderr
    came = followed.stdout.splitlines()
    final = suite.cli("results", batch_id).stdout.splitlines()
    assert sorted(came) == sorted(final), "each line once, as it is in the results"
    assert sum(json.loads(line)["error"] is not None for line in final) == 3

    retried = suite.cli("retry", batch_id, "--watch")
    assert retried.returncode == 0, retried.stderr
    child_id = retried.stdout.split()[0]
    again = suite.cli("retry", batch_id)
    assert "NOTHING_TO_RETRY" in again.stderr

    out = tmp_path / "merged.jsonl"
    done = suite.cli("results", batch_id, "--merged", "-o", str(out))
    assert done.returncode == 0, done.stderr
    merged = [ResultLine.parse(raw) for raw in out.read_bytes().splitlines()]
    assert all(line.ok for line in check_answers(merged, range(12)))
    assert [line.id for line in merged] == [f"{batch_id}-{number}" for number in range(1, 13)]
    with suite.client() as client:
        parent, child = client.get_batch(batch_id), client.get_batch(child_id)
        failed = [line for line in client.results(batch_id) if not line.ok]
        ids = [line.id.rpartition("-")[2] for line in client.results(child_id)]
    assert (parent.child_batch_ids, child.parent_batch_id) == ((child_id,), batch_id)
    assert ids == [line.id.rpartition("-")[2] for line in failed], "by the lines of the one file"
    assert parent.cost is not None
    assert parent.cost.family == sum((line.cost or Decimal() for line in merged), Decimal())
    bill = suite.sandbox("/sandbox/bill")
    assert (bill["lines_billed"], bill["extra_billings"]) == (12, 0)
