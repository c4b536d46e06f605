"""Lines that ask the same are run once, within a batch and across those of an account."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from polybatch import Batch, BatchState, Client

from tests.support.e2e.inputs import write
from tests.support.e2e.suite import Suite

MODELS = ("openai/gpt-4.1-mini", "anthropic/claude-haiku-4-5")


def line(custom_id: str, word: str, model: str = MODELS[0], **body: Any) -> dict[str, Any]:
    return {
        "custom_id": custom_id,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "model": model,
            "max_tokens": 50,
            "messages": [{"role": "user", "content": f"Say {word}"}],
            **body,
        },
    }


def run(client: Client, path: Path, reuse: timedelta) -> Batch:
    batch = client.submit(path, reuse_answers=reuse, skip_invalid_lines=True)
    return client.wait(batch.id, timeout=100)


def raw_results(client: Client, batch: Batch, path: Path) -> list[dict[str, Any]]:
    client.download_results(batch.id, path)
    return [json.loads(each) for each in path.read_text().splitlines()]


def test_equal_lines_are_run_once(suite: Suite, tmp_path: Path) -> None:
    words = ["one", "two", "one", "three", "two", "one"]
    lines = [
        line(f"{model[:2]}-{number}", word, model)
        for model in MODELS
        for number, word in enumerate(words)
    ]
    # The same with its keys in another order, and one that only looks like it.
    turned = line("turned", "one")
    turned["body"] = dict(reversed(turned["body"].items()))
    lines += [turned, line("warm", "one", temperature=0.5), {"custom_id": "bad"}]
    first_file = write(tmp_path / "first.jsonl", lines)
    with suite.client() as client:
        first = run(client, first_file, timedelta(0))
        assert first.state == BatchState.COMPLETED
        assert (first.request_counts.succeeded, first.request_counts.failed) == (14, 1)
        assert first.reused_line_count == 7
        assert suite.sandbox("/sandbox/bill")["lines_billed"] == 7
        results = raw_results(client, first, tmp_path / "first.out")
        assert [each["custom_id"] for each in results] == [each["custom_id"] for each in lines]
        by_id = {each["custom_id"]: each for each in results}
        for model in MODELS:
            for number, word in enumerate(words):
                one = by_id[f"{model[:2]}-{number}"]
                source = by_id[f"{model[:2]}-{words.index(word)}"]
                assert one["response"] == source["response"]
                assert one.get("reused_from") == (source["id"] if one is not source else None)
                assert bool(one["cost"]) == bool(one["attempts"]) == (one is source)
        assert by_id["turned"]["reused_from"] == by_id["op-0"]["id"]
        assert "reused_from" not in by_id["warm"]
        assert first.cost is not None
        charged = sum(Decimal(str(each["cost"])) for each in results if each["cost"])
        assert first.cost.so_far == charged
        assert first.cost.saved is not None

        # Another file takes what this one ran, and runs what is new; a day without it takes none.
        second_file = write(
            tmp_path / "second.jsonl",
            [line("a", "two"), line("b", "four"), line("c", "two"), line("d", "two", MODELS[1])],
        )
        second = run(client, second_file, timedelta(days=1))
        assert (second.request_counts.succeeded, second.reused_line_count) == (4, 3)
        assert suite.sandbox("/sandbox/bill")["lines_billed"] == 8
        lent = {each["custom_id"]: each for each in raw_results(client, second, tmp_path / "2.out")}
        assert lent["a"]["reused_from"] == lent["c"]["reused_from"] == by_id["op-1"]["id"]
        assert lent["a"]["response"] == by_id["op-1"]["response"]
        assert lent["d"]["reused_from"] == by_id["an-1"]["id"]
        third = run(client, second_file, timedelta(0))
        assert third.reused_line_count == 1
        # All of it is there: nothing is sent, and the batch ends by its planning.
        fourth = run(client, second_file, timedelta(days=30))
        assert (fourth.state, fourth.reused_line_count) == (BatchState.COMPLETED, 4)
        assert suite.sandbox("/sandbox/bill")["lines_billed"] == 11


def test_equal_lines_share_a_failure_and_a_cancel(suite: Suite, tmp_path: Path) -> None:
    suite.reset_sandbox(batch_seconds=3600)
    lines = [line(f"line-{number}", "same") for number in range(5)]
    with suite.client() as client:
        batch = client.submit(write(tmp_path / "lines.jsonl", lines), reuse_answers=timedelta(0))
        for snapshot in client.watch(batch.id, timeout=100):
            if snapshot.request_counts.submitted == 1:
                assert snapshot.request_counts.queued == 4
                client.cancel_batch(batch.id)
        ended = client.get_batch(batch.id)
        assert ended.state == BatchState.CANCELLED
        assert ended.request_counts.cancelled == 5
        [code] = {each["error"]["code"] for each in raw_results(client, ended, tmp_path / "out")}
        assert code == "batch_cancelled"
