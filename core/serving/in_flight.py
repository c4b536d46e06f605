"""Interceptor: knows the RPCs that are running, and ends them when the server stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from core.serving.api_error import ApiError
from core.serving.interceptor import PLUMBING, CallInterceptor, Context, Proceed

log = structlog.get_logger()

# How long after its cancellation a handler's finally blocks may take, in seconds.
CLEANUP_LIMIT = 5.0


class InFlightInterceptor(CallInterceptor):
    """Keeps the task of each running handler.

    grpc.aio's own stop waits for the calls, not for the `finally` of handlers whose call
    it has ended; and it ends calls without a word. Here they end with UNAVAILABLE.
    """

    def __init__(self) -> None:
        self._running: dict[asyncio.Task[Any], str] = {}
        self._ended: set[asyncio.Task[Any]] = set()

    async def around(self, method: str, context: Context, proceed: Proceed) -> Any:
        task = asyncio.current_task()
        assert task is not None, "grpc.aio runs each RPC in a task"
        self._running[task] = method
        try:
            return await proceed()
        except asyncio.CancelledError:
            if task not in self._ended:
                raise
            task.uncancel()
            raise ApiError.stopping() from None
        finally:
            del self._running[task]
            self._ended.discard(task)

    async def finish(self, grace: float) -> None:
        """Wait up to `grace` seconds for running handlers, then end those that are left.

        Health watches, which never end by themselves, are ended after all others.
        """
        await self._wait(self._except_plumbing, grace)
        for task in self._running:
            # One whose client has left is in its finally blocks: let it be.
            if not task.cancelling():
                self._ended.add(task)
                task.cancel()
        await self._wait(lambda: set(self._running), CLEANUP_LIMIT)
        if self._running:
            log.error("handlers_abandoned", methods=sorted(self._running.values()))

    def _except_plumbing(self) -> set[asyncio.Task[Any]]:
        return {task for task, method in self._running.items() if not method.startswith(PLUMBING)}

    async def _wait(self, tasks: Callable[[], set[asyncio.Task[Any]]], limit: float) -> None:
        deadline = asyncio.get_running_loop().time() + limit
        # In rounds: a call that the server took just before the stop may begin only now.
        while running := tasks():
            left = deadline - asyncio.get_running_loop().time()
            _, unfinished = await asyncio.wait(running, timeout=max(left, 0))
            if unfinished:
                return
