"""Interceptor: a span for each RPC, as a part of the caller's trace where it has one."""

from __future__ import annotations

from typing import Any

import grpc

from core import tracing
from core.serving.interceptor import PLUMBING, CallInterceptor, Context, Proceed

_TRACEPARENT = "traceparent"
# Those that tell of a fault of the server, by OpenTelemetry's conventions for gRPC.
_FAULTS = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


class RpcTracesInterceptor(CallInterceptor):
    """Takes W3C's `traceparent` from the metadata; health and reflection have no spans."""

    async def around(self, method: str, context: Context, proceed: Proceed) -> Any:
        if method.startswith(PLUMBING) or not tracing.enabled():
            return await proceed()
        name = method.removeprefix("/")
        service, _, rpc = name.partition("/")
        with tracing.span(
            name,
            "server",
            parent=_caller(context),
            # The errors interceptor raises for each error, whoever's fault it was.
            judged=False,
            attributes={"rpc.system": "grpc", "rpc.service": service, "rpc.method": rpc},
        ) as span:
            try:
                return await proceed()
            finally:
                code = context.code() or grpc.StatusCode.OK
                span.set("rpc.grpc.status_code", code.value[0])
                if code in _FAULTS:
                    span.fail(code.name)


def _caller(context: Context) -> str:
    for name, value in context.invocation_metadata() or ():
        if name == _TRACEPARENT and isinstance(value, str):
            return value
    return ""
