"""The range in which a batch is said to end holds, and moves with what is known."""

from __future__ import annotations

import math
import random

import pytest

from benchmarks.eta import HIGH, LOW, WORLDS, World, covered
from core.completion import Duration, Durations, Known, Pending, estimate

QUICK = ("one shard", "many shards")


@pytest.mark.parametrize(
    "world",
    [
        pytest.param(each, id=each.name, marks=() if each.name in QUICK else pytest.mark.long)
        for each in WORLDS
    ],
)
def test_nine_of_ten_ends_lie_in_the_range(world: World) -> None:
    wide, narrow = covered(world, seed=1, asked=300)
    assert LOW <= wide <= HIGH
    assert 0.35 <= narrow <= 0.65


def some(
    count: int, *, account: str = "acct_a", lines: int = 100, median: float = 600.0
) -> list[Duration]:
    rng = random.Random(f"{account}{lines}{median}")
    return [Duration(account, lines, median * math.exp(rng.gauss(0, 0.2))) for _ in range(count)]


def test_fewer_than_five_tell_nothing() -> None:
    assert Known(some(4)).of_size("acct_a", 100) is None
    assert Known(some(4)).of_line("acct_a") is None
    assert Known(some(5)).of_size("acct_a", 100) is not None
    assert estimate([]) is None


def middle(durations: Durations | None) -> float:
    assert durations is not None
    return durations.quantile(0.5)


def test_those_of_a_like_size_and_of_the_account_come_first() -> None:
    small, large = some(30, lines=10, median=60), some(30, lines=10_000, median=6000)
    of_others = Known([*small, *large])
    assert middle(of_others.of_size("acct_b", 12)) == pytest.approx(60, rel=0.2)
    assert middle(of_others.of_size("acct_b", 9000)) == pytest.approx(6000, rel=0.2)
    own = some(25, account="acct_b", lines=12, median=240)
    assert middle(Known([*small, *own]).of_size("acct_b", 12)) == pytest.approx(240, rel=0.2)
    too_few = Known([*small, *own[:10]])
    assert middle(too_few.of_size("acct_b", 12)) < 120


def test_the_end_moves_little_from_one_look_to_the_next() -> None:
    durations = Known(some(200)).of_size("acct_a", 100)
    assert durations is not None
    last = None
    for elapsed in range(0, 3000, 6):
        found = estimate([Pending(durations, float(elapsed)), Pending(durations, elapsed / 2)])
        assert found is not None
        assert 0 <= found.range_from <= found.likely_from <= found.likely_until <= found.range_until
        end = elapsed + found.likely_until
        if last is not None:
            assert abs(end - last) < 60, "a tenth of what such take"
        last = end


def test_what_waits_for_room_ends_behind_what_it_waits_for() -> None:
    durations = Durations([600.0] * 10)
    running = [Pending(durations, 300.0, group="openai/m")]
    waiting = [Pending(durations, waits_for="openai/m")] * 2
    found = estimate([*running, *waiting])
    assert found is not None
    assert found.likely_from == pytest.approx(1500, rel=0.1)
    at_once = estimate([*running, Pending(durations)])
    assert at_once is not None
    assert at_once.likely_until == pytest.approx(600, rel=0.15)


def test_what_is_run_line_by_line_takes_as_long_as_its_lines_are_many() -> None:
    per_line = Known(some(30, lines=100, median=200)).of_line("acct_a")
    assert per_line is not None
    found = estimate([Pending(per_line, left=50)])
    assert found is not None
    assert found.likely_from < 100 < found.likely_until * 1.2
