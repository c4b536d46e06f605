"""A gRPC proxy before the real services, which breaks calls at named points.

Messages, metadata and statuses go through as they are, one message at a time, so that a slow
reader slows the sender. Each call is noted, for the scenario to judge.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from polybatch._transport.driving import run as at_once

from tests.conformance.calls import METHODS, Call, Reader
from tests.conformance.signals import Signals
from tests.support.client.fault import Fault
from tests.support.stores.process import free_port

# As the services': a client pings every 30 s, and sends and takes what gRPC does by default.
SERVER_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # So much at most is taken ahead of what the service takes.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 256 * 1024),
)
CHANNEL_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", -1),
)
# What gRPC sets itself.
_OWN_METADATA = ("user-agent", "te", "content-type")
# A call without a deadline has one in some hundred million years.
_NO_DEADLINE = 10 * 365 * 86_400.0
_STATUS_WAIT = 5.0


@dataclass
class Port:
    """One address of the proxy, before one service."""

    name: str
    number: int
    upstream: str
    credentials: grpc.ServerCredentials | None
    server: grpc.aio.Server | None = None
    channel: grpc.aio.Channel | None = None


class Proxy:
    """The ports of one scenario. Not for threads."""

    def __init__(self, signals: Signals) -> None:
        self.calls: list[Call] = []
        self.completed_state: int | None = None
        """The number that clients are told instead of that of a completed batch."""
        self._signals = signals
        self._ports: dict[str, Port] = {}
        self._faults: list[tuple[Collection[str], deque[Fault | None]]] = []
        self._began = asyncio.get_running_loop().time()

    def add(
        self, name: str, upstream: str, credentials: grpc.ServerCredentials | None = None
    ) -> int:
        """Set a port aside before a service at host:port; `open` makes it listen.

        `credentials`: of TLS, which it then speaks.
        """
        self._ports[name] = Port(name, free_port(), upstream, credentials)
        return self._ports[name].number

    async def open(self, *names: str) -> None:
        """Listen, also once more."""
        for name in names:
            port = self._ports[name]
            port.channel = grpc.aio.insecure_channel(port.upstream, CHANNEL_OPTIONS)
            port.server = server = grpc.aio.server(options=SERVER_OPTIONS)
            server.add_generic_rpc_handlers((_Handlers(self, port),))
            address = f"127.0.0.1:{port.number}"
            if port.credentials is None:
                server.add_insecure_port(address)
            else:
                server.add_secure_port(address, port.credentials)
            await server.start()

    async def shut(self, *names: str) -> None:
        """Break all connections of ports, and listen there no more."""
        for name in names:
            port = self._ports[name]
            server, port.server = port.server, None
            channel, port.channel = port.channel, None
            if server is not None and channel is not None:
                await server.stop(None)
                await channel.close()

    async def close(self) -> None:
        """Shut all ports."""
        await self.shut(*self._ports)

    def fail(self, methods: Collection[str], *faults: Fault | None) -> None:
        """Let the next calls of methods fail, one after the other; None: that one goes well."""
        self._faults.append((methods, deque(faults)))

    def of(self, methods: Collection[str], port: str = "") -> list[Call]:
        """The calls of methods so far."""
        return [c for c in self.calls if c.method in methods and port in ("", c.port)]

    def now(self) -> float:
        """Seconds since the proxy was made."""
        return asyncio.get_running_loop().time() - self._began

    # What follows is for the handlers.

    async def relay(
        self, port: Port, path: str, requests: AsyncIterator[bytes], context: Any
    ) -> None:
        """Take one call through, or to where it breaks."""
        method, remaining = METHODS.get(path), context.time_remaining()
        deadline = None if remaining is None or remaining > _NO_DEADLINE else remaining
        if method is None:
            await _Relayed(port, path, deadline, context).run(requests)
            return
        call = Call(
            method.name,
            port.name,
            self.now(),
            deadline,
            method.client_streaming,
            method.server_streaming,
        )
        self.calls.append(call)
        self._signals.notify()
        relayed = _Noted(self, port, path, call, Reader(call, method), context)
        try:
            await relayed.run(requests)
        except asyncio.CancelledError:
            if call.ended is None:
                self.end(call, "the client went away")
            raise

    def fault_of(self, method: str) -> Fault | None:
        """Takes the fault of the call that begins."""
        for methods, faults in self._faults:
            if method in methods and faults:
                return faults.popleft()
        return None

    def end(self, call: Call, status: str = "") -> None:
        """Note that a call is over; what the client is told comes after."""
        call.ended, call.status = self.now(), status or call.status
        self._signals.notify()

    def notify(self) -> None:
        """Something went through."""
        self._signals.notify()


class _Handlers(grpc.GenericRpcHandler):
    """On the wire all kinds of calls are streams both ways."""

    def __init__(self, proxy: Proxy, port: Port) -> None:
        self._proxy = proxy
        self._port = port

    def service(self, handler_call_details: Any) -> Any:
        path = handler_call_details.method

        async def relay(requests: AsyncIterator[bytes], context: Any) -> None:
            await self._proxy.relay(self._port, path, requests, context)

        return grpc.stream_stream_rpc_method_handler(relay)


class _Relayed:
    """One call on its way through."""

    def __init__(self, port: Port, path: str, deadline: float | None, context: Any) -> None:
        self._port = port
        self._path = path
        self._deadline = deadline
        self._context = context
        self._status: tuple[grpc.StatusCode, str, Any] | None = None
        self._status_known = asyncio.Event()

    async def run(self, requests: AsyncIterator[bytes]) -> None:
        """Both directions, until the service has ended the call."""
        assert self._port.channel is not None
        sent_along = self._context.invocation_metadata()
        upstream: Any = self._port.channel.stream_stream(self._path)(
            timeout=self._deadline,
            metadata=grpc.aio.Metadata(*((k, v) for k, v in sent_along if k not in _OWN_METADATA)),
        )
        upstream.add_done_callback(self._note_status)
        sending = asyncio.create_task(self._send(requests, upstream))
        try:
            await self._receive(upstream)
            if sending.done():
                sending.result()
            await self.over()
        finally:
            sending.cancel()
            upstream.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _send(self, requests: AsyncIterator[bytes], upstream: Any) -> None:
        try:
            async for request in requests:
                await upstream.write(request)
                if self.sent(request):
                    break
            await upstream.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            # The call has ended, well or not: its status tells which.
            return
        except BaseException:
            upstream.cancel()
            raise

    async def _receive(self, upstream: Any) -> None:
        begun = False
        with suppress(grpc.aio.AioRpcError):
            while (reply := await upstream.read()) is not grpc.aio.EOF:
                if not begun:
                    begun = True
                    headers = await upstream.initial_metadata()
                    await self._context.send_initial_metadata(tuple(headers))
                if await self.received(reply):
                    return

    def sent(self, _request: bytes) -> bool:
        """A message has been passed on; returns whether it was the last one."""
        return False

    async def received(self, reply: bytes) -> bool:
        """Pass a message on; returns whether it was the last one."""
        await self._context.write(reply)
        return False

    async def over(self) -> None:
        """Everything has been passed on: end the call as the service has."""
        await self.pass_on(*await self.ended())

    def _note_status(self, call: Any) -> None:
        """Where a call ends while a message is being written, grpc.aio sets a status of its own
        before or after the service's: https://github.com/grpc/grpc/issues/36066."""
        code, details = at_once(call.code()), at_once(call.details())
        if not (code is grpc.StatusCode.INTERNAL and details == "Internal error from Core"):
            self._status = (code, details or "", at_once(call.trailing_metadata()))
            self._status_known.set()

    async def ended(self) -> tuple[grpc.StatusCode, str, Any]:
        """The service's status."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._status_known.wait(), _STATUS_WAIT)
        return self._status or (grpc.StatusCode.UNAVAILABLE, "the connection broke", ())

    async def pass_on(self, code: grpc.StatusCode, details: str, trailers: Any) -> None:
        """End the client's call with a status."""
        if code is not grpc.StatusCode.OK:
            await self._context.abort(code, details, tuple(trailers or ()))
        self._context.set_trailing_metadata(tuple(trailers or ()))


