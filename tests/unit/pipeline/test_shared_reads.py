"""What many ask for at the same time is read once, and never before they asked."""

from __future__ import annotations

import asyncio
from typing import TypeVar

import pytest

from core.pipeline import SharedReads

T = TypeVar("T")

PATIENCE = 10.0


class Table:
    """What is read: each read waits for the test, and gives what stands there by then."""

    def __init__(self) -> None:
        self.values = {"a": 1, "b": 1}
        self.reads: list[str] = []
        self.begun = asyncio.Semaphore(0)
        self.let_go = asyncio.Semaphore(0)

    async def read(self, key: str) -> int:
        self.reads.append(key)
        value = self.values[key]
        self.begun.release()
        await self.let_go.acquire()
        return value


@pytest.fixture
def table() -> Table:
    return Table()


async def within(waiting: asyncio.Future[T]) -> T:
    return await asyncio.wait_for(waiting, PATIENCE)


async def test_those_who_ask_at_once_share_a_read(table: Table) -> None:
    shared = SharedReads(table.read)
    table.let_go.release()
    asked = asyncio.gather(*(shared.get("a") for _ in range(100)))
    assert await within(asked) == [1] * 100
    assert table.reads == ["a"]


async def test_who_asks_during_a_read_is_told_what_the_next_one_finds(table: Table) -> None:
    shared = SharedReads(table.read)
    first = asyncio.create_task(shared.get("a"))
    await table.begun.acquire()
    table.values["a"] = 2
    later = asyncio.gather(*(shared.get("a") for _ in range(100)))
    table.let_go.release()
    assert await within(first) == 1
    table.let_go.release()
    assert await within(later) == [2] * 100
    assert table.reads == ["a", "a"]


async def test_a_key_does_not_wait_for_another(table: Table) -> None:
    shared = SharedReads(table.read)
    waiting = asyncio.gather(shared.get("a"), shared.get("b"))
    for _ in range(2):
        await asyncio.wait_for(table.begun.acquire(), PATIENCE)
    for _ in range(2):
        table.let_go.release()
    assert await within(waiting) == [1, 1]


async def test_who_leaves_takes_nobody_along(table: Table) -> None:
    shared = SharedReads(table.read)
    leaving, staying = (asyncio.create_task(shared.get("a")) for _ in range(2))
    await table.begun.acquire()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    table.let_go.release()
    assert await within(staying) == 1


async def test_a_read_that_fails_fails_for_all_who_share_it_and_no_more(table: Table) -> None:
    shared = SharedReads(table.read)
    table.let_go.release()
    failed = await asyncio.gather(*(shared.get("c") for _ in range(2)), return_exceptions=True)
    assert [type(error) for error in failed] == [KeyError, KeyError]
    table.values["c"] = 3
    assert await within(asyncio.create_task(shared.get("c"))) == 3
