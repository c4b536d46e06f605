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
from tests.fuzz.budget import examples


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


def call_limits(most: int = 64, per_minute: float | None = None) -> CallLimits:
    return CallLimits(max_concurrency=most, requests_per_minute=per_minute)


async def fill(limiter: AdaptiveConcurrencyLimiter) -> list[float]:
    """Take every place there is; when each call began."""
    began = []
    while limiter.try_enter():
        began.append(now())
    return began


async def round_of_answers(limiter: AdaptiveConcurrencyLimiter) -> int:
    """Fill the pace and answer every call; how many there were."""
    began = await fill(limiter)
    for at in began:
        limiter.answered(at)
    return len(began)


async def ramp(limiter: AdaptiveConcurrencyLimiter, limit: int) -> None:
    while limiter.limit < limit:
        await round_of_answers(limiter)


@timeless
async def test_it_grows_to_the_most_and_no_further() -> None:
    limiter = AdaptiveConcurrencyLimiter(call_limits(most=20))
    rounds = [await round_of_answers(limiter) for _ in range(6)]
    assert rounds[0] == 4
    assert rounds == sorted(rounds)
    assert rounds[-1] == 20


@timeless
async def test_it_does_not_grow_while_it_is_not_used() -> None:
    limiter = AdaptiveConcurrencyLimiter(call_limits())
    for _ in range(50):
        await limiter.enter()
        limiter.answered(now())
    assert limiter.limit == 4


@timeless
async def test_a_refusal_halves_once_for_all_calls_that_were_under_way() -> None:
    limiter = AdaptiveConcurrencyLimiter(call_limits())
    await ramp(limiter, 32)
    began = await fill(limiter)
    await asyncio.sleep(0.1)
    for at in began[:5]:
        limiter.refused(at, Throttled("429"))
    assert limiter.limit == 16
    for at in began[5:]:
        limiter.answered(at)
    assert limiter.limit == 16, "answers from before the cut say nothing of the new limit"


@timeless
async def test_after_a_cut_it_grows_by_one_a_round() -> None:
    limiter = AdaptiveConcurrencyLimiter(call_limits())
    await ramp(limiter, 32)
    await limiter.enter()
    limiter.refused(now(), Throttled("429", retry_after=1.0))
    await asyncio.sleep(1.1)
    rounds = [await round_of_answers(limiter) for _ in range(4)]
    assert rounds[0] == 16
    assert all(0 <= b - a <= 1 for a, b in pairwise(rounds))
    assert rounds[-1] > 16


@timeless
async def test_retry_after_holds_for_all() -> None:
    limiter = AdaptiveConcurrencyLimiter(call_limits())
    await limiter.enter()
    start = now()
    limiter.refused(start, Throttled("slow down", retry_after=7.0))
    assert not limiter.try_enter()
    assert limiter.reason == "slow down"
    await asyncio.gather(*(limiter.enter() for _ in range(2)))
    assert now() - start >= 7.0
    assert limiter.reason == ""


@timeless
async def test_refusals_that_say_how_long_do_not_lengthen_what_follows() -> None:
    limiter = AdaptiveConcurrencyLimiter(call_limits())
    for _ in range(8):
        await limiter.enter()
        limiter.refused(now(), Throttled("slow down", retry_after=0.4))
    await limiter.enter()
    start = now()
    limiter.refused(start, Throttled("overloaded"))
    await limiter.enter()
    assert now() - start <= 0.5


@timeless
async def test_a_used_up_rate_limit_holds_for_all() -> None:
    limiter = AdaptiveConcurrencyLimiter(call_limits())
    await limiter.enter()
    start = now()
    limiter.answered(start, pause=3.0)
    await limiter.enter()
    assert now() - start >= 3.0


