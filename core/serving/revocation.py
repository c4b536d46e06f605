"""Ends the open calls of keys that were revoked meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import TypeAlias

import structlog

from core.serving.api_error import ApiError
from core.serving.in_flight import InFlightInterceptor

log = structlog.get_logger()

Revoked: TypeAlias = Callable[[Collection[str]], Awaitable[Collection[str]]]
"""Takes ids of keys and returns those that are revoked."""


class Revocation:
    """Looks every `interval` seconds whether the keys of the open calls are valid still."""

    def __init__(self, in_flight: InFlightInterceptor, revoked: Revoked, interval: float) -> None:
        self._in_flight = in_flight
        self._revoked = revoked
        self._interval = interval

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(self._interval)
            await self.look()

    async def look(self) -> None:
        """Look once. Raises nothing: while nobody can tell, calls go on."""
        keys = self._in_flight.keys
        if not keys:
            return
        try:
            revoked = await self._revoked(keys)
        except Exception as error:  # noqa: BLE001 - the next look asks again, whatever it is
            log.warning("revocation_unknown", cause=type(error).__name__)
            return
        for key_id in revoked:
            ended = self._in_flight.end_calls_of(
                key_id,
                ApiError.unauthenticated("API_KEY_REVOKED", "the API key was revoked"),
            )
            log.info("revoked_calls_ended", key_id=key_id, calls=ended)
