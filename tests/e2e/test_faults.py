"""Providers that refuse, throttle, dawdle, break off, lose answers or talk nonsense.

Each test shows what a user sees of it, by the status while it lasts, by the results and by
the list of failures; and by the bill that no line was lost and none paid twice.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from polybatch import Batch, BatchState

from tests.support.e2e.stories import (
    CANCEL,
    CREATE,
    POLL,
    PROVIDERS,
    RESULTS,
    UPLOAD,
    ask,
    check_all_struck,
    check_bill,
    check_costs,
    outcome,
    see_retries,
    strike,
    tell,
    tell_all,
)
from tests.support.e2e.suite import QUICK, Suite, wait_for

# Faults of every kind, each at a suite; test_main_job.py holds the way without them.
pytestmark = pytest.mark.long

TOO_SLOW = float(QUICK["POLYBATCH_PROVIDER_TIMEOUT"]) + 2

THROTTLED = {"kind": "status", "status": 429, "retry_after": 0.5}
OVERLOADED = {"kind": "status", "status": 503, "retry_after": 0.5}
FAILING = {"kind": "status", "status": 500}
NEVER_ARRIVES = {"kind": "reset_before"}
ANSWER_LOST = {"kind": "reset_after"}
CUT_OFF = {"kind": "cut", "after_bytes": 20}
GARBAGE = {"kind": "garbage"}
LATE = {"kind": "slow", "delay": TOO_SLOW}
SLOW = {"kind": "slow", "delay": 0.3}
ALL = (THROTTLED, OVERLOADED, FAILING, NEVER_ARRIVES, ANSWER_LOST, CUT_OFF, GARBAGE, LATE)


def test_creates_that_go_wrong_in_every_way(suite: Suite, tmp_path: Path) -> None:
    """Eight batches, eight faults, three providers: each create meets one of them."""
    suite.reset_sandbox(faults=strike("POST", CREATE.values(), *ALL))
    batches = [[ask(9 * batch + n) for n in range(9)] for batch in range(len(ALL))]
    stories = tell_all(suite, tmp_path, batches)
    for story in stories:
        story.check_went_well(9)
    check_all_struck(suite)
    for provider in PROVIDERS:
        told = " | ".join(reason for s in stories for reason in s.reasons.get(provider, ()))
        for word in ("429", "rate", "RESOURCE_EXHAUSTED"):
            if word in told:
                break
        else:
            raise AssertionError(f"{provider} was throttled, and nobody said so: {told}")
        assert "POST" in told, "it is said which call went wrong"
    bill = suite.sandbox("/sandbox/bill")
    assert bill["batches_created"] == len(ALL) * len(PROVIDERS), "each shard was created once"
    check_bill(suite, 9 * len(ALL))


def test_everything_else_that_goes_wrong_in_every_way(suite: Suite, tmp_path: Path) -> None:
    """Uploads, polls and downloads of four batches, until they have had every fault."""
    repeatable = [fault for fault in ALL if fault is not LATE]
    suite.reset_sandbox(
        batch_seconds=0.5,
        faults=[
            *strike("POST", UPLOAD.values(), *repeatable),
            *strike("GET", POLL.values(), *repeatable),
            *strike("GET", RESULTS.values(), *repeatable, SLOW, LATE),
        ],
    )
    stories = tell_all(
        suite, tmp_path, [[ask(9 * batch + n) for n in range(9)] for batch in range(4)]
    )
    for story in stories:
        story.check_went_well(9)
    check_all_struck(suite)
    for provider in PROVIDERS:
        told = [reason for story in stories for reason in story.reasons.get(provider, ())]
        assert any("GET" in reason for reason in told), f"{provider}: {told}"
    # An upload whose answer was lost leaves a file that only its name tells of: it goes too.
    check_bill(suite, 36)


@pytest.mark.parametrize(
    ("faults", "refused", "told"),
    [
        (strike("POST", CREATE.values(), {"kind": "status", "status": 400}), PROVIDERS, "400"),
        (strike("POST", CREATE.values(), {"kind": "status", "status": 403}), PROVIDERS, "403"),
        (strike("POST", CREATE.values(), {"kind": "status", "status": 413}), PROVIDERS, "413"),
        (
            strike("POST", UPLOAD.values(), {"kind": "status", "status": 400}),
            ("openai", "gemini"),
            "400",
        ),
        (
            strike(
                "POST",
                [UPLOAD["openai"], CREATE["anthropic"], UPLOAD["gemini"]],
                {"kind": "status", "status": 401},
            ),
            PROVIDERS,
            "",
        ),
        (
            [
                {"kind": "fail_batch", "code": code, "count": 1, "provider": provider}
                for provider, code in (
                    ("openai", "model_not_found"),
                    ("gemini", "FAILED_PRECONDITION"),
                )
            ],
            ("openai", "gemini"),
            "asked to let this batch fail",
        ),
    ],
    ids=["create 400", "create 403", "create 413", "upload 400", "key refused", "check failed"],
)
def test_a_refusal_for_good_is_explained_and_costs_nothing(
    suite: Suite,
    tmp_path: Path,
    faults: list[dict[str, Any]],
    refused: tuple[str, ...],
    told: str,
) -> None:
    suite.reset_sandbox(faults=faults)
    lines = (ask(n) for n in range(9))
    story = tell(suite, tmp_path / "refused.jsonl", lines, fail_fast=True)
    check_all_struck(suite)
    assert story.ended.state == BatchState.COMPLETED
    for number, line in enumerate(story.lines):
        assert line.ok == (PROVIDERS[number % 3] not in refused)
    assert len(story.failures) == 3 * len(refused)
    for line in story.lines:
        if not line.ok:
            assert line.response is None, "it was never run"
            assert line.error is not None
            assert told in line.error.message
    check_bill(suite, 9 - 3 * len(refused))


def test_a_refusal_that_passes_is_waited_for(suite: Suite, tmp_path: Path) -> None:
    """After its creation a batch may be refused for a reason that goes away by itself."""
    codes = {"openai": "billing_hard_limit_reached", "gemini": "RESOURCE_EXHAUSTED"}
    suite.reset_sandbox(
        faults=[
            {"kind": "fail_batch", "provider": provider, "code": code, "count": 1}
            for provider, code in codes.items()
        ]
    )
    story = tell(suite, tmp_path / "passing.jsonl", (ask(n) for n in range(9)))
    story.check_went_well(9)
    check_all_struck(suite)
    for provider, code in codes.items():
        assert any(code in reason for reason in story.reasons[provider])
    bill = suite.sandbox("/sandbox/bill")
    assert [bill["providers"][name]["batches_created"] for name in PROVIDERS] == [2, 1, 2]
    check_bill(suite, 9)


def test_a_line_for_which_a_provider_refuses_all_is_left_out(suite: Suite, tmp_path: Path) -> None:
    fault = {"kind": "fail_batch", "provider": "openai", "code": "invalid_request", "count": 1}
    suite.reset_sandbox(faults=[{**fault, "line": 2}, {**fault, "line": 3}])
    lines = [ask(n, ("openai",)) for n in range(8)]
    story = tell(suite, tmp_path / "culprit.jsonl", lines)
    check_all_struck(suite)
    assert story.ended.state == BatchState.COMPLETED
    # The second one named is the third of those that were left: line 4 of the file.
    assert [outcome(line) for line in story.lines] == [
        "invalid_request" if n in (1, 3) else "ok" for n in range(8)
    ]
    assert [failure.line for failure in story.failures] == [2, 4]
    check_bill(suite, 6)


def test_cancels_that_go_wrong(suite: Suite, tmp_path: Path) -> None:
    """Whatever comes of the provider's answers, the batch ends, and what was run is kept."""
    faults = (THROTTLED, FAILING, NEVER_ARRIVES, ANSWER_LOST, CUT_OFF, GARBAGE)
    suite.reset_sandbox(batch_seconds=60)
    asked = False

    def then_cancel(snapshot: Batch) -> None:
        nonlocal asked
        if asked or snapshot.request_counts.submitted + snapshot.request_counts.processed < 90:
            return
        asked = True
        # Some lines of each have been run, and then none any more.
        wait_for(lambda: len(running()) == len(PROVIDERS), "lines to be run everywhere")
        suite.sandbox(
            "/sandbox/config",
            {"batch_seconds": 3600, "faults": strike("POST", CANCEL.values(), *faults)},
        )
        with suite.client() as client:
            client.cancel_batch(snapshot.id)

    def running() -> set[str]:
        bill = suite.sandbox("/sandbox/bill")
        return {name for name in PROVIDERS if bill["providers"][name]["lines_running"]}

    lines = [ask(n) for n in range(90)]
    story = tell(suite, tmp_path / "cancelled.jsonl", lines, on_snapshot=then_cancel)
    assert story.ended.state == BatchState.CANCELLED
    assert set(story.outcomes) == {"ok", "batch_cancelled"}
    kept = {PROVIDERS[n % 3] for n, line in enumerate(story.lines) if line.ok}
    assert kept == set(PROVIDERS), "each has given back what it had run"
    check_bill(suite, story.outcomes["ok"])


