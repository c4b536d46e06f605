"""What all interceptors here stand on: something done around the call of a handler."""

from __future__ import annotations

import abc
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias

import grpc

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
Proceed: TypeAlias = Callable[[], Awaitable[Any]]
Call: TypeAlias = Callable[[Any, Context], Awaitable[Any]]
"""A handler of whatever kind: takes a request, or gRPC's iterator of them; a stream's responses
go straight to the context."""

# Health and reflection: open to everybody, and of no interest in a log.
PLUMBING = ("/grpc.health.v1.Health/", "/grpc.reflection.v1alpha.ServerReflection/")


class CallInterceptor(abc.ABC):
    """Runs `around` once for each RPC, whatever its kind; the messages of a stream do not pass
    through."""

    @abc.abstractmethod
    async def around(self, method: str, context: Context, proceed: Proceed) -> Any:
        """Call `proceed()` and return what it returns.

        Runs in the RPC's task: context variables set here are the handler's too.
        """

    def over(self, call: Call, method: str) -> Call:
        """The call with this around it."""

        def run(request: Any, context: Context) -> Awaitable[Any]:
            return self.around(method, context, partial(call, request, context))

        return run
