"""Interceptor: one log line for each RPC that has ended; those that went well at level debug."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import structlog

from core.serving.interceptor import PLUMBING, CallInterceptor, Context, Proceed
from core.serving.principal import calling

log = structlog.get_logger()

_WELL = (grpc.StatusCode.OK, grpc.StatusCode.CANCELLED)


class AccessLogInterceptor(CallInterceptor):
    """Logs method, code, duration and caller; what went well, and health checks, at level debug."""

    async def around(self, method: str, context: Context, proceed: Proceed) -> Any:
        started = time.perf_counter()
        code = grpc.StatusCode.UNKNOWN
        try:
            response = await proceed()
            code = grpc.StatusCode.OK
            return response
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        finally:
            principal = calling.get()
            ended = context.code() or code
            quiet = ended in _WELL or method.startswith(PLUMBING)
            write = log.debug if quiet else log.info
            write(
                "rpc_ended",
                method=method,
                code=ended.name,
                duration_ms=round((time.perf_counter() - started) * 1000, 1),
                account_id=principal.account_id if principal else None,
                key_id=principal.key_id if principal else None,
            )
