"""The listener and the gauges that are asked at a scrape, over real HTTP."""

from __future__ import annotations

import asyncio
import socket
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from core.metrics import SWEEP_WOKEN, AskedAtScrape, Family, MetricsListener, Reading, Readings

UP = Family("polybatch_test_read", "Whether it was read.")
DEPTH = Family("polybatch_test_depth", "Of a test.", ("place",))

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
Scrape = Callable[[], Awaitable[Samples]]


def _read(port: int) -> Samples:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
async def listener() -> AsyncIterator[MetricsListener]:
    listener = MetricsListener("127.0.0.1", 0)
    listener.start()
    yield listener
    await listener.stop()


@pytest.fixture
def scrape(listener: MetricsListener) -> Scrape:
    return lambda: asyncio.to_thread(_read, listener.port)


async def test_what_is_counted_can_be_read(scrape: Scrape) -> None:
    counted = ("polybatch_sweep_woken_total", (("step", "poll"),))
    SWEEP_WOKEN.labels("poll").inc(0)
    before = (await scrape())[counted]
    SWEEP_WOKEN.labels("poll").inc(3)
    after = await scrape()
    assert after[counted] == before + 3
    assert after[("process_open_fds", ())] > 0
    assert not [name for name, _ in after if name.endswith("_created")]


async def test_stopping_frees_the_port_and_may_be_done_twice() -> None:
    listener = MetricsListener("127.0.0.1", 0)
    await listener.stop()
    listener.start()
    port = listener.port
    with pytest.raises(OSError, match="in use"):
        MetricsListener("127.0.0.1", port).start()
    await listener.stop()
    await listener.stop()
    assert listener.port == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


async def test_gauges_are_asked_for_at_the_scrape(scrape: Scrape) -> None:
    depths = iter((1.0, 2.0))

    async def ask() -> Readings:
        return {DEPTH: [Reading(("here",), next(depths))]}

    gauges = AskedAtScrape(UP, [DEPTH], ask, keep=0)
    gauges.start()
    try:
        for depth in (1.0, 2.0):
            found = await scrape()
            assert found[(DEPTH.name, (("place", "here"),))] == depth
            assert found[(UP.name, ())] == 1
    finally:
        gauges.stop()
    assert (UP.name, ()) not in await scrape()


async def test_gauges_that_cannot_be_read_are_left_out_and_cost_nothing_else(
    scrape: Scrape,
) -> None:
    async def ask() -> Readings:
        raise ConnectionError("the database is away")

    gauges = AskedAtScrape(UP, [DEPTH], ask)
    gauges.start()
    try:
        found = await scrape()
    finally:
        gauges.stop()
    assert found[(UP.name, ())] == 0
    assert not [name for name, _ in found if name == DEPTH.name]
    assert ("process_open_fds", ()) in found


async def test_scrapers_share_one_question(scrape: Scrape) -> None:
    asked = 0
    answer = asyncio.Event()

    async def ask() -> Readings:
        nonlocal asked
        asked += 1
        await answer.wait()
        return {}

    gauges = AskedAtScrape(UP, [DEPTH], ask, keep=60)
    gauges.start()
    try:
        scrapes = [asyncio.ensure_future(scrape()) for _ in range(3)]
        answer.set()
        for found in await asyncio.gather(*scrapes):
            assert found[(UP.name, ())] == 1
    finally:
        gauges.stop()
    assert asked == 1


async def test_an_answer_that_does_not_come_is_not_waited_for(scrape: Scrape) -> None:
    async def ask() -> Readings:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    gauges = AskedAtScrape(UP, [DEPTH], ask, timeout=0.05)
    gauges.start()
    try:
        assert (await scrape())[(UP.name, ())] == 0
    finally:
        gauges.stop()
