"""What all interceptors here stand on: something done around the call of a handler."""

from __future__ import annotations

import abc
import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
Proceed: TypeAlias = Callable[[], Awaitable[Any]]
_Call: TypeAlias = Callable[[Any, Context], Awaitable[Any]]
_Rebuild: TypeAlias = Callable[[_Call, Any, Any], Any]

WRITE_LIMIT = 1.0

# Health and reflection: open to everybody, and of no interest in a log.
PLUMBING = ("/grpc.health.v1.Health/", "/grpc.reflection.v1alpha.ServerReflection/")


class CallInterceptor(grpc.aio.ServerInterceptor, metaclass=abc.ABCMeta):
    """Runs `around` once for each RPC, whatever its kind.

    The messages of a stream do not pass through: the handler gets gRPC's own iterator of
    requests, and its responses go straight to the context.
    """

    @abc.abstractmethod
    async def around(self, method: str, context: Context, proceed: Proceed) -> Any:
        """Call `proceed()` and return what it returns.

        Runs in the RPC's task: context variables set here are the handler's too.
        """

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the handler; called by grpc.aio for each RPC."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        return self._wrap(handler, handler_call_details.method)

    def _wrap(
        self, handler: grpc.RpcMethodHandler[Any, Any], method: str
    ) -> grpc.RpcMethodHandler[Any, Any]:
        call, rebuild = parts_of(handler)

        # A real coroutine function: grpc.aio tells the kinds of handlers apart by it.
        async def wrapped(request: Any, context: Context) -> Any:
            return await self.around(method, context, lambda: call(request, context))

        rebuilt: grpc.RpcMethodHandler[Any, Any] = rebuild(
            wrapped, handler.request_deserializer, handler.response_serializer
        )
        return rebuilt


def parts_of(handler: Any) -> tuple[_Call, _Rebuild]:
    """Take a handler apart: its call, as a coroutine function, and what makes one like it."""
    if handler.request_streaming and handler.response_streaming:
        return _awaitable(handler.stream_stream), grpc.stream_stream_rpc_method_handler
    if handler.response_streaming:
        return _awaitable(handler.unary_stream), grpc.unary_stream_rpc_method_handler
    if handler.request_streaming:
        return handler.stream_unary, grpc.stream_unary_rpc_method_handler
    return handler.unary_unary, grpc.unary_unary_rpc_method_handler


def _awaitable(behaviour: Any) -> _Call:
    if not inspect.isasyncgenfunction(behaviour):
        return behaviour  # type: ignore[no-any-return]

    async def drive(request: Any, context: Context) -> None:
        # grpc.aio's own loop leaves a generator open when the RPC ends early; its
        # finally blocks would run whenever the garbage collector comes by.
        async with aclosing(behaviour(request, context)) as responses:
            async for response in responses:
                await write_whole(context, response)

    return drive


async def write_whole(context: Context, response: Any) -> None:
    """Write a message of a stream. Cancelled, it waits for the write under way: gRPC takes no
    status beside it, and the client would be left without one.

    A client that does not read is waited for no longer than WRITE_LIMIT seconds.
    """
    write = asyncio.ensure_future(context.write(response))
    try:
        await asyncio.shield(write)
    except asyncio.CancelledError:
        await asyncio.wait([write], timeout=WRITE_LIMIT)
        if not write.done():
            write.cancel()
        elif not write.cancelled():
            # Read, so that it is not missed: whoever is cancelled has no use for it.
            write.exception()
        raise
