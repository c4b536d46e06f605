"""A program: many watchers, each a gRPC stream, on a few connections.

Reads a line {"collector": addresses, separated by commas, "api_key", "batches": [the batch
of each watcher]}, prints "ready" when each has its first snapshot, reads a line
{batch: revision}, and when each watcher has seen that revision prints
[[batch, [[revision, time of arrival], ...]], ...].
Times are those of the monotonic clock, which all processes of a Linux machine share.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import grpc
import uvloop
from polybatch.v1 import status_pb2, status_pb2_grpc

_CONNECTIONS = 10
# Without it, channels to one address share one connection.
_CHANNEL_OPTIONS = (("grpc.use_local_subchannel_pool", 1),)


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
        self._look()
        return self.reached

    async def run(self, stub: Any, api_key: str) -> None:
        """Watch for ever."""
        call = stub.WatchBatch(
            status_pb2.WatchBatchRequest(batch_id=self.batch_id),
            metadata=(("authorization", f"Bearer {api_key}"),),
        )
        async for response in call:
            if response.HasField("batch"):
                self.seen.append((response.batch.revision, time.monotonic()))
                self._look()

    def _look(self) -> None:
        if self.seen and self.seen[-1][0] >= self.wanted:
            self.reached.set()


async def main() -> None:
    """Speak as the head of this file says."""
    order = json.loads(await asyncio.to_thread(sys.stdin.readline))
    addresses = order["collector"].split(",")
    channels = [
        grpc.aio.insecure_channel(addresses[number % len(addresses)], options=_CHANNEL_OPTIONS)
        for number in range(_CONNECTIONS)
    ]
    stubs = [status_pb2_grpc.StatusServiceStub(channel) for channel in channels]  # type: ignore[no-untyped-call]
    watchers = [Watcher(batch_id) for batch_id in order["batches"]]
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(watcher.run(stubs[number % _CONNECTIONS], order["api_key"]))
            for number, watcher in enumerate(watchers)
        ]
        await asyncio.gather(*(watcher.expect(1).wait() for watcher in watchers))
        print("ready", flush=True)
        last = json.loads(await asyncio.to_thread(sys.stdin.readline))
        await asyncio.gather(
            *(watcher.expect(last[watcher.batch_id]).wait() for watcher in watchers)
        )
        for task in running:
            task.cancel()
    print(json.dumps([[watcher.batch_id, watcher.seen] for watcher in watchers]), flush=True)
    for channel in channels:
        await channel.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
