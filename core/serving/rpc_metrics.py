"""Interceptor: measures each RPC."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc

from core.metrics import RPC_IN_FLIGHT, RPC_SECONDS
from core.serving.interceptor import PLUMBING, CallInterceptor, Context, Proceed


class RpcMetricsInterceptor(CallInterceptor):
    """Counts the RPCs of our own services: how many run, how they end, how long they take.

    Only methods that the server has get here, so their names are bounded.
    """

    async def around(self, method: str, context: Context, proceed: Proceed) -> Any:
        if method.startswith(PLUMBING):
            return await proceed()
        name = method.removeprefix("/")
        started = time.perf_counter()
        code = grpc.StatusCode.UNKNOWN
        with RPC_IN_FLIGHT.labels(name).track_inprogress():
            try:
                response = await proceed()
                code = grpc.StatusCode.OK
                return response
            except asyncio.CancelledError:
                code = grpc.StatusCode.CANCELLED
                raise
            finally:
                ended = (context.code() or code).name
                RPC_SECONDS.labels(name, ended).observe(time.perf_counter() - started)
