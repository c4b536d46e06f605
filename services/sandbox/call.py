"""A call to a vendor's interface on its way through the sandbox, and how it is counted."""

from __future__ import annotations

import asyncio
from time import monotonic

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Message, Scope, Send

from services.sandbox.faults import Aim
from services.sandbox.http import WHEN_TOLD, api_key, digest_of, gemini_key
from services.sandbox.kinds import Provider, kind_of
from services.sandbox.sandbox import Sandbox

TRANSPORT = "sandbox.transport"
"""Key of the connection's transport in a scope's extensions; server.py puts it there."""


class Call:
    """One call to a vendor's interface, on its way to being counted."""

    def __init__(self, sandbox: Sandbox, provider: Provider, scope: Scope, send: Send) -> None:
        request = Request(scope)
        self.scope = scope
        self.provider = provider
        self.kind = kind_of(
            request.method, request.url.path, announced="upload_id" in request.query_params
        )
        key = gemini_key(request) if provider == "gemini" else api_key(request)
        self.aim = Aim(provider, self.kind, request.method, request.url.path, key)
        self._credential = digest_of(key)
        self._send = send
        self._traffic = sandbox.bill.traffic(provider)
        self._status = 0
        self._wait: float | None = None
        self._told_at = 0.0
        self._over = False
        self._traffic.arrived(
            self.kind, self._credential, monotonic(), sandbox.options.crossing_seconds
        )

    async def send(self, message: Message) -> None:
        """Send a message of the answer to the caller."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._wait = _wait_of(Headers(raw=message["headers"]))
            # Before it is out, so that no caller can have counted from an earlier moment.
            self._told_at = monotonic()
        # Once the last message is out, the server may close the connection itself.
        there = not transport_of(self.scope).is_closing()
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body") and there:
            self._answered()

    def _answered(self) -> None:
        self._over = True
        self._traffic.answered(self.kind, self._credential, self._status, self._told_at, self._wait)
        if self._status < 400 and WHEN_TOLD in self.scope:
            self.scope[WHEN_TOLD]()

    def lost(self) -> None:
        """It was handled; unless its answer went out whole, count that as lost."""
        if not self._over:
            self._over = True
            self._traffic.answer_lost(self.kind)


def transport_of(scope: Scope) -> asyncio.Transport:
    """The connection that a call came on."""
    transport: asyncio.Transport = scope["extensions"][TRANSPORT]
    return transport


def _wait_of(headers: Headers) -> float | None:
    """The seconds for which an answer asks its reader to wait."""
    if (exact := headers.get("retry-after-ms")) is not None:
        return float(exact) / 1000
    whole = headers.get("retry-after")
    return None if whole is None else float(whole)
