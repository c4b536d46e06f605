"""When a provider's batch is looked at again: bounds, growth and spread."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.ledger import Expected, new_id
from core.pipeline import first_look, next_look, poll_times
from core.pipeline.poll_times import late_interval
from core.settings import Settings

SETTINGS = Settings(poll_min_interval=5.0, poll_max_interval=60.0)
HOUR = 3600.0
ids = st.text("abcdef0123456789_", min_size=1, max_size=40)
ages = st.floats(0.0, 3e6)


@st.composite
def bounds(draw: st.DrawFn) -> Settings:
    least = draw(st.floats(0.01, 100.0))
    return Settings(poll_min_interval=least, poll_max_interval=draw(st.floats(0.01, 10_000.0)))


expectations = st.none() | st.builds(Expected, st.floats(0.0, 1e6), st.integers(0, 10**6))


@given(shard=ids, age=ages, settings=bounds())
def test_looks_keep_to_the_bounds(shard: str, age: float, settings: Settings) -> None:
    least, most = settings.poll_min_interval, settings.poll_max_interval
    pause = next_look(shard, age, settings)
    assert least <= pause <= max(most, 1.25 * least) * 1.0001


@given(shard=ids, ages=st.tuples(ages, ages), settings=bounds())
def test_looks_become_rarer(shard: str, ages: tuple[float, float], settings: Settings) -> None:
    earlier, later = sorted(ages)
    assert next_look(shard, earlier, settings) <= next_look(shard, later, settings)
    assert late_interval(earlier, settings) <= late_interval(later, settings)


@given(shard=ids, expected=expectations, settings=bounds())
def test_the_first_look_keeps_to_the_bounds(
    shard: str, expected: Expected | None, settings: Settings
) -> None:
    pause = first_look(shard, expected, settings)
    least = settings.poll_min_interval
    assert least <= pause <= 1.25 * max(2 * settings.poll_max_interval, least)


@given(age=ages, settings=bounds())
def test_late_looks_come_once_an_hour_at_last(age: float, settings: Settings) -> None:
    longest = max(HOUR, settings.poll_min_interval)
    assert settings.poll_min_interval <= late_interval(age, settings) <= longest
    assert late_interval(10 * HOUR, settings) == longest


def test_the_first_look_is_learned() -> None:
    unknown = first_look("shard_1", None, SETTINGS)
    assert first_look("shard_1", Expected(900.0, 1), SETTINGS) == unknown, "one says little"
    known = first_look("shard_1", Expected(200.0, 10), SETTINGS)
    assert 100.0 <= known <= 200.0
    assert first_look("shard_1", Expected(2.0, 10), SETTINGS) == unknown
    assert first_look("shard_1", Expected(86_400.0, 10), SETTINGS) <= 150.0


@pytest.mark.parametrize("look", ["first", "next"])
def test_batches_that_were_submitted_together_are_not_looked_at_together(look: str) -> None:
    shards = [new_id("shard") for _ in range(1000)]
    if look == "first":
        pauses = sorted(first_look(shard, None, SETTINGS) for shard in shards)
    else:
        pauses = sorted(next_look(shard, 300.0, SETTINGS) for shard in shards)
    width = pauses[-1] - pauses[0]
    assert width > 0.2 * pauses[0]
    # In no twentieth of the time are there many more of them than in another one.
    for start in range(20):
        low = pauses[0] + start * width / 20
        assert sum(low <= pause < low + width / 20 for pause in pauses) < 120


@given(batches=st.integers(0, 10**6))
def test_what_many_batches_cost_is_bounded(batches: int) -> None:
    pages = poll_times.pages_of(batches)
    by_list = max(pages, 1) * HOUR / poll_times.list_gap(pages, SETTINGS)
    assert by_list <= 240
    one_by_one = batches * HOUR / poll_times.single_gap(batches, SETTINGS)
    assert one_by_one <= max(240.0001, batches)
