"""What every service stands on: the ledger, the blobs and the bus, opened together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog

from core.blobs import BlobStore
from core.bus import Bus, BusUnavailable
from core.ledger import BadDatabaseUrl, Ledger, LedgerUnavailable, UnknownSchema
from core.pipeline.publishing import EventPublisher
from core.serving import StartupError
from core.settings import Settings

log = structlog.get_logger()

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


@asynccontextmanager
async def open_runtime(
    settings: Settings, name: str, *, disk_reserve: int = 0
) -> AsyncIterator[Runtime]:
    """Connect to everything and close it at the end of the block. Raises StartupError.

    `disk_reserve`: bytes that this service leaves free on a local disk.
    """
    if not settings.nats_url:
        raise StartupError(
            "POLYBATCH_NATS_URL is not set: start everything with `make up`, "
            "or name the nats:// URL of a server with JetStream"
        )
    async with AsyncExitStack() as stack:
        ledger = await open_ledger(settings)
        stack.push_async_callback(ledger.close)
        blobs = open_blobs(settings, reserve=disk_reserve)
        bus = await open_bus(settings, name)
        stack.push_async_callback(bus.close)
        yield Runtime(settings, ledger, blobs, bus, EventPublisher(bus, ledger))
