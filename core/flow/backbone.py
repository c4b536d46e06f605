"""What every service stands on: the ledger, the blobs and the bus, opened together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from core.blobs import BlobStore
from core.bus import Bus, BusUnavailable
from core.flow.announce import Announcer
from core.ledger import Ledger
from core.serving import StartupError
from core.settings import Settings


@dataclass(frozen=True, slots=True)
class Backbone:
    """Open connections of one process."""

    settings: Settings
    ledger: Ledger
    blobs: BlobStore
    bus: Bus
    announcer: Announcer

    def checks(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """What readiness asks."""

        async def bus() -> None:
            if not self.bus.ready:
                raise BusUnavailable("not connected")

        return {"ledger": self.ledger.check, "blobs": self.blobs.check, "bus": bus}


@asynccontextmanager
async def open_backbone(settings: Settings, name: str) -> AsyncIterator[Backbone]:
    """Connect to everything and close it at the end of the block. Raises StartupError."""
    if not settings.nats_url:
        raise StartupError(
            "POLYBATCH_NATS_URL is not set: start everything with `make up`, "
            "or name the nats:// URL of a server with JetStream"
        )
    async with AsyncExitStack() as stack:
        ledger = await Ledger.open(settings.effective_database_url)
        stack.push_async_callback(ledger.close)
        blobs = BlobStore.open(settings.effective_blobs_url)
        try:
            bus = await Bus.connect(settings.nats_url, name=name)
        except BusUnavailable as error:
            raise StartupError(str(error)) from error
        stack.push_async_callback(bus.close)
        yield Backbone(settings, ledger, blobs, bus, Announcer(bus))
