"""Providers that are away for longer than any call is repeated.

While they are, every batch says what it waits for; when they are back it goes on where it
was. A batch whose window closes first ends, and says of each line what is known.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from polybatch import Batch, BatchState

from tests.support.e2e.ledger import close_window
from tests.support.e2e.stories import PROVIDERS, RESULTS, Story, ask, check_bill, strike, tell
from tests.support.e2e.suite import Suite, running_suite, wait_for

pytestmark = pytest.mark.long

MINUTES = float(os.environ.get("POLYBATCH_OUTAGE", "0"))
"""How long `make outage` lets the providers be away, in seconds."""

PATIENCE = 1200 if MINUTES else 100
"""For how long a test waits for the end of a batch, in seconds."""

COUNT = 9
# Nobody there, an overload that lasts, and a proxy that answers in the provider's place.
OUTAGE = [
    {"kind": "reset_before", "provider": "openai"},
    {"kind": "status", "status": 503, "provider": "anthropic"},
    {"kind": "garbage", "provider": "gemini"},
]


class Told:
    """A batch that is being watched in the background."""

    def __init__(
        self, pool: ThreadPoolExecutor, suite: Suite, path: Path, first: int, **options: Any
    ) -> None:
        lines = [ask(number) for number in range(first, first + COUNT)]
        self._latest: Batch | None = None
        self._story: Future[Story] = pool.submit(
            tell,
            suite,
            path,
            lines,
            on_snapshot=self._look,
            patience=MINUTES + PATIENCE,
            **options,
        )

    def _look(self, snapshot: Batch) -> None:
        self._latest = snapshot

    @property
    def batch_id(self) -> str:
        assert self._latest is not None, "nothing of it was seen yet"
        return self._latest.id

    @property
    def states(self) -> set[str]:
        return {shard.state for shard in self._latest.shards} if self._latest else set()

    @property
    def waiting(self) -> dict[str, str]:
        """Provider to what its shard waits for."""
        shards = self._latest.shards if self._latest else ()
        return {shard.provider: shard.waiting_reason for shard in shards if shard.waiting_reason}

    def wait_for_states(self, *states: str) -> None:
        wait_for(lambda: self.states <= set(states) and bool(self.states), f"{states}")

    def wait_for_reasons(self) -> None:
        wait_for(lambda: set(self.waiting) == set(PROVIDERS), "a reason from each provider")

    def end(self) -> Story:
        return self._story.result(PATIENCE)


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    with running_suite(
        tmp_path_factory.mktemp("outage"), POLYBATCH_STOP_GRACE="2", POLYBATCH_POLL_MAX_INTERVAL="1"
    ) as running:
        yield running


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as made:
        yield made


def begin(pool: ThreadPoolExecutor, suite: Suite, folder: Path) -> tuple[Told, Told]:
    """One batch that has run and is to be fetched, one that runs; then the providers go away."""
    down = strike("GET", RESULTS.values(), {"kind": "status", "status": 503})
    for fault in down:
        del fault["count"]
    suite.reset_sandbox(faults=down)
    fetched = Told(pool, suite, folder / "fetched.jsonl", 0)
    fetched.wait_for_states("fetching")
    suite.sandbox("/sandbox/config", {"batch_seconds": 3600})
    running = Told(pool, suite, folder / "running.jsonl", COUNT)
    running.wait_for_states("submitted")
    return fetched, running


def test_an_outage_costs_time_and_nothing_else(
    suite: Suite, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    fetched, running = begin(pool, suite, tmp_path)
    given_up = Told(pool, suite, tmp_path / "given-up.jsonl", 2 * COUNT)
    given_up.wait_for_states("submitted")
    suite.sandbox("/sandbox/config", {"faults": OUTAGE})
    close_window(suite, given_up.batch_id)
    unsent = Told(pool, suite, tmp_path / "unsent.jsonl", 3 * COUNT)
    expired = Told(
        pool, suite, tmp_path / "expired.jsonl", 4 * COUNT, completion_window=timedelta(seconds=2)
    )
    for told in (fetched, running, unsent):
        told.wait_for_reasons()
    assert fetched.states == {"fetching"}, "what was there is still there"
    assert running.states == {"submitted"}
    assert unsent.states <= {"queued", "submitting"}
    check_explained(expired.end())
    check_explained(given_up.end())
    assert suite.sandbox("/sandbox/bill")["lines_billed"] == COUNT

    suite.sandbox("/sandbox/config", {"faults": [], "batch_seconds": 0})
    for told in (fetched, running, unsent):
        story = told.end()
        story.check_went_well(COUNT)
        assert set(story.reasons) == set(PROVIDERS)
        assert all(reason for reasons in story.reasons.values() for reason in reasons)
    # What was given up ran at the providers all the same: the messages have said that it may.
    check_bill(suite, 4 * COUNT, lost_uploads=True, given_up=COUNT)


def check_explained(story: Story) -> None:
    """Ended by its window, and what is said of its lines is what is known of them."""
    assert story.ended.state == BatchState.EXPIRED
    assert story.outcomes == {"batch_expired": COUNT}
    remote = {shard.id: shard.provider_batch_id for shard in story.manifest.shards}
    sent = [batch for batch in remote.values() if batch]
    for line in story.lines:
        assert line.error is not None
        if sent:
            assert "may have been run" in line.error.message
            assert any(batch in line.error.message for batch in sent)
        else:
            assert "window closed" in line.error.message or "may have" in line.error.message


@pytest.mark.skipif(not MINUTES, reason="takes minutes: make outage")
@pytest.mark.timeout(MINUTES + 2 * PATIENCE)
def test_an_outage_of_minutes_with_the_settings_of_production(
    pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    with running_suite(tmp_path, quick=False) as suite:
        fetched, running = begin(pool, suite, tmp_path)
        suite.sandbox("/sandbox/config", {"faults": OUTAGE})
        unsent = Told(pool, suite, tmp_path / "unsent.jsonl", 3 * COUNT)
        gone_at = time.monotonic()
        wait_for(
            lambda: time.monotonic() > gone_at + MINUTES, "the outage to be over", MINUTES + 60
        )
        for told in (fetched, running, unsent):
            told.wait_for_reasons()
            print({provider: reason[:100] for provider, reason in told.waiting.items()})
        suite.sandbox("/sandbox/config", {"faults": [], "batch_seconds": 0})
        back_at = time.monotonic()
        for told in (fetched, running, unsent):
            told.end().check_went_well(COUNT)
        print(f"away for {MINUTES:.0f} s; all done {time.monotonic() - back_at:.0f} s after that")
        check_bill(suite, 3 * COUNT)
