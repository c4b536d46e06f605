"""The outermost layer: response headers of each vendor, and HTTP faults."""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct
from time import monotonic

from starlette.datastructures import MutableHeaders
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import anthropic_errors, openai_errors
from .config import Fault, Provider
from .sandbox import Sandbox

TRANSPORT = "sandbox.transport"
"""Key of the connection's transport in a scope's extensions; server.py puts it there."""
_GARBAGE = "<html><head><title>502 Bad Gateway</title></head><body>Bad Gateway</body></html>"


class Front:
    def __init__(self, app: ASGIApp, sandbox: Sandbox) -> None:
        self._app = app
        self._sandbox = sandbox

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        provider: Provider = "anthropic" if path.startswith("/v1/messages") else "openai"
        send = _with_headers(send, provider)
        fault = self._sandbox.faults.for_request(provider, scope["method"], path)
        if fault is None:
            await self._app(scope, receive, send)
        else:
            await self._misbehave(fault, provider, scope, receive, send)

    async def _misbehave(
        self, fault: Fault, provider: Provider, scope: Scope, receive: Receive, send: Send
    ) -> None:
        match fault.kind:
            case "reset_before":
                _reset(scope)
            case "reset_after":
                await self._app(scope, receive, _swallow)
                _reset(scope)
            case "status":
                errors = anthropic_errors if provider == "anthropic" else openai_errors
                response = errors.fault_response(fault.status)
                if fault.retry_after is not None:
                    response.headers["retry-after"] = f"{fault.retry_after:g}"
                await response(scope, receive, send)
            case "garbage":
                await HTMLResponse(_GARBAGE)(scope, receive, send)
            case "slow":
                await self._app(scope, receive, _slowly(send, fault.delay))
            case "cut":
                await self._app(scope, receive, _cut(send, fault.after_bytes, scope))


async def _swallow(message: Message) -> None:
    """Sends nothing."""


def _reset(scope: Scope) -> None:
    """Break the connection off as a crashed server would: with a TCP reset."""
    transport: asyncio.Transport = scope["extensions"][TRANSPORT]
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _slowly(send: Send, delay: float) -> Send:
    async def slow_send(message: Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.sleep(delay)
        await send(message)

    return slow_send


def _cut(send: Send, after_bytes: int, scope: Scope) -> Send:
    left = after_bytes

    async def cutting_send(message: Message) -> None:
        nonlocal left
        if message["type"] == "http.response.body":
            body = message.get("body", b"")
            if len(body) >= left:
                await send({"type": "http.response.body", "body": body[:left], "more_body": True})
                left = 0
                scope["extensions"][TRANSPORT].close()
                return
            left -= len(body)
        await send(message)

    return cutting_send


def _with_headers(send: Send, provider: Provider) -> Send:
    started = monotonic()

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            request_id = f"req_{secrets.token_hex(12)}"
            if provider == "anthropic":
                headers["request-id"] = request_id
                headers["anthropic-organization-id"] = "org-sandbox"
                headers["anthropic-ratelimit-requests-limit"] = "4000"
                headers["anthropic-ratelimit-requests-remaining"] = "3999"
            else:
                headers["x-request-id"] = request_id
                headers["openai-organization"] = "org-sandbox"
                headers["openai-processing-ms"] = str(int((monotonic() - started) * 1000))
                headers["openai-version"] = "2020-10-01"
                headers["x-ratelimit-limit-requests"] = "10000"
                headers["x-ratelimit-remaining-requests"] = "9999"
                headers["x-ratelimit-reset-requests"] = "6ms"
        await send(message)

    return send_with_headers
