"""Providers without a batch API: the dispatcher makes the calls itself."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import pytest
from polybatch import Batch, BatchState, Client, ResultLine

from tests.support.e2e.direct_server import Server, ask
from tests.support.e2e.inputs import chat, check_answers, write
from tests.support.e2e.ledger import close_window
from tests.support.e2e.stories import check_waste, strike
from tests.support.e2e.suite import QUICK, Suite, wait_for

# Each needs a suite beside a server of its own, and some a death.
pytestmark = pytest.mark.long


def test_one_file_for_all_kinds_of_providers(suite: Suite, server: Server, tmp_path: Path) -> None:
    count = 1000
    lines = (ask(n, ("local", "paid")[n % 4 // 2]) if n % 4 < 3 else chat(n) for n in range(count))
    with suite.client() as client:
        batch = client.submit(write(tmp_path / "mixed.jsonl", lines))
        ended = client.wait(batch.id, timeout=60)
        assert ended.state == BatchState.COMPLETED
        assert ended.request_counts.succeeded == count
        answered = list(check_answers(client.results(batch.id), range(count)))
        assert all(line.ok for line in answered)
        assert {line.attempts for line in answered} == {1}
        manifest = client.manifest(batch.id)
    shards = Counter(shard.provider for shard in manifest.shards)
    assert shards["local"] == 2, "500 lines, 300 a shard"
    assert shards["paid"] == 1
    assert shards["openai"] + shards["anthropic"] == 1
    bill = server.bill
    assert (bill["lines_billed"], bill["extra_billings"]) == (750, 0)
    assert bill["calls"]["most_at_once"] <= 2 * 16, "two providers at one server"
    check_waste(bill)


def test_embeddings(suite: Suite, server: Server, tmp_path: Path) -> None:
    models = [("local", "local/bge-m3"), ("openai", "openai/text-embedding-3-small")]
    lines = [
        {
            "custom_id": f"line-{n}",
            "provider": models[n % 2][0],
            "method": "POST",
            "url": "/v1/embeddings",
            "body": {"model": models[n % 2][1], "input": [f"text {n}", "more"]},
        }
        for n in range(10)
    ]
    with suite.client() as client:
        batch = client.submit(write(tmp_path / "embeddings.jsonl", lines))
        ended = client.wait(batch.id, timeout=60)
        results = list(client.results(batch.id))
    assert ended.state == BatchState.COMPLETED
    assert [line.custom_id for line in results] == [f"line-{n}" for n in range(10)]
    for line in results:
        assert line.response is not None
        assert [len(item["embedding"]) for item in line.response.body["data"]] == [1536, 1536]
    assert server.bill["lines_billed"] == 5


def outcomes(lines: list[ResultLine]) -> Counter[str]:
    return Counter("ok" if line.ok else line.error.code if line.error else "?" for line in lines)


def status(line: ResultLine) -> int:
    return line.response.status_code if line.response else 0


def submit(client: Client, path: Path, count: int, provider: str) -> Batch:
    return client.submit(write(path, (ask(n, provider) for n in range(count))))


def finish(client: Client, batch: Batch, count: int) -> tuple[Batch, list[ResultLine]]:
    """Wait for the end; each line is in the results once, and answers its own question."""
    ended = client.wait(batch.id, timeout=100)
    return ended, list(check_answers(client.results(batch.id), range(count)))


@pytest.mark.parametrize(
    "options",
    [
        {"calls_at_once": 3, "call_seconds": 0.02, "call_retry_seconds": 0.2},
        {"calls_per_second": 60},
    ],
    ids=["at once", "a second"],
)
def test_a_server_that_refuses_what_is_too_much(
    suite: Suite, server: Server, tmp_path: Path, options: dict[str, float]
) -> None:
    count = 120
    server.set(**options)
    with suite.client() as client:
        batch = submit(client, tmp_path / "limited.jsonl", count, "paid")
        ended, lines = finish(client, batch, count)
    assert ended.state == BatchState.COMPLETED
    assert outcomes(lines) == {"ok": count}
    assert {line.attempts for line in lines} == {1}, "a refusal is no attempt"
    bill = server.bill
    assert (bill["lines_billed"], bill["extra_billings"]) == (count, 0)
    assert bill["calls"]["refused"] < count / 2, "and is not asked for again and again"
    check_waste(bill)


def test_progress_is_seen_while_the_lines_run(suite: Suite, server: Server, tmp_path: Path) -> None:
    count = 140
    server.set(call_seconds=0.4)
    with suite.client() as client:
        batch = submit(client, tmp_path / "progress.jsonl", count, "local")
        seen = list(client.watch(batch.id, timeout=100))
    processed = [snapshot.request_counts.processed for snapshot in seen]
    assert len({number for number in processed if 0 < number < count}) >= 2
    progress = [snapshot.progress_percent for snapshot in seen]
    assert progress == sorted(progress)
    assert {"running"} <= {shard.state for snapshot in seen for shard in snapshot.shards}


@pytest.mark.parametrize("provider", ["paid", pytest.param("local", marks=pytest.mark.long)])
@pytest.mark.timeout(180)
def test_a_killed_dispatcher(suite: Suite, server: Server, tmp_path: Path, provider: str) -> None:
    """What was under way is run again where it costs nothing, and reported where it may."""
    count = 350
    server.set(call_seconds=0.3)
    with suite.client() as client:
        batch = submit(client, tmp_path / "killed.jsonl", count, provider)
        for shown in client.watch(batch.id, timeout=100):
            if shown.request_counts.processed >= 60:
                break
        suite.kill("dispatcher")
        # Nobody goes on with the shards before the lease of the one that was killed is over.
        billed = server.bill["lines_billed"]
        ended, lines = finish(client, batch, count)
    assert ended.state == BatchState.COMPLETED
    found = outcomes(lines)
    bill = server.bill
    # What was shown as processed is kept; sixteen calls at most were under way.
    unkept = billed - shown.request_counts.processed + 16
    if provider == "paid":
        assert bill["extra_billings"] == 0, "nothing is paid twice"
        assert found["ok"] + found["result_missing"] == count
        # Of two shards one may have begun sixteen lines more, and not called them yet.
        assert 0 < found["result_missing"] <= unkept + 16
        assert count - found["result_missing"] <= bill["lines_billed"] <= count
    else:
        assert found == {"ok": count}
        assert bill["lines_billed"] == count + bill["extra_billings"]
        assert bill["extra_billings"] <= unkept


def test_a_dispatcher_that_is_stopped_loses_nothing(
    suite: Suite, server: Server, tmp_path: Path
) -> None:
    count = 200
    server.set(call_seconds=0.2)
    with suite.client() as client:
        batch = submit(client, tmp_path / "stopped.jsonl", count, "paid")
        server.wait_until_billed(50)
        before = suite.ready["pids"]["dispatcher"]
        os.kill(before, signal.SIGTERM)
        wait_for(lambda: suite.ready["pids"].get("dispatcher") != before, "a new dispatcher")
        ended, lines = finish(client, batch, count)
    assert ended.state == BatchState.COMPLETED
    assert outcomes(lines) == {"ok": count}
    bill = server.bill
    assert (bill["lines_billed"], bill["extra_billings"]) == (count, 0)


@pytest.mark.parametrize(
    ("provider", "faults", "billed"),
    [
        (
            "paid",
            [
                {"kind": "status", "status": 429, "retry_after": 0.5},
                {"kind": "status", "status": 503, "retry_after": 0.5},
                {"kind": "status", "status": 500},
                {"kind": "reset_after"},
                {"kind": "cut", "after_bytes": 20},
            ],
            0,
        ),
        (
            "local",
            [
                {"kind": "reset_before"},
                {"kind": "reset_after"},
                {"kind": "slow", "delay": float(QUICK["POLYBATCH_PROVIDER_TIMEOUT"]) + 2},
            ],
            2,
        ),
    ],
    ids=["paid", "local"],
)
def test_calls_that_go_wrong(
    suite: Suite,
    server: Server,
    tmp_path: Path,
    provider: str,
    faults: list[dict[str, Any]],
    billed: int,
) -> None:
    """`billed`: calls that were run once more, at a server where that costs nothing."""
    count = 40
    server.set(faults=strike("POST", ["^/v1/chat/completions$"], *faults))
    with suite.client() as client:
        batch = submit(client, tmp_path / "faults.jsonl", count, provider)
        ended, lines = finish(client, batch, count)
    assert ended.state == BatchState.COMPLETED
    left = httpx2.get(server.url + "/sandbox/config", timeout=10).json()["faults"]
    assert left == [], "every fault has come about"
    found = outcomes(lines)
    bill = server.bill
    assert (bill["lines_billed"], bill["extra_billings"]) == (count + billed, billed)
    if provider == "paid":
        # The answers to these two were lost after they had been paid for.
        assert found == {"ok": count - 2, "result_missing": 2}
        assert {line.attempts for line in lines if line.ok} <= {1, 2}
    else:
        assert found == {"ok": count}
        assert max(line.attempts for line in lines) > 1


def test_cancel(suite: Suite, server: Server, tmp_path: Path) -> None:
    count = 1000
    server.set(call_seconds=0.3)
    with suite.client() as client:
        batch = submit(client, tmp_path / "cancelled.jsonl", count, "paid")
        server.wait_until_billed(30)
        client.cancel_batch(batch.id)
        ended, lines = finish(client, batch, count)
    assert ended.state == BatchState.CANCELLED
    found = outcomes(lines)
    assert found["ok"] >= 30
    assert found["ok"] + found["batch_cancelled"] == count
    assert server.bill["lines_billed"] == found["ok"], "what was paid for is kept"
    assert ended.request_counts.succeeded == found["ok"]


def test_the_window_closes(suite: Suite, server: Server, tmp_path: Path) -> None:
    count = 1000
    server.set(call_seconds=0.3)
    with suite.client() as client:
        batch = submit(client, tmp_path / "late.jsonl", count, "paid")
        server.wait_until_billed(30)
        close_window(suite, batch.id)
        ended, lines = finish(client, batch, count)
    assert ended.state == BatchState.EXPIRED
    found = outcomes(lines)
    assert found["ok"] >= 30
    assert found["ok"] + found["batch_expired"] == count
    assert server.bill["lines_billed"] == found["ok"]


def test_lines_that_fail(suite: Suite, server: Server, tmp_path: Path) -> None:
    marks = {
        1: "[[sandbox:flaky=2]]",
        2: "[[sandbox:error=invalid]]",
        3: "[[sandbox:error=server]]",
        4: "[[sandbox:lost]]",
        5: "[[sandbox:garbage]]",
    }
    with suite.client() as client:
        for provider in ("paid", "local"):
            server.reset()
            path = tmp_path / f"{provider}.jsonl"
            lines = [ask(n, provider, marks.get(n)) for n in range(8)]
            ended, results = finish(client, client.submit(write(path, lines)), 8)
            assert ended.state == BatchState.COMPLETED
            assert [line.ok for line in results] == [True, True, *[False] * 4, True, True]
            assert [status(line) for line in results[:4]] == [200, 200, 400, 500]
            lost = {line.error.code for line in results[4:6] if line.error}
            assert lost == {"result_missing"}
            again = 1 if provider == "paid" else 4
            assert [line.attempts for line in results] == [1, 3, 1, 4, again, again, 1, 1]
            assert server.bill["extra_billings"] == 2 * (again - 1)


def test_a_server_that_is_away(suite: Suite, server: Server, tmp_path: Path) -> None:
    server.stop()
    with suite.client() as client:
        batch = submit(client, tmp_path / "away.jsonl", 20, "paid")
        for snapshot in client.watch(batch.id, timeout=60):
            reasons = [shard.waiting_reason for shard in snapshot.shards if shard.waiting_reason]
            if reasons:
                break
        # Of a call that was made, or that was not for what came of those before.
        assert reasons[0].startswith("paid: POST /chat/completions: ")
        assert "ConnectError" in reasons[0]
        server.start()
        ended, lines = finish(client, batch, 20)
    assert ended.state == BatchState.COMPLETED
    assert outcomes(lines) == {"ok": 20}
    assert {line.attempts for line in lines} == {1}
    assert server.bill["lines_billed"] == 20


def test_a_small_batch_need_not_wait_for_a_large_one(
    suite: Suite, server: Server, tmp_path: Path
) -> None:
    server.set(call_seconds=0.2)
    with suite.client() as client:
        large = submit(client, tmp_path / "large.jsonl", 3000, "local")
        server.wait_until_billed(20)
        states = {shard.state for shard in client.get_batch(large.id).shards}
        assert states == {"running", "queued"}
        small = submit(client, tmp_path / "small.jsonl", 20, "local")
        ended, lines = finish(client, small, 20)
        assert ended.state == BatchState.COMPLETED
        assert outcomes(lines) == {"ok": 20}
        assert client.get_batch(large.id).state == BatchState.IN_PROGRESS
        client.cancel_batch(large.id)
        client.wait(large.id, timeout=60)
