"""Server reflection, imported when somebody first asks: to hold it ready takes each service a
megabyte, and few ever ask."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import grpc

SERVICE_NAME = "grpc.reflection.v1alpha.ServerReflection"


class Reflection(grpc.GenericRpcHandler):
    """Tells which services a server has, and their messages."""

    def __init__(self, services: Iterable[str]) -> None:
        """`services`: full names, of all but itself."""
        self._services = [*services, SERVICE_NAME]

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler of its one method; None for all others."""
        if handler_call_details.method != f"/{SERVICE_NAME}/ServerReflectionInfo":
            return None
        return self._handler

    @cached_property
    def _handler(self) -> grpc.RpcMethodHandler[Any, Any]:
        from grpc_reflection.v1alpha import reflection, reflection_pb2  # type: ignore[import-untyped]

        return grpc.stream_stream_rpc_method_handler(
            reflection.aio.ReflectionServicer(self._services).ServerReflectionInfo,
            request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
