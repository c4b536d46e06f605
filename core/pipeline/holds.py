"""Let every process obey what a provider has told one of them (Retry-After), or that it is away.

A hold goes into the ledger, for whoever starts later or misses the message, and then out on the
bus; the ledger is read at the start and now and then. In this order, as of a process that dies in
between it is the successor that calls next. That a provider is away, and that it is back, goes out
on the bus alone: it holds for a minute, and who misses it finds out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import msgspec
import structlog

from core.ledger import LedgerUnavailable
from core.pipeline.runtime import Runtime
from core.providers import Hold, Holds

log = structlog.get_logger()

TOPIC = "holds"
_RETRY_PAUSE = 1.0
# A ledger that takes longer is not waited for. It is for a disk that is busy: without the ledger
# the others begin nothing either.
_LEDGER_FIRST = 2.0

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Hold).decode


class SharedHolds:
    """The holds of one process, as the others know them too."""

    def __init__(self, runtime: Runtime, holds: Holds) -> None:
        self._ledger = runtime.ledger
        self._bus = runtime.bus
        self._interval = runtime.settings.sweep_interval
        self._holds = holds
        self._pending: dict[tuple[str, str, bool], Hold] = {}
        self._unkept: dict[tuple[str, str, bool], Hold] = {}
        """What is still to be written; one write at a time takes all of it."""
        self._keeping: asyncio.Task[None] | None = None
        self._work = asyncio.Event()

    async def read(self) -> None:
        """Take in what the ledger has. Raises LedgerUnavailable."""
        for row in await self._ledger.holds.current():
            self._holds.learn(Hold(row.provider, row.credential, row.until.timestamp()))

    def hear(self, payload: bytes) -> None:
        """Take in what another process was told."""
        try:
            self._holds.learn(_decode(payload))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("hold_malformed", cause=str(error))

    def tell(self, hold: Hold) -> None:
        """Pass on what this process was told, as soon as may be."""
        self._pending[_place(hold)] = hold
        self._work.set()

    async def pass_on(self) -> None:
        """Pass on what is told, for ever."""
        try:
            while True:
                await self._work.wait()
                self._work.clear()
                # The newest of each: a provider that refuses a hundred calls says it as often.
                pending, self._pending = self._pending, {}
                asked_for = {place: hold for place, hold in pending.items() if hold.asked_for}
                if asked_for:
                    self._unkept |= asked_for
                    if self._keeping is None or self._keeping.done():
                        self._keeping = asyncio.create_task(self._keep_all())
                    await asyncio.wait([self._keeping], timeout=_LEDGER_FIRST)
                for hold in pending.values():
                    await self._bus.broadcast(TOPIC, _encode(hold))
        finally:
            # Whoever stops this stops the write too, and waits for it: the ledger is closed next.
            if self._keeping is not None:
                self._keeping.cancel()
                await asyncio.gather(self._keeping, return_exceptions=True)

    async def _keep_all(self) -> None:
        while self._unkept:
            holds, self._unkept = list(self._unkept.values()), {}
            await self._keep(holds)

    async def _keep(self, holds: Sequence[Hold]) -> None:
        until = {
            (hold.provider, hold.credential): datetime.fromtimestamp(hold.until, UTC)
            for hold in holds
        }
        try:
            await self._ledger.holds.keep(until)
        except LedgerUnavailable as error:
            log.warning(
                "holds_not_kept",
                providers=sorted({provider for provider, _ in until}),
                cause=str(error),
            )
            # Not here: the others are to be told meanwhile.
            asyncio.get_running_loop().call_later(_RETRY_PAUSE, self._once_more, holds)

    def _once_more(self, holds: Sequence[Hold]) -> None:
        for hold in holds:
            # Unless something newer is there by now.
            self._pending.setdefault(_place(hold), hold)
        self._work.set()

    async def read_again(self) -> None:
        """Read the ledger now and then, for ever: a message may be lost."""
        while True:
            await asyncio.sleep(self._interval)
            await self.read_or_log()

    async def read_or_log(self) -> None:
        """Read the ledger if it answers: the next look makes good what is missed."""
        try:
            await self.read()
        except LedgerUnavailable as error:
            log.warning("holds_not_read", cause=str(error))


def _place(hold: Hold) -> tuple[str, str, bool]:
    return hold.provider, hold.credential, hold.asked_for


@asynccontextmanager
async def sharing(runtime: Runtime, holds: Holds) -> AsyncIterator[SharedHolds]:
    """Share the holds of this process for the length of the block.

    What others know already is known when it begins.
    """
    shared = SharedHolds(runtime, holds)
    subscription = await runtime.bus.listen(TOPIC, shared.hear)
    await shared.read_or_log()
    holds.on_told = shared.tell
    tasks = [asyncio.create_task(work) for work in (shared.pass_on(), shared.read_again())]
    try:
        yield shared
    finally:
        holds.on_told = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await subscription.unsubscribe()
