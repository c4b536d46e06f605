"""Sends work items twice: at-least-once delivery at its worst."""

from __future__ import annotations

import asyncio
import random
import threading

from nats.aio.client import Client
from nats.aio.msg import Msg

_MARK = "Polybatch-Echo"
_START_SECONDS = 30.0


class Echo:
    """Hears every work item as it is published, and publishes some of them once more."""

    def __init__(self, url: str) -> None:
        self.share = 0.0
        """Of the items, those that come twice."""
        self._url = url
        self._random = random.Random(0)
        self._stop = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._run, name="echo", daemon=True)

    def start(self) -> None:
        """Listen from now on."""
        self._thread.start()
        assert self._listening.wait(_START_SECONDS), "NATS does not answer"

    def stop(self) -> None:
        """Disconnect."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_START_SECONDS)

    def _run(self) -> None:
        self._loop.run_until_complete(self._listen())
        self._loop.close()

    async def _listen(self) -> None:
        nats = Client()

        async def ignore(_: Exception) -> None:
            """It is restarted on purpose."""

        await nats.connect(
            self._url.split(","),
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.2,
            error_cb=ignore,  # type: ignore[arg-type]
        )

        async def again(msg: Msg) -> None:
            marked = bool(msg.headers and _MARK in msg.headers)
            if not marked and self._random.random() < self.share:
                await nats.publish(msg.subject, msg.data, headers={_MARK: "1"})

        await nats.subscribe("polybatch.work.*", cb=again)
        await nats.flush()
        self._listening.set()
        await self._stop.wait()
        await nats.close()
