"""Readiness: a service serves only while all that it stands on answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from core.metrics import DEPENDENCY_UP
from core.pipeline.timing import repeat
from core.serving import GrpcServer

log = structlog.get_logger()

_INTERVAL = 2.0
_CHECK_TIMEOUT = 5.0


class Readiness:
    """Checks the ledger, blobs and bus every two seconds and tells the health service."""

    def __init__(
        self, server: GrpcServer, checks: Mapping[str, Callable[[], Awaitable[None]]]
    ) -> None:
        self._server = server
        self._checks = checks
        self._away: frozenset[str] | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Check until `stop` is set."""
        await repeat(self.once, _INTERVAL, stop)

    async def once(self) -> bool:
        """One round of checks; True when everything answers."""
        causes = await asyncio.gather(*(self._ask(name) for name in self._checks))
        failing = {name: cause for name, cause in zip(self._checks, causes, strict=True) if cause}
        for name in self._checks:
            DEPENDENCY_UP.labels(name).set(name not in failing)
        away = frozenset(failing)
        if away != self._away:
            self._away = away
            if away:
                log.warning("not_ready", away=failing)
            else:
                log.info("ready")
            await self._server.set_ready(not away)
        return not away

    async def _ask(self, name: str) -> str:
        """Why a check fails; empty if it does not."""
        try:
            async with asyncio.timeout(_CHECK_TIMEOUT):
                await self._checks[name]()
        except Exception as error:  # noqa: BLE001  (whatever it is, it means: not ready)
            return str(error) or type(error).__name__
        return ""
