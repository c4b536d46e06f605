"""Interceptor: one log line for each RPC that has ended."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import structlog

from core.serving.interceptor import PLUMBING, CallInterceptor, Context, Proceed
from core.serving.principal import calling

log = structlog.get_logger()


class AccessLogInterceptor(CallInterceptor):
    """Logs method, code, duration and caller; health and reflection at level debug."""

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
            write = log.debug if method.startswith(PLUMBING) else log.info
            write(
                "rpc_ended",
                method=method,
                code=(context.code() or code).name,
                duration_ms=round((time.perf_counter() - started) * 1000, 1),
                account_id=principal.account_id if principal else None,
                key_id=principal.key_id if principal else None,
            )
