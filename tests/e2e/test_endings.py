"""Batches that end otherwise: cancelled, expired, failed lines, confused providers."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from polybatch import BatchState

from tests.support.e2e.inputs import chat, check_answers, write
from tests.support.e2e.stories import check_bill, see_retries
from tests.support.e2e.suite import Suite, wait_for

# They wait for windows, limits and retries.
pytestmark = pytest.mark.long


def test_cancel_in_the_middle(suite: Suite, tmp_path: Path) -> None:
    suite.reset_sandbox(batch_seconds=3600)
    path = write(tmp_path / "slow.jsonl", (chat(n) for n in range(200)))
    with suite.client() as client:
        batch = client.submit(path)
        for snapshot in client.watch(batch.id, timeout=60):
            if snapshot.request_counts.submitted == 200:
                break
        assert client.cancel_batch(batch.id).state == BatchState.CANCELLING
        assert client.cancel_batch(batch.id).id == batch.id, "asking twice is no error"
        ended = client.wait(batch.id, timeout=60)
        assert ended.state == BatchState.CANCELLED
        lines = list(check_answers(client.results(batch.id), range(200)))
    codes = Counter(line.error.code if line.error else "ok" for line in lines)
    assert codes["batch_cancelled"] + codes["ok"] == 200
    assert ended.request_counts.cancelled == codes["batch_cancelled"]
    assert ended.request_counts.failed == 0
    done = suite.cli("get", batch.id)
    assert f"{codes['batch_cancelled']} cancelled" in done.stdout


def test_cancel_before_anything_is_sent(suite: Suite, tmp_path: Path) -> None:
    suite.reset_sandbox(faults=[{"kind": "status", "status": 503}])
    path = write(tmp_path / "unsent.jsonl", (chat(n) for n in range(10)))
    with suite.client() as client:
        batch = client.submit(path)
        client.cancel_batch(batch.id)
        suite.reset_sandbox()
        ended = client.wait(batch.id, timeout=60)
        assert ended.state == BatchState.CANCELLED
        lines = list(client.results(batch.id))
    assert {line.error.code for line in lines if line.error} <= {"batch_cancelled"}
    assert len(lines) == 10


def test_the_window_closes(suite: Suite, tmp_path: Path) -> None:
    suite.reset_sandbox(batch_seconds=3600)
    path = write(tmp_path / "late.jsonl", (chat(n) for n in range(50)))
    with suite.client() as client:
        batch = client.submit(path, completion_window=timedelta(seconds=3))
        ended = client.wait(batch.id, timeout=60)
        assert ended.state == BatchState.EXPIRED
        assert ended.display_state == "Failed"
        lines = list(check_answers(client.results(batch.id), range(50)))
    codes = Counter(line.error.code if line.error else "ok" for line in lines)
    assert codes["batch_expired"] == ended.request_counts.expired > 0
    assert set(codes) <= {"batch_expired", "ok"}


def test_lines_that_fail_for_a_transient_reason_are_sent_again(
    suite: Suite, tmp_path: Path
) -> None:
    suite.reset_sandbox(batch_seconds=3600)
    lines = [chat(n, "[[sandbox:flaky=2]]" if n < 4 else None) for n in range(20)]
    look, snapshots = see_retries(suite, 20), []
    with suite.client() as client:
        batch = client.submit(write(tmp_path / "flaky.jsonl", lines))
        for snapshot in client.watch(batch.id, timeout=60):
            snapshots.append(snapshot)
            look(snapshot)
        assert snapshots[-1].state == BatchState.COMPLETED
        assert any(snapshot.request_counts.retrying for snapshot in snapshots)
        results = list(check_answers(client.results(batch.id), range(20)))
    assert all(line.ok for line in results)
    assert [line.attempts for line in results] == [3] * 4 + [1] * 16


def test_lines_that_fail_for_good_are_explained(suite: Suite, tmp_path: Path) -> None:
    lines = [chat(n, "[[sandbox:error=invalid]]" if n in (3, 4) else None) for n in range(8)]
    path = write(tmp_path / "failing.jsonl", lines)
    done = suite.cli("submit", str(path), "-o", str(tmp_path / "out.jsonl"))
    assert done.returncode == 3, done.stderr
    with suite.client() as client:
        batch = next(iter(client.list_batches()))
        failures = list(client.failures(batch.id))
        results = list(check_answers(client.results(batch.id), range(8)))
        causes = client.failure_causes(batch.id).causes
        of_second = list(client.failures(batch.id, cause_id=causes[1].id))
    assert [(failure.line, failure.status_code) for failure in failures] == [(4, 400), (5, 400)]
    assert all(failure.code and failure.message for failure in failures)
    # The two lines are of two providers.
    assert [(each.line_count, each.share, each.first_lines) for each in causes] == [
        (1, 0.5, (4,)),
        (1, 0.5, (5,)),
    ]
    assert [each.provider for each in causes] == [lines[3]["provider"], lines[4]["provider"]]
    assert all(each.hint for each in causes)
    assert of_second == failures[1:]
    assert [line.ok for line in results] == [n not in (3, 4) for n in range(8)]


def test_a_refused_key_is_explained(suite: Suite, tmp_path: Path) -> None:
    suite.reset_sandbox(
        faults=[
            {"kind": "status", "status": 401, "provider": "openai", "method": "POST"},
        ]
    )
    with suite.client() as client:
        path = write(tmp_path / "refused.jsonl", (chat(n) for n in range(10)))
        batch = client.submit(path, fail_fast=True)
        ended = client.wait(batch.id, timeout=60)
        suite.reset_sandbox()
        failures = list(client.failures(batch.id))
    assert ended.request_counts.failed == 5
    assert len(failures) == 5
    assert all(failure.code for failure in failures)
    wait_for(lambda: suite.supervisor.poll() is None, "the suite to be alive")


@pytest.mark.parametrize("model", ["openai/gpt-4.1-mini", "gemini/gemini-3.1-flash"])
def test_the_enqueued_token_limit_only_slows_a_batch_down(
    model: str, suite: Suite, tmp_path: Path
) -> None:
    """Learned from a refusal, then obeyed: the shards are cut and go one after another."""
    suite.reset_sandbox(enqueued_token_limit=4000, batch_seconds=0.3)
    # A model of its own: what is learned of it holds for a day.
    lines = [chat(2 * n, "word " * 100) for n in range(100)]
    for line in lines:
        line["body"]["model"] = model
        line["provider"] = model.partition("/")[0]
    with suite.client() as client:
        batch = client.submit(write(tmp_path / "tokens.jsonl", lines))
        reasons: set[str] = set()
        for snapshot in client.watch(batch.id, timeout=110):
            reasons.update(shard.waiting_reason for shard in snapshot.shards)
        assert snapshot.state == BatchState.COMPLETED
        assert snapshot.request_counts.succeeded == 100
        assert any("enqueued" in reason for reason in reasons), "the wait says why"
        assert all(line.ok for line in check_answers(client.results(batch.id), range(0, 200, 2)))
    check_bill(suite, 100)


def test_a_refusal_cuts_no_later_batch(suite: Suite, tmp_path: Path) -> None:
    """One batch met a small limit; four others, once it is gone, go out whole."""
    suite.reset_sandbox(enqueued_token_limit=1000, batch_seconds=0.3)

    def written(name: str, first: int, count: int) -> Path:
        lines = [chat(2 * n, "word " * 60) for n in range(first, first + count)]
        for line in lines:
            line["body"]["model"] = "openai/gpt-4o-mini"
        return write(tmp_path / name, lines)

    with suite.client() as client:
        client.wait(client.submit(written("first.jsonl", 0, 30)).id, timeout=110)
        suite.reset_sandbox(batch_seconds=0.3)
        later = [client.submit(written(f"{n}.jsonl", 100 * n, 10)).id for n in range(1, 5)]
        ended = [client.wait(batch_id, timeout=110) for batch_id in later]
    assert all(batch.request_counts.succeeded == 10 for batch in ended)
    assert sum(batch.shard_count for batch in ended) <= 8, "one each, or two where one waited"


def test_what_is_over_the_creates_of_an_hour_waits(suite: Suite, tmp_path: Path) -> None:
    """OpenAI makes so many batches an hour, and does not say when the next may come."""
    suite.reset_sandbox(creates_per_hour=1)
    models = ("gpt-4.1", "gpt-4.1-mini", "gpt-4o-mini")
    lines = [chat(2 * n, model=f"openai/{models[n % 3]}") for n in range(12)]
    with suite.client() as client:
        batch = client.submit(write(tmp_path / "hour.jsonl", lines))

        def held() -> bool:
            reasons = [shard.waiting_reason for shard in client.get_batch(batch.id).shards]
            return sum("rate_limit_exceeded" in reason for reason in reasons) == 2

        wait_for(held, "two of three shards to be refused")
        suite.sandbox("/sandbox/config", {"creates_per_hour": 0})
        ended = client.wait(batch.id, timeout=60)
        assert all(line.ok for line in check_answers(client.results(batch.id), range(0, 24, 2)))
    assert (ended.state, ended.request_counts.succeeded) == (BatchState.COMPLETED, 12)
    check_bill(suite, 12)


@pytest.mark.long
def test_a_max_cost(suite: Suite, tmp_path: Path) -> None:
    """Half of what it costs: what comes back cheaper than it might frees room for more."""
    path = write(tmp_path / "dear.jsonl", (chat(n, max_tokens=30) for n in range(24)))
    out = tmp_path / "results.jsonl"
    with suite.client() as client:
        whole = client.wait(client.submit(path).id, timeout=60)
        assert whole.cost is not None
        half = whole.cost.so_far / 2
        ran = suite.cli("submit", str(path), "--max-cost", f"{half:f}", "-y", "-o", str(out))
        batch = next(iter(client.list_batches()))
        lines = list(check_answers(client.results(batch.id), range(24)))
        told = suite.cli("get", batch.id)
    assert (batch.state, batch.request_counts.total) == (BatchState.COMPLETED, 24), ran.stderr
    codes = Counter(line.error.code if line.error else "ok" for line in lines)
    assert set(codes) == {"ok", "cost_limit"}
    assert {line.attempts for line in lines if line.error} == {0}
    assert batch.cost is not None
    assert batch.cost.so_far == sum(line.cost or 0 for line in lines)
    most = max(line.cost or 0 for line in lines)
    assert most < batch.cost.so_far <= half == batch.cost.max_cost, "it went on after the first"
    sentence = f"{codes['cost_limit']} lines were not sent: the batch's max cost of "
    assert f"{sentence}{half.normalize():f} USD" in " ".join(told.stdout.split()), told.stdout
    assert len(out.read_text().splitlines()) == 24
    assert suite.sandbox("/sandbox/bill")["lines_billed"] == 24 + codes["ok"]