def test_results_that_are_confused(suite: Suite, tmp_path: Path) -> None:
    """Too few counted; lines that are missing, doubled, unknown or torn."""
    marks = ("lost", "duplicate", "garbage")
    lines = [ask(n, text=f"[[sandbox:{marks[n // 3]}]]" if n < 9 else None) for n in range(30)]
    suite.reset_sandbox(unknown_result_lines=3, counts_skew=-7)
    story = tell(suite, tmp_path / "confused.jsonl", lines)
    assert story.ended.state == BatchState.COMPLETED
    lost = {0, 1, 2, 6, 7, 8}
    assert [outcome(line) for line in story.lines] == [
        "result_missing" if n in lost else "ok" for n in range(30)
    ]
    assert story.attempts == {1}, "what may have been paid for is not sent again"
    for provider in PROVIDERS:
        assert any("2 result lines are missing" in r for r in story.reasons[provider])
    assert suite.sandbox("/sandbox/bill")["batches_created"] == 3
    check_bill(suite, 30)


def test_lines_that_fail_each_in_its_own_way(suite: Suite, tmp_path: Path) -> None:
    """And too many are counted as done, which nobody is to believe."""
    suite.reset_sandbox(counts_skew=7, batch_seconds=3600)
    marks = ["error=invalid", "error=rate_limit", "error=server", "error=overloaded"]
    marks += ["error=timeout", "flaky=1", "flaky=3"]
    count = 3 * len(marks)
    lines = [ask(n, text=f"[[sandbox:{marks[n // 3]}]]") for n in range(count)]
    lines += [ask(n) for n in range(count, count + 6)]
    look = see_retries(suite, len(lines))
    story = tell(suite, tmp_path / "partial.jsonl", lines, on_snapshot=look)
    assert story.ended.state == BatchState.COMPLETED
    assert any(snapshot.request_counts.retrying for snapshot in story.snapshots)
    for number, line in enumerate(story.lines):
        mark = marks[number // 3] if number < count else ""
        wanted = {"error=invalid": 1, "flaky=1": 2, "flaky=3": 4, "": 1}.get(mark, 4)
        assert line.attempts == wanted, line.raw
        assert line.ok == (not mark.startswith("error")), line.raw
        if not line.ok:
            assert line.response is not None, "it was run, and this is its answer"
            assert line.response.status_code >= 400
            assert line.response.body["error"]["message"]
    check_bill(suite, 12)
    check_costs(suite, story.ended.id, (line.cost for line in story.lines))


def test_a_provider_whose_window_closes(suite: Suite, tmp_path: Path) -> None:
    """What it has finished is kept and paid for, the rest is sent again: none twice."""
    suite.reset_sandbox(batch_seconds=4, window_seconds=1)
    on_time = False

    def then_hurry(snapshot: Batch) -> None:
        nonlocal on_time
        if snapshot.request_counts.retrying and not on_time:
            on_time = True
            suite.sandbox("/sandbox/config", {"batch_seconds": 0, "window_seconds": 86400})

    lines = [ask(n, ("openai", "anthropic")) for n in range(80)]
    story = tell(suite, tmp_path / "late.jsonl", lines, on_snapshot=then_hurry)
    assert story.ended.state == BatchState.COMPLETED
    assert story.outcomes == {"ok": 80}
    assert 1 in story.attempts, "some were finished before the window closed"
    assert story.attempts > {1}
    check_bill(suite, 80)


def test_a_provider_that_never_gets_to_a_line(suite: Suite, tmp_path: Path) -> None:
    suite.reset_sandbox(batch_seconds=3600, window_seconds=0.2)
    story = tell(suite, tmp_path / "never.jsonl", (ask(n) for n in range(9)))
    assert story.ended.state == BatchState.COMPLETED, "our own window is still open"
    assert story.outcomes == {"batch_expired": 9}
    assert story.attempts == {4}, "three repetitions"
    check_bill(suite, 0)