@timeless
async def test_pauses_grow_while_trouble_lasts_and_end_with_an_answer() -> None:
    limiter = AdaptiveConcurrencyLimiter(call_limits())
    pauses = []
    for _ in range(12):
        await limiter.enter()
        start = now()
        limiter.refused(start, Throttled("busy"))
        await limiter.enter()
        pauses.append(now() - start)
        limiter.left()
    assert pauses[0] < 1.0
    assert pauses[4] > pauses[0]
    assert 40.0 < max(pauses) <= 61.0
    await limiter.enter()
    limiter.answered(now())
    await limiter.enter()
    start = now()
    limiter.lost(start, "gone")
    await limiter.enter()
    assert now() - start < 1.0


@timeless
async def test_who_cannot_be_reached_is_asked_by_one_call_at_a_time() -> None:
    limiter = AdaptiveConcurrencyLimiter(call_limits())
    await ramp(limiter, 64)
    began = await fill(limiter)
    for at in began:
        limiter.refused(at, Throttled("nobody there", reachable=False))
    assert limiter.limit == 1
    await limiter.enter()
    assert not limiter.try_enter()
    limiter.answered(now())
    rounds = [await round_of_answers(limiter) for _ in range(6)]
    assert rounds[-1] >= 32, "and is soon back at full speed"


@timeless
async def test_single_failures_are_the_lines_but_a_row_of_them_is_the_providers() -> None:
    limiter = AdaptiveConcurrencyLimiter(call_limits())
    await ramp(limiter, 16)
    for _ in range(5):
        began = await fill(limiter)
        for at in began[:5]:
            limiter.failed(at, "500")
        for at in began[5:]:
            limiter.answered(at)
    assert limiter.limit >= 16
    began = await fill(limiter)
    for at in began:
        limiter.failed(at, "500")
    assert limiter.limit < 16
    assert not limiter.try_enter()


@timeless
async def test_requests_per_minute() -> None:
    limiter = AdaptiveConcurrencyLimiter(call_limits(per_minute=120))
    start = now()
    for _ in range(11):
        await limiter.enter()
        limiter.answered(now())
    assert now() - start == pytest.approx(5.0, abs=0.01)


@timeless
async def test_first_come_first_served() -> None:
    limiter = AdaptiveConcurrencyLimiter(call_limits(most=1))
    await limiter.enter()
    served: list[int] = []

    async def come(number: int) -> None:
        await limiter.enter()
        served.append(number)
        limiter.answered(now())

    tasks = [asyncio.create_task(come(number)) for number in range(5)]
    await asyncio.sleep(0)
    limiter.answered(now())
    await asyncio.gather(*tasks)
    assert served == [0, 1, 2, 3, 4]


@timeless
async def test_who_gives_up_waiting_takes_no_place() -> None:
    limiter = AdaptiveConcurrencyLimiter(call_limits(most=1))
    await limiter.enter()
    waiting = [asyncio.create_task(limiter.enter()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    # Admitted and cancelled before it ran again: the place is given back.
    limiter.left()
    waiting[1].cancel()
    await asyncio.wait(waiting)
    assert limiter.under_way == 1
    assert waiting[2].done()
    assert not waiting[2].cancelled()


@settings(max_examples=examples(80), deadline=None)
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
    limiter = AdaptiveConcurrencyLimiter(call_limits(most=most))
    peak = 0

    async def call(outcome: str) -> None:
        nonlocal peak
        await limiter.enter()
        began = now()
        peak = max(peak, limiter.under_way)
        await asyncio.sleep(0.01)
        match outcome:
            case "answered":
                limiter.answered(began)
            case "paused":
                limiter.answered(began, pause=0.5)
            case "failed":
                limiter.failed(began, "500")
            case "refused":
                limiter.refused(began, Throttled("429", retry_after=2.0))
            case "unreachable":
                limiter.refused(began, Throttled("nobody", reachable=False))
            case "lost":
                limiter.lost(began, "gone")
            case "left":
                limiter.left()

    await asyncio.gather(*(call(outcome) for outcome in outcomes))
    assert peak <= most
    assert limiter.under_way == 0
    assert 1 <= limiter.limit <= most
