"""A program: the least that can take an upload, for comparison with the gateway.

A grpc.aio server on uvloop, with the options and the memory settings of ours, which counts the
bytes and throws them away. It does not even parse the messages: the gateway takes them
as they come, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import uvloop
from polybatch.v1 import files_pb2

from core.serving import SERVER_OPTIONS, tune_memory

_SERVICE = files_pb2.DESCRIPTOR.services_by_name["FileService"].full_name
# Of a message that holds a chunk: tag and length.
_FRAME_BYTES = 4


async def upload_file(messages: AsyncIterator[bytes], _context: Any) -> Any:
    """Takes UploadFile's stream; answers with the size of what came behind the spec."""
    await anext(messages)
    size = 0
    async for message in messages:
        size += max(len(message) - _FRAME_BYTES, 0)
    return files_pb2.UploadFileResponse(file=files_pb2.File(bytes=size))


async def main() -> None:
    """Serve until it is terminated; prints the port."""
    server = grpc.aio.server(options=SERVER_OPTIONS)
    server.add_registered_method_handlers(
        _SERVICE,
        {
            "UploadFile": grpc.stream_unary_rpc_method_handler(
                upload_file,
                response_serializer=files_pb2.UploadFileResponse.SerializeToString,
            )
        },
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    tune_memory()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
