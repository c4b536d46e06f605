"""Interceptor: knows the RPCs that are running, and ends them: when the server stops, or
when their key is no longer valid."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from core.serving.api_error import ApiError
from core.serving.interceptor import PLUMBING, CallInterceptor, Context, Proceed
from core.serving.memory import expect_messages
from core.serving.principal import calling
from core.serving.running_call import RunningCall, running_call

log = structlog.get_logger()

# How long after its cancellation a handler's finally blocks may take, in seconds.
CLEANUP_LIMIT = 5.0


class InFlightInterceptor(CallInterceptor):
    """Keeps the task of each running handler.

    grpc.aio's own stop waits for the calls, not for the `finally` of handlers whose call
    it has ended; and it ends calls without a word. Here they end with UNAVAILABLE.
    """

    def __init__(self) -> None:
        self._running: dict[asyncio.Task[Any], RunningCall] = {}

    async def around(self, method: str, context: Context, proceed: Proceed) -> Any:
        task = asyncio.current_task()
        assert task is not None, "grpc.aio runs each RPC in a task"
        principal = calling.get()
        call = RunningCall(method, principal.key_id if principal else None, task)
        running_call.set(call)
        self._running[task] = call
        expect_messages(len(self._running))
        try:
            return await proceed()
        except asyncio.CancelledError:
            if call.error is None or not call.cancelled:
                raise
            task.uncancel()
            raise call.error from None
        finally:
            del self._running[task]
            expect_messages(len(self._running))
            # Its traceback leads back to the call.
            call.error = None

    @property
    def keys(self) -> set[str]:
        """The ids of the keys that running calls came with."""
        return {call.key_id for call in self._running.values() if call.key_id is not None}

    def end_calls_of(self, key_id: str, error: ApiError) -> int:
        """End the running calls of a key with an error; returns how many."""
        calls = list(self._running.values())
        return sum(call.end(error) for call in calls if call.key_id == key_id)

    async def finish(self, grace: float) -> None:
        """Wait up to `grace` seconds for running handlers, then end those that are left.

        Health watches, which never end by themselves, are ended after all others.
        """
        await self._wait(self._except_plumbing, grace)
        for call in self._running.values():
            call.end(ApiError.stopping())
        await self._wait(lambda: set(self._running), CLEANUP_LIMIT)
        if self._running:
            methods = sorted(call.method for call in self._running.values())
            log.error("handlers_abandoned", methods=methods)

    def _except_plumbing(self) -> set[asyncio.Task[Any]]:
        return {
            task for task, call in self._running.items() if not call.method.startswith(PLUMBING)
        }

    async def _wait(self, tasks: Callable[[], set[asyncio.Task[Any]]], limit: float) -> None:
        deadline = asyncio.get_running_loop().time() + limit
        # In rounds: a call that the server took just before the stop may begin only now.
        while running := tasks():
            left = deadline - asyncio.get_running_loop().time()
            _, unfinished = await asyncio.wait(running, timeout=max(left, 0))
            if unfinished:
                return
