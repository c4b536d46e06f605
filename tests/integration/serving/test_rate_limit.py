"""How many calls an account may begin."""

from __future__ import annotations

import pytest

from core.serving.rate_limit import RateLimiter


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("per_second", [0.05, 1, 3, 500])
def test_a_burst_then_so_many_a_second(per_second: float) -> None:
    clock = Clock()
    rate = RateLimiter(per_second, clock)
    burst = max(1, round(per_second * 10))
    assert [rate.take("a") for _ in range(burst)] == [0.0] * burst
    wait = rate.take("a")
    assert wait == pytest.approx(1 / per_second)
    assert rate.take("a") == wait, "a refusal uses nothing up"
    assert rate.take("b") == 0
    clock.now += wait
    assert rate.take("a") == 0
    assert rate.take("a") == pytest.approx(1 / per_second)
    clock.now += 1e6
    assert [rate.take("a") for _ in range(burst)] == [0.0] * burst, "no more saved up than that"
    assert rate.take("a") > 0


def test_accounts_that_are_silent_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.serving.rate_limit._TIDY_AT", 10)
    clock = Clock()
    rate = RateLimiter(1, clock)
    for number in range(50):
        clock.now += 5
        assert rate.take(f"account-{number}") == 0
    assert len(rate._used_up_to) <= 10
