"""A program: many open pages of the dashboard, each a stream of server-sent events.

Reads a line {"web": URL, "pages": [[path, batch, cookie] of each]}, prints "ready" when each
shows its batch, reads a line {batch: revision}, and when each page has seen that revision of its
batch prints [[batch, [[revision, time of arrival], ...]], ...].
Times are those of the monotonic clock, which all processes of a Linux machine share.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from urllib.parse import urlsplit

import uvloop

from benchmarks.watching import Watcher

_HEAD = "GET {} HTTP/1.1\r\nhost: {}\r\ncookie: {}\r\naccept: text/event-stream\r\n\r\n"
# What both kinds of pages are told begins with it, that of a batch and that of a row.
_MARK = rb'%bdata-revision="(\d+)"'
_KEPT = 4096


class Page(Watcher):
    """One open page, which looks for what it shows of its batch."""

    async def show(self, web: str, path: str, cookie: str) -> None:
        """Read for ever."""
        row = path == "/events"
        mark = re.compile(_MARK % (f'id="row-{self.batch_id}" ' if row else "").encode())
        address = urlsplit(web)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(_HEAD.format(path, address.netloc, cookie).encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"a page was refused: {head[:40]!r}")
        text = b""
        while piece := await reader.read(1 << 20):
            moment = time.monotonic()
            text += piece
            end = 0
            for found in mark.finditer(text):
                end = found.end()
                self.seen.append((int(found[1]), moment))
            text = text[max(end, len(text) - _KEPT) :]
            self.look()
        raise RuntimeError("a page was closed")


async def main() -> None:
    """Speak as the head of this file says."""
    order = json.loads(await asyncio.to_thread(sys.stdin.readline))
    pages = [Page(batch_id) for _, batch_id, _ in order["pages"]]
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(page.show(order["web"], path, cookie))
            for page, (path, _, cookie) in zip(pages, order["pages"], strict=True)
        ]
        await asyncio.gather(*(page.expect(1).wait() for page in pages))
        print("ready", flush=True)
        last = json.loads(await asyncio.to_thread(sys.stdin.readline))
        await asyncio.gather(*(page.expect(last[page.batch_id]).wait() for page in pages))
        for task in running:
            task.cancel()
    print(json.dumps([[page.batch_id, page.seen] for page in pages]), flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
