"""What the fork server's tests run: it uses gRPC, says how it was started, and ends as told."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from grpc_health.v1._async import HealthServicer  # type: ignore[import-untyped]


async def healthy() -> bool:
    """Serve and call over gRPC once."""
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    await server.stop(None)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


if __name__ == "__main__":
    threads = threading.active_count()
    said = {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "session": os.getsid(0),
        "threads": threads,
        "mark": os.environ["MARK"],
        "arguments": sys.argv[1:],
        "healthy": asyncio.run(healthy()),
    }
    print(json.dumps(said), flush=True)
    if sys.argv[1] == "stay":
        signal.pause()
    sys.exit(int(sys.argv[1]))
