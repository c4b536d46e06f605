"""The pace of calls: grows, is cut, obeys, and never lets in more than it says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.providers import CallLimits, Throttled
from services.dispatcher.adaptive_concurrency import AdaptiveConcurrencyLimiter


class Clock(asyncio.SelectorEventLoop):
    """An event loop whose time passes only when it would have to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0.0
        select = self._selector.select  # type: ignore[attr-defined]

        def skip(timeout: float | None) -> object:
            if timeout:
                self.passed += timeout
            return select(0)

        self._selector.select = skip  # type: ignore[attr-defined]

    def time(self) -> float:
        return 1000.0 + self.passed


def timeless(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test in a loop whose time passes by itself."""

    @wraps(test)
    def run(*args: Any, **values: Any) -> None:
        with asyncio.Runner(loop_factory=Clock) as runner:
            runner.run(test(*args, **values))

    return run


def now() -> float:
    return asyncio.get_running_loop().time()


def terms(most: int = 64, per_minute: float | None = None) -> CallLimits:
    return CallLimits(max_concurrency=most, requests_per_minute=per_minute)


async def fill(pace: AdaptiveConcurrencyLimiter) -> list[float]:
    """Take every place there is; when each call began."""
    began = []
    while pace.try_enter():
        began.append(now())
    return began


async def round_of_answers(pace: AdaptiveConcurrencyLimiter) -> int:
    """Fill the pace and answer every call; how many there were."""
    began = await fill(pace)
    for at in began:
        pace.answered(at)
    return len(began)


async def ramp(pace: AdaptiveConcurrencyLimiter, limit: int) -> None:
    while pace.limit < limit:
        await round_of_answers(pace)


@timeless
async def test_it_grows_to_the_most_and_no_further() -> None:
    pace = AdaptiveConcurrencyLimiter(terms(most=20))
    rounds = [await round_of_answers(pace) for _ in range(6)]
    assert rounds[0] == 4
    assert rounds == sorted(rounds)
    assert rounds[-1] == 20


@timeless
async def test_it_does_not_grow_while_it_is_not_used() -> None:
    pace = AdaptiveConcurrencyLimiter(terms())
    for _ in range(50):
        await pace.enter()
        pace.answered(now())
    assert pace.limit == 4


@timeless
async def test_a_refusal_halves_once_for_all_calls_that_were_under_way() -> None:
    pace = AdaptiveConcurrencyLimiter(terms())
    await ramp(pace, 32)
    began = await fill(pace)
    await asyncio.sleep(0.1)
    for at in began[:5]:
        pace.refused(at, Throttled("429"))
    assert pace.limit == 16
    for at in began[5:]:
        pace.answered(at)
    assert pace.limit == 16, "answers from before the cut say nothing of the new limit"


@timeless
async def test_after_a_cut_it_grows_by_one_a_round() -> None:
    pace = AdaptiveConcurrencyLimiter(terms())
    await ramp(pace, 32)
    await pace.enter()
    pace.refused(now(), Throttled("429", retry_after=1.0))
    await asyncio.sleep(1.1)
    rounds = [await round_of_answers(pace) for _ in range(4)]
    assert rounds[0] == 16
    assert all(0 <= b - a <= 1 for a, b in pairwise(rounds))
    assert rounds[-1] > 16


@timeless
async def test_retry_after_holds_for_all() -> None:
    pace = AdaptiveConcurrencyLimiter(terms())
    await pace.enter()
    start = now()
    pace.refused(start, Throttled("slow down", retry_after=7.0))
    assert not pace.try_enter()
    assert pace.reason == "slow down"
    await asyncio.gather(*(pace.enter() for _ in range(2)))
    assert now() - start >= 7.0
    assert pace.reason == ""


@timeless
async def test_a_used_up_rate_limit_holds_for_all() -> None:
    pace = AdaptiveConcurrencyLimiter(terms())
    await pace.enter()
    start = now()
    pace.answered(start, pause=3.0)
    await pace.enter()
    assert now() - start >= 3.0


@timeless
async def test_pauses_grow_while_trouble_lasts_and_end_with_an_answer() -> None:
    pace = AdaptiveConcurrencyLimiter(terms())
    pauses = []
    for _ in range(12):
        await pace.enter()
        start = now()
        pace.refused(start, Throttled("busy"))
        await pace.enter()
        pauses.append(now() - start)
        pace.left()
    assert pauses[0] < 1.0
    assert pauses[4] > pauses[0]
    assert 40.0 < max(pauses) <= 61.0
    await pace.enter()
    pace.answered(now())
    await pace.enter()
    start = now()
    pace.lost(start, "gone")
    await pace.enter()
    assert now() - start < 1.0


@timeless
async def test_who_cannot_be_reached_is_asked_by_one_call_at_a_time() -> None:
    pace = AdaptiveConcurrencyLimiter(terms())
    await ramp(pace, 64)
    began = await fill(pace)
    for at in began:
        pace.refused(at, Throttled("nobody there", reachable=False))
    assert pace.limit == 1
    await pace.enter()
    assert not pace.try_enter()
    pace.answered(now())
    rounds = [await round_of_answers(pace) for _ in range(6)]
    assert rounds[-1] >= 32, "and is soon back at full speed"


@timeless
async def test_single_failures_are_the_lines_but_a_row_of_them_is_the_providers() -> None:
    pace = AdaptiveConcurrencyLimiter(terms())
    await ramp(pace, 16)
    for _ in range(5):
        began = await fill(pace)
        for at in began[:5]:
            pace.failed(at, "500")
        for at in began[5:]:
            pace.answered(at)
    assert pace.limit >= 16
    began = await fill(pace)
    for at in began:
        pace.failed(at, "500")
    assert pace.limit < 16
    assert not pace.try_enter()


@timeless
async def test_requests_per_minute() -> None:
    pace = AdaptiveConcurrencyLimiter(terms(per_minute=120))
    start = now()
    for _ in range(11):
        await pace.enter()
        pace.answered(now())
    assert now() - start == pytest.approx(5.0, abs=0.01)


@timeless
async def test_first_come_first_served() -> None:
    pace = AdaptiveConcurrencyLimiter(terms(most=1))
    await pace.enter()
    served: list[int] = []

    async def come(number: int) -> None:
        await pace.enter()
        served.append(number)
        pace.answered(now())

    tasks = [asyncio.create_task(come(number)) for number in range(5)]
    await asyncio.sleep(0)
    pace.answered(now())
    await asyncio.gather(*tasks)
    assert served == [0, 1, 2, 3, 4]


@timeless
async def test_who_gives_up_waiting_takes_no_place() -> None:
    pace = AdaptiveConcurrencyLimiter(terms(most=1))
    await pace.enter()
    waiting = [asyncio.create_task(pace.enter()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    # Admitted and cancelled before it ran again: the place is given back.
    pace.left()
    waiting[1].cancel()
    await asyncio.wait(waiting)
    assert pace.under_way == 1
    assert waiting[2].done()
    assert not waiting[2].cancelled()


@settings(max_examples=80, deadline=None)
@given(
    most=st.integers(1, 40),
    outcomes=st.lists(
        st.sampled_from(["answered", "paused", "failed", "refused", "unreachable", "lost", "left"]),
        max_size=150,
    ),
)
@timeless
async def test_never_more_than_the_limit_and_nobody_waits_for_ever(
    most: int, outcomes: list[str]
) -> None:
    pace = AdaptiveConcurrencyLimiter(terms(most=most))
    peak = 0

    async def call(outcome: str) -> None:
        nonlocal peak
        await pace.enter()
        began = now()
        peak = max(peak, pace.under_way)
        await asyncio.sleep(0.01)
        match outcome:
            case "answered":
                pace.answered(began)
            case "paused":
                pace.answered(began, pause=0.5)
            case "failed":
                pace.failed(began, "500")
            case "refused":
                pace.refused(began, Throttled("429", retry_after=2.0))
            case "unreachable":
                pace.refused(began, Throttled("nobody", reachable=False))
            case "lost":
                pace.lost(began, "gone")
            case "left":
                pace.left()

    await asyncio.gather(*(call(outcome) for outcome in outcomes))
    assert peak <= most
    assert pace.under_way == 0
    assert 1 <= pace.limit <= most
