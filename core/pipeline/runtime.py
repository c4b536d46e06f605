"""What every service stands on: the ledger, the blobs and the bus, opened together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import structlog

from core.blobs import BlobStore
from core.bus import Bus, BusUnavailable
from core.ledger import BadDatabaseUrl, Ledger, LedgerUnavailable, UnknownSchema
from core.pipeline.publishing import EventPublisher
from core.serving import StartupError
from core.settings import Settings

log = structlog.get_logger()

_Opened = TypeVar("_Opened")

# For each of the two; then the process ends, and whoever started it starts it again.
_PATIENCE = 30.0
_NATS_ATTEMPT = 5.0
_RETRY_PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class Runtime:
    """Open connections of one process."""

    settings: Settings
    ledger: Ledger
    blobs: BlobStore
    bus: Bus
    publisher: EventPublisher

    def checks(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """What readiness asks."""

        async def bus() -> None:
            if not self.bus.ready:
                raise BusUnavailable("not connected")

        return {"ledger": self.ledger.check, "blobs": self.blobs.check, "bus": bus}


async def open_ledger(settings: Settings, *, patience: float = _PATIENCE) -> Ledger:
    """Connect to the database and bring it up to date. Raises StartupError.

    `patience`: seconds to wait for a database that does not answer yet.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + patience
    while True:
        try:
            return await Ledger.open(
                settings.effective_database_url, pool_size=settings.database_pool_size
            )
        except BadDatabaseUrl as error:
            raise StartupError(f"POLYBATCH_DATABASE_URL: {error}") from error
        except UnknownSchema as error:
            raise StartupError(str(error)) from error
        except LedgerUnavailable as error:
            if loop.time() >= end:
                raise StartupError(
                    f"the database of POLYBATCH_DATABASE_URL cannot be used: {error}"
                ) from error
            log.warning("ledger_not_ready", cause=str(error))
            await asyncio.sleep(_RETRY_PAUSE)


def open_blobs(settings: Settings, *, reserve: int) -> BlobStore:
    """Open the blob store; `reserve`: bytes to leave on a local disk. Raises StartupError."""
    try:
        return BlobStore.open(settings.effective_blobs_url, reserve=reserve)
    except ValueError as error:
        raise StartupError(f"POLYBATCH_BLOBS_URL: {error}") from error


async def open_bus(settings: Settings, name: str) -> Bus:
    """Connect to NATS, waiting for it as for the database. Raises StartupError."""
    loop = asyncio.get_running_loop()
    end = loop.time() + _PATIENCE
    while True:
        try:
            return await Bus.connect(
                settings.nats_url,
                name=name,
                replicas=settings.nats_replicas,
                connect_timeout=_NATS_ATTEMPT,
            )
        except BusUnavailable as error:
            if loop.time() >= end:
                raise StartupError(f"POLYBATCH_NATS_URL: {error}") from error
            log.warning("bus_not_ready", cause=str(error))
            await asyncio.sleep(_RETRY_PAUSE)


async def _unless_stopped(
    opening: Coroutine[object, object, _Opened], stop: asyncio.Event
) -> _Opened:
    """Raises StartupError where `stop` is set before it is open."""
    opened = asyncio.create_task(opening)
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({opened, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if opened.done():
            return opened.result()
        raise StartupError("stopped before the database and NATS had answered")
    finally:
        stopping.cancel()
        opened.cancel()
        await asyncio.gather(opened, return_exceptions=True)


@asynccontextmanager
async def open_runtime(
    settings: Settings, name: str, stop: asyncio.Event, *, disk_reserve: int = 0
) -> AsyncIterator[Runtime]:
    """Connect to everything and close it at the end of the block. Raises StartupError, also
    where `stop` is set before all is open.

    `disk_reserve`: bytes that this service leaves free on a local disk.
    """
    if not settings.nats_url:
        raise StartupError(
            "POLYBATCH_NATS_URL is not set: start everything with `make up`, "
            "or name the nats:// URL of a server with JetStream"
        )
    async with AsyncExitStack() as stack:
        ledger = await _unless_stopped(open_ledger(settings), stop)
        stack.push_async_callback(ledger.close)
        blobs = open_blobs(settings, reserve=disk_reserve)
        bus = await _unless_stopped(open_bus(settings, name), stop)
        stack.push_async_callback(bus.close)
        yield Runtime(settings, ledger, blobs, bus, EventPublisher(bus, ledger))
