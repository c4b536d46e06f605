"""What a provider told one process binds the others, those that start later too."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import datetime
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from core.ledger import Ledger, LedgerUnavailable, ProviderHold
from core.pipeline import Runtime, sharing
from core.pipeline.holds import SharedHolds
from core.providers import Hold, Holds
from core.providers.http.outages import FEWEST

PATIENCE = 10.0


class Loop:
    """A bus of one process, which can be away."""

    def __init__(self) -> None:
        self.listeners: list[Callable[[bytes], None]] = []
        self.away = False
        self._told: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def broadcast(self, _topic: str, payload: bytes) -> bool:
        for hear in () if self.away else self.listeners:
            hear(payload)
        self._told[msgspec.json.decode(payload, type=Hold).credential].set()
        return not self.away

    async def told_of(self, credential: str) -> None:
        """Wait until somebody has told of it."""
        async with asyncio.timeout(PATIENCE):
            await self._told[credential].wait()

    async def listen(self, _topic: str, callback: Callable[[bytes], None]) -> Any:
        self.listeners.append(callback)

        async def unsubscribe() -> None:
            self.listeners.remove(callback)

        return SimpleNamespace(unsubscribe=unsubscribe)


class Kept:
    """A ledger that says when a hold is kept, and can fail first."""

    def __init__(self, ledger: Ledger, failures: int = 0) -> None:
        self._holds = ledger.holds
        self._failures = failures
        self.holds = self
        self.kept = asyncio.Event()

    async def keep(self, holds: Mapping[tuple[str, str], datetime]) -> None:
        if self._failures:
            self._failures -= 1
            raise LedgerUnavailable("away")
        await self._holds.keep(holds)
        self.kept.set()

    async def current(self) -> list[ProviderHold]:
        return await self._holds.current()


def runtime(ledger: Ledger | Kept, bus: Loop) -> Runtime:
    settings = SimpleNamespace(sweep_interval=3600.0)
    made: Any = SimpleNamespace(ledger=ledger, bus=bus, settings=settings)
    return cast("Runtime", made)


async def test_others_hear_of_it_and_later_ones_read_it(ledger: Ledger) -> None:
    bus, kept = Loop(), Kept(ledger)
    one, other, later = Holds(), Holds(), Holds()
    async with sharing(runtime(kept, bus), one), sharing(runtime(ledger, bus), other):
        one.of("openai", "k").note(600.0)
        await bus.told_of("k")
        assert kept.kept.is_set(), "who starts now is to know it"
        assert other.until("openai", "k") == one.until("openai", "k")
        assert other.until("openai", "another") == 0.0
        async with sharing(runtime(ledger, bus), later):
            assert later.until("openai", "k") == pytest.approx(one.until("openai", "k"), abs=0.01)
    assert bus.listeners == []


async def test_what_was_missed_on_the_bus_is_read(ledger: Ledger) -> None:
    bus, kept = Loop(), Kept(ledger)
    one, other = Holds(), Holds()
    missing = SharedHolds(runtime(ledger, bus), other)
    bus.away = True
    async with sharing(runtime(kept, bus), one):
        one.of("openai", "k").note(600.0)
        async with asyncio.timeout(PATIENCE):
            await kept.kept.wait()
    assert other.until("openai", "k") == 0.0
    await missing.read()
    assert other.until("openai", "k")


async def test_a_ledger_that_was_away_gets_it_later(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.pipeline.holds._RETRY_PAUSE", 0.0)
    kept = Kept(ledger, failures=2)
    one = Holds()
    async with sharing(runtime(kept, Loop()), one):
        one.of("openai", "k").note(600.0)
        async with asyncio.timeout(PATIENCE):
            await kept.kept.wait()
    assert [(row.provider, row.credential) for row in await ledger.holds.current()] == [
        ("openai", "k")
    ]


async def test_a_ledger_that_takes_long_keeps_nobody_from_being_told(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.pipeline.holds._LEDGER_FIRST", 0.0)
    bus, kept, one, other = Loop(), Kept(ledger), Holds(), Holds()
    answers = asyncio.Event()
    written: set[str] = set()

    async def keep(holds: Mapping[tuple[str, str], datetime]) -> None:
        await answers.wait()
        written.update(credential for _, credential in holds)
        if written == {"k", "later"}:
            kept.kept.set()

    monkeypatch.setattr(kept, "keep", keep)
    async with sharing(runtime(kept, bus), one), sharing(runtime(ledger, bus), other):
        one.of("openai", "k").note(600.0)
        await bus.told_of("k")
        assert other.until("openai", "k")
        one.of("openai", "later").note(600.0)
        await bus.told_of("later")
        assert other.until("openai", "later")
        answers.set()
        async with asyncio.timeout(PATIENCE):
            await kept.kept.wait()


async def test_a_write_under_way_has_ended_when_the_sharing_has(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, one = Kept(ledger), Holds()
    begun, ended = asyncio.Event(), asyncio.Event()

    async def keep(_holds: Mapping[tuple[str, str], datetime]) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            # As a session does that is rolled back.
            await asyncio.to_thread(lambda: None)
            ended.set()

    monkeypatch.setattr(kept, "keep", keep)
    async with sharing(runtime(kept, Loop()), one):
        one.of("openai", "k").note(600.0)
        async with asyncio.timeout(PATIENCE):
            await begun.wait()
    assert ended.is_set()


async def test_an_outage_is_told_until_it_is_over_and_kept_by_nobody(ledger: Ledger) -> None:
    """It is a matter of a minute: a ledger's row would outlive it."""
    bus, kept = Loop(), Kept(ledger)
    one, other = Holds(), Holds()
    async with sharing(runtime(kept, bus), one), sharing(runtime(ledger, bus), other):
        here, there = one.of("openai", "k"), other.of("openai", "k")
        there.failed(time.time(), "status 503")
        for _ in range(FEWEST):
            here.failed(time.time(), "status 503")
        # Beside it, and passed on after it.
        one.of("openai", "another").note(600.0)
        await bus.told_of("another")
        assert there.until == here.until > 0
        assert there.away
        here.answered()
        one.of("openai", "a third").note(600.0)
        await bus.told_of("a third")
        assert not there.until
    names = {row.credential for row in await ledger.holds.current()}
    assert names == {"another", "a third"}


async def test_nonsense_on_the_bus_is_left_out(ledger: Ledger) -> None:
    holds = Holds()
    shared = SharedHolds(runtime(ledger, Loop()), holds)
    for payload in (b"", b"\xff", b"[]", b'{"provider":"x"}'):
        shared.hear(payload)
    assert holds.learn(Hold("x", "", time.time() + 60)), "nothing was learned"
