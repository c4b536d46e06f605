"""What lies between a browser and the service: a line that can be held, cut and mended."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tests.support.stores.process import free_port

_PIECE = 64 * 1024
# What asks for pages and states; only what brings more is held.
_SMALL = 256 * 1024


class Relay:
    """Passes bytes on, on a port of its own; `source`: the address that it calls from."""

    def __init__(self, port: int, source: str) -> None:
        # The same one after a cut: nobody else may take it meanwhile.
        self.port = free_port()
        self._source = source
        self._target = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._room = asyncio.Condition()
        self._left = 0

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def allow(self, size: int) -> None:
        """Let so many bytes of uploads pass from now on, and hold the rest back."""
        self._run(self._allow(size))

    def cut(self) -> None:
        """Break all connections, and take no more."""
        self._run(self._cut())

    def mend(self) -> None:
        """Take connections again."""
        self._run(self._listen())

    def start(self) -> None:
        self._thread.start()
        self.mend()

    def stop(self) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _allow(self, size: int) -> None:
        async with self._room:
            self._left = size
            self._room.notify_all()

    async def _listen(self) -> None:
        listener = socket.create_server(("127.0.0.1", self.port))
        # Else the kernel takes tens of megabytes in before anything is held.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _PIECE)
        self._server = await asyncio.start_server(self._pass, sock=listener)

    async def _end(self) -> None:
        await self._cut()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._open:
            writer.transport.abort()
        async with self._room:
            self._room.notify_all()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.CancelledError):
            there, back = await asyncio.open_connection(
                "127.0.0.1", self._target, local_addr=(self._source, 0)
            )
            ends = {writer, back}
            self._open |= ends
            try:
                await asyncio.gather(
                    self._pump(reader, back, held=True), self._pump(there, writer, held=False)
                )
            finally:
                self._open -= ends
                for end in ends:
                    end.transport.abort()

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, held: bool
    ) -> None:
        passed = 0
        while piece := await source.read(_PIECE):
            passed += len(piece)
            if held and passed > _SMALL:
                async with self._room:
                    await self._room.wait_for(lambda: self._left > 0 or sink.is_closing())
                    self._left -= len(piece)
            sink.write(piece)
            await sink.drain()
        sink.close()


@contextmanager
def relay_to(port: int, source: str = "127.0.0.1") -> Iterator[Relay]:
    """A relay to a port of this machine."""
    relay = Relay(port, source)
    relay.start()
    yield relay
    relay.stop()
