"""A way to a server that can lose the answer to what the server has done."""

from __future__ import annotations

import asyncio

_PIECE = 64 * 1024


class LossyProxy:
    """Forwards TCP connections of the loopback.

    After `lose_next`, the first connection that sends `trigger` is cut as soon as the
    server answers: the server has done it, and whoever asked is not told.
    """

    def __init__(self, port: int, trigger: bytes) -> None:
        self._to = port
        self._trigger = trigger
        self.armed = False
        """Whether an answer is still to be lost."""
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        """Where it listens."""

    def lose_next(self) -> None:
        """Lose the answer to the next one."""
        self.armed = True

    async def __aenter__(self) -> LossyProxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_raised: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers |= {writer, far_writer}
        doomed = asyncio.Event()

        async def ask() -> None:
            while piece := await reader.read(_PIECE):
                if self.armed and self._trigger in piece:
                    self.armed = False
                    doomed.set()
                far_writer.write(piece)
                await far_writer.drain()

        async def answer() -> None:
            while piece := await far_reader.read(_PIECE):
                if doomed.is_set():
                    return
                writer.write(piece)
                await writer.drain()

        ways = [asyncio.create_task(ask()), asyncio.create_task(answer())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for each in (writer, far_writer):
                each.transport.abort()
                self._writers.discard(each)