class _Noted(_Relayed):
    """One call that is noted, and that may break."""

    def __init__(
        self, proxy: Proxy, port: Port, path: str, call: Call, reader: Reader, context: Any
    ) -> None:
        super().__init__(port, path, call.deadline, context)
        self._proxy = proxy
        self._call = call
        self._reader = reader
        self._fault = proxy.fault_of(call.method)
        self._broken: Fault | None = None
        self._counted = 0

    async def run(self, requests: AsyncIterator[bytes]) -> None:
        """See _Relayed; a fault without a place strikes before the work."""
        fault = self._fault
        if fault is None or fault.after_bytes or fault.after_messages or fault.after_work:
            await super().run(requests)
            return
        # The first message says what was wanted.
        self._reader.request(await anext(requests))
        await self._break(fault)

    def sent(self, request: bytes) -> bool:
        """Whether an upload breaks here. It ends without `finish` for the service, which keeps
        what came before it says so: then it is known what is committed."""
        self._reader.request(request)
        fault, call = self._fault, self._call
        if fault is not None and call.streams_up and 0 < fault.after_bytes <= call.bytes_up:
            self._broken = fault
        self._proxy.notify()
        return self._broken is not None

    async def received(self, reply: bytes) -> bool:
        """Whether a watch or a download breaks here, or the answer is lost."""
        fault, call = self._fault, self._call
        self._counted += self._reader.reply(reply)
        if fault is not None and fault.after_work:
            self._broken = fault
            return True
        if self._proxy.completed_state is not None:
            reply = self._reader.in_state(reply, self._proxy.completed_state)
        await self._context.write(reply)
        self._proxy.notify()
        if fault is not None and call.streams_down:
            messages = 0 < fault.after_messages <= self._counted
            if messages or 0 < fault.after_bytes <= call.bytes_down:
                self._broken = fault
        return self._broken is not None

    async def over(self) -> None:
        """See _Relayed."""
        if self._broken is not None:
            if self._call.streams_up:
                await self.ended()
            await self._break(self._broken)
            return
        code, details, trailers = await self.ended()
        self._reader.end(code, trailers)
        self._proxy.end(self._call)
        await self.pass_on(code, details, trailers)

    async def _break(self, fault: Fault) -> None:
        if fault.hold:
            self._call.held = True
            self._proxy.notify()
            # Until the client goes, or the port is shut.
            await asyncio.Event().wait()
        if fault.end_with_ok:
            self._proxy.end(self._call, "OK (too early, by the proxy)")
            return
        named = f"{fault.code.name} ({fault.reason})" if fault.reason else fault.code.name
        self._proxy.end(self._call, f"{named}, by the proxy")
        await fault.abort(self._context)
