"""All interceptors, as the one that gRPC is given."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc

from core.serving.interceptor import Call, CallInterceptor, Context
from core.serving.parsing import parsed
from core.serving.running_call import running_call

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Rebuild: TypeAlias = Callable[[Call, Any, Any], "_Handler"]


class Chain(grpc.aio.ServerInterceptor):
    """Runs interceptors around each RPC, the first of them outermost; requests are parsed
    within.

    A method's handler is wrapped once. gRPC would have each interceptor do it for each RPC: half
    of all objects that an open watch consists of were closures, and the garbage collector
    looks at each.
    """

    def __init__(self, interceptors: Sequence[CallInterceptor]) -> None:
        self._interceptors = interceptors
        self._wrapped: dict[str, _Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        """Wrap the handler; called by grpc.aio for each RPC."""
        method = handler_call_details.method
        if method not in self._wrapped:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            self._wrapped[method] = self._wrap(handler, method)
        return self._wrapped[method]

    def _wrap(self, handler: Any, method: str) -> _Handler:
        call, rebuild = _parts_of(handler)
        parse = handler.request_deserializer
        if parse is not None and not handler.request_streaming:
            call, parse = parsed(call, parse, method), None
        for interceptor in reversed(self._interceptors):
            call = interceptor.over(call, method)

        # A real coroutine function: grpc.aio tells the kinds of handlers apart by it.
        async def run(request: Any, context: Context) -> Any:
            return await call(request, context)

        return rebuild(run, parse, handler.response_serializer)


def _parts_of(handler: Any) -> tuple[Call, _Rebuild]:
    """Take a handler apart: its call, and what makes one like it."""
    if handler.request_streaming and handler.response_streaming:
        return _awaitable(handler.stream_stream), grpc.stream_stream_rpc_method_handler
    if handler.response_streaming:
        return _awaitable(handler.unary_stream), grpc.unary_stream_rpc_method_handler
    if handler.request_streaming:
        return handler.stream_unary, grpc.stream_unary_rpc_method_handler
    return handler.unary_unary, grpc.unary_unary_rpc_method_handler


def _awaitable(behaviour: Any) -> Call:
    if not inspect.isasyncgenfunction(behaviour):
        return behaviour  # type: ignore[no-any-return]

    async def drive(request: Any, context: Context) -> None:
        write = running_call.get().write
        # grpc.aio's own loop leaves a generator open when the RPC ends early; its
        # finally blocks would run whenever the garbage collector comes by.
        async with aclosing(behaviour(request, context)) as responses:
            async for response in responses:
                await write(context, response)

    return drive
