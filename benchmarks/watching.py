"""A program: many watchers, each a gRPC stream, on a few connections.

Reads a line {"collector": addresses, separated by commas, "api_key", "batches": [the batch
of each watcher]}, prints "ready" when each has its first snapshot, reads a line
{batch: revision}, and when each watcher has seen that revision prints
[[batch, [[revision, time of arrival], ...]], ...].
Times are those of the monotonic clock, which all processes of a Linux machine share.

Watchers are many machines' in earnest, and here one process beside the services, on the same
cores. So it takes as little of them as it can, and speaks HTTP/2 itself: grpc.aio needs 40 us for
a message, as much as the collector that sends it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import struct
import sys
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import cast

import uvloop
from polybatch.v1 import status_pb2

_CONNECTIONS = 10
# Of one connection: streams that wait for their first snapshot.
_OPENING = 50

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_ACK = _END_STREAM = 1
_END_HEADERS = 4
_INITIAL_WINDOW_SIZE = 4
_WINDOW = 65_535
_LARGEST_WINDOW = 2**31 - 1
_HEAD = struct.Struct(">BHBBI")
"""Of a frame: its length in three bytes, kind, flags, stream."""
_PREFIX = struct.Struct(">BI")
"""Of a message of gRPC: whether it is compressed, its length."""
_PATH = "/polybatch.v1.StatusService/WatchBatch"


@dataclass(slots=True, eq=False)
class Watcher:
    """One stream."""

    batch_id: str
    seen: list[tuple[int, float]] = field(default_factory=list)
    wanted: int = 1
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    def expect(self, revision: int) -> asyncio.Event:
        """An event that is set once a revision has been seen."""
        self.wanted = revision
        self.reached.clear()
        self.look()
        return self.reached

    def look(self) -> None:
        """Whether it has been seen by now."""
        if self.seen and self.seen[-1][0] >= self.wanted:
            self.reached.set()


class Connection(asyncio.Protocol):
    """As much of HTTP/2 (RFC 9113) as a client of streams needs that only reads."""

    def __init__(self, authority: str, api_key: str, watchers: Iterable[Watcher]) -> None:
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Has an exception when a stream or the connection has ended."""
        self._headers = _request_headers(authority, api_key)
        self._waiting = deque(watchers)
        self._streams: dict[int, Watcher] = {}
        self._pieces: dict[int, bytes] = {}
        self._rest = b""
        self._window = _WINDOW
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open the first streams."""
        self._transport = cast("asyncio.Transport", transport)
        settings = struct.pack(">HI", _INITIAL_WINDOW_SIZE, _LARGEST_WINDOW)
        more = struct.pack(">I", _LARGEST_WINDOW - _WINDOW)
        self._transport.write(
            _PREFACE + _frame(_SETTINGS, 0, 0, settings) + _frame(_WINDOW_UPDATE, 0, 0, more)
        )
        for _ in range(_OPENING):
            self._open_next()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell it, unless it was closed from here."""
        self._break("a connection was lost")

    def close(self) -> None:
        """End all streams."""
        self.broken.cancel()
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Take frames apart."""
        moment = time.monotonic()
        text, at = self._rest + data, 0
        whole = len(text) - _HEAD.size
        while at <= whole:
            high, low, kind, flags, stream = _HEAD.unpack_from(text, at)
            end = at + _HEAD.size + (high << 16 | low)
            if end > len(text):
                break
            payload = text[at + _HEAD.size : end]
            if kind == _DATA:
                self._take(stream, payload, moment)
            elif kind == _SETTINGS and not flags & _ACK:
                self._transport.write(_frame(_SETTINGS, _ACK, 0, b""))
            elif kind == _PING and not flags & _ACK:
                self._transport.write(_frame(_PING, _ACK, 0, payload))
            elif kind == _WINDOW_UPDATE and not stream:
                self._window += int.from_bytes(payload, "big")
            elif kind in (_RST_STREAM, _GOAWAY) or (flags & _END_STREAM and kind == _HEADERS):
                self._break(f"a watch was ended, by a frame of kind {kind}: {payload[:300]!r}")
            at = end
        self._rest = text[at:]

    def _break(self, why: str) -> None:
        if not self.broken.done():
            self.broken.set_exception(RuntimeError(why))

    def _open_next(self) -> None:
        if not self._waiting:
            return
        watcher = self._waiting.popleft()
        request = status_pb2.WatchBatchRequest(batch_id=watcher.batch_id).SerializeToString()
        message = _PREFIX.pack(0, len(request)) + request
        self._window -= len(message)
        if self._window < 0:
            return self._break("the collector takes no more requests on a connection")
        number = 2 * len(self._streams) + 1
        self._streams[number] = watcher
        self._transport.write(
            _frame(_HEADERS, _END_HEADERS, number, self._headers)
            + _frame(_DATA, _END_STREAM, number, message)
        )

    def _take(self, stream: int, payload: bytes, moment: float) -> None:
        text, at = self._pieces.pop(stream, b"") + payload, 0
        watcher = self._streams[stream]
        while at < len(text):
            end = at + _PREFIX.size
            if end <= len(text):
                end += _PREFIX.unpack_from(text, at)[1]
            if end > len(text):
                self._pieces[stream] = text[at:]
                return
            if revision := _revision(text[at + _PREFIX.size : end]):
                if not watcher.seen:
                    self._open_next()
                watcher.seen.append((revision, moment))
                watcher.look()
            at = end


@lru_cache(maxsize=4096)
def _revision(message: bytes) -> int:
    """The same bytes come to all watchers of a batch. 0: a sign of life."""
    return status_pb2.WatchBatchResponse.FromString(message).batch.revision


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    head = _HEAD.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream)
    return head + payload


def _request_headers(authority: str, api_key: str) -> bytes:
    """By HPACK (RFC 7541), all of them written out: its numbers are those of the static table."""
    post, http = b"\x83", b"\x86"
    return b"".join(
        (
            post + http,
            b"\x04" + _text(_PATH),
            b"\x01" + _text(authority),
            b"\x00" + _text("te") + _text("trailers"),
            b"\x0f\x10" + _text("application/grpc"),
            b"\x0f\x08" + _text(f"Bearer {api_key}"),
        )
    )


def _text(text: str) -> bytes:
    if len(text) > 126:
        raise ValueError("longer than a text of one byte's length")
    return bytes((len(text),)) + text.encode()


async def main() -> None:
    """Speak as the head of this file says."""
    order = json.loads(await asyncio.to_thread(sys.stdin.readline))
    addresses = order["collector"].split(",")
    watchers = [Watcher(batch_id) for batch_id in order["batches"]]
    connections = []
    for number in range(_CONNECTIONS):
        address = addresses[number % len(addresses)]
        host, _, port = address.rpartition(":")
        mine = watchers[number::_CONNECTIONS]
        made = partial(Connection, address, order["api_key"], mine)
        _, connection = await asyncio.get_running_loop().create_connection(made, host, port)
        connections.append(connection)
    async with asyncio.TaskGroup() as tasks:
        for connection in connections:
            tasks.create_task(_unbroken(connection))
        await asyncio.gather(*(watcher.expect(1).wait() for watcher in watchers))
        gc.freeze()
        print("ready", flush=True)
        last = json.loads(await asyncio.to_thread(sys.stdin.readline))
        await asyncio.gather(
            *(watcher.expect(last[watcher.batch_id]).wait() for watcher in watchers)
        )
        for connection in connections:
            connection.close()
    print(json.dumps([[watcher.batch_id, watcher.seen] for watcher in watchers]), flush=True)


async def _unbroken(connection: Connection) -> None:
    await connection.broken


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
