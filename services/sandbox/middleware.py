"""The outermost layer: response headers of each vendor, and HTTP faults."""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from starlette.datastructures import MutableHeaders
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.sandbox.anthropic import errors as anthropic_errors
from services.sandbox.call import Call, transport_of
from services.sandbox.config import Fault
from services.sandbox.gemini import errors as gemini_errors
from services.sandbox.http import retry_after
from services.sandbox.kinds import Provider, batch_of, provider_of
from services.sandbox.openai import errors as openai_errors
from services.sandbox.sandbox import Sandbox

_GARBAGE = "<html><head><title>502 Bad Gateway</title></head><body>Bad Gateway</body></html>"

_REQUEST_ID: dict[Provider, str] = {"openai": "x-request-id", "anthropic": "request-id"}
_ERRORS = {"openai": openai_errors, "anthropic": anthropic_errors, "gemini": gemini_errors}
_HEADERS: dict[Provider, dict[str, str]] = {
    "openai": {
        "openai-organization": "org-sandbox",
        "openai-version": "2020-10-01",
        "x-ratelimit-limit-requests": "10000",
        "x-ratelimit-remaining-requests": "9999",
        "x-ratelimit-reset-requests": "6ms",
        "x-ratelimit-limit-tokens": "2000000",
        "x-ratelimit-remaining-tokens": "1999999",
        "x-ratelimit-reset-tokens": "0s",
    },
    "anthropic": {
        "anthropic-organization-id": "org-sandbox",
        "anthropic-ratelimit-requests-limit": "4000",
        "anthropic-ratelimit-requests-remaining": "3999",
    },
    "gemini": {"x-content-type-options": "nosniff", "x-frame-options": "SAMEORIGIN"},
}


class Front:
    def __init__(self, app: ASGIApp, sandbox: Sandbox) -> None:
        self._app = app
        self._sandbox = sandbox

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        provider = provider_of(path)
        if scope["type"] != "http" or provider is None:
            await self._app(scope, receive, send)
            return
        call = Call(self._sandbox, provider, scope, send)
        send = _with_headers(call.send, provider)
        fault = self._sandbox.faults.for_request(call.aim)
        try:
            if fault is None:
                await self._app(scope, receive, send)
            else:
                await self._misbehave(fault, call, receive, send)
        finally:
            if fault is None or fault.kind != "reset_before":
                call.lost()

    async def _misbehave(self, fault: Fault, call: Call, receive: Receive, send: Send) -> None:
        scope = call.scope
        match fault.kind:
            case "reset_before":
                _reset(scope)
                await _closed(receive)
            case "reset_after":
                await self._app(scope, receive, _swallow)
                call.lost()
                _reset(scope)
                await _closed(receive)
            case "cut":
                cut = _Cut(scope, send, fault.after_bytes, call.lost)
                await self._app(scope, receive, cut.send)
                if cut.done:
                    await _closed(receive)
            case "slow":
                await self._app(scope, receive, _slowly(receive, send, fault.delay))
            case "not_found":
                error = _ERRORS[call.provider].no_batch(batch_of(call.aim.path))
                await error.response()(scope, receive, send)
            case "withdrawn":
                await _ERRORS[call.provider].refused_key().response()(scope, receive, send)
            case "garbage":
                await HTMLResponse(_GARBAGE)(scope, receive, send)
            case "status":
                response = _ERRORS[call.provider].fault_response(fault.status)
                if fault.retry_after is not None:
                    response.headers.update(retry_after(fault.retry_after))
                await response(scope, receive, send)


async def _swallow(message: Message) -> None:
    """Sends nothing."""


async def _closed(receive: Receive) -> None:
    """Wait until the server knows that the connection is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _reset(scope: Scope) -> None:
    """Break the connection off as a crashed server would: with a TCP reset."""
    transport = transport_of(scope)
    if transport.is_closing():
        # The caller was faster, and its socket is gone.
        return
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class _Cut:
    """Sends the first `left` bytes of the answer's body, then closes the connection."""

    def __init__(self, scope: Scope, send: Send, left: int, on_cut: Callable[[], None]) -> None:
        self._transport = transport_of(scope)
        self._send = send
        self._left = left
        self._on_cut = on_cut
        self.done = False

    async def send(self, message: Message) -> None:
        if self.done:
            return
        body = message.get("body", b"")
        if message["type"] != "http.response.body" or len(body) < self._left:
            self._left -= len(body)
            await self._send(message)
            return
        self.done = True
        await self._send({**message, "body": body[: self._left], "more_body": True})
        self._on_cut()
        self._transport.close()


def _slowly(receive: Receive, send: Send, delay: float) -> Send:
    async def slow_send(message: Message) -> None:
        if message["type"] == "http.response.body":
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await _closed(receive)
        await send(message)

    return slow_send


def _with_headers(send: Send, provider: Provider) -> Send:
    started = monotonic()

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS[provider].items():
                headers.setdefault(name, value)
            if provider in _REQUEST_ID:
                headers[_REQUEST_ID[provider]] = f"req_{secrets.token_hex(12)}"
            if provider == "openai":
                headers["openai-processing-ms"] = str(int((monotonic() - started) * 1000))
        await send(message)

    return send_with_headers
