"""`python -m services.health HOST:PORT`: asks a service's grpc.health.v1 once.

For the health checks of containers: little is imported, since it runs every few seconds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the answer; returns the exit code: 0 only for SERVING."""
    parser = argparse.ArgumentParser(
        prog="python -m services.health",
        description="Asks a service whether it serves: exit code 0 if so, 1 if not.",
    )
    parser.add_argument("address", metavar="HOST:PORT")
    parser.add_argument(
        "--timeout", type=float, default=5.0, metavar="SECONDS", help="%(default)s"
    )
    asked = parser.parse_args(arguments)
    with grpc.insecure_channel(asked.address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=asked.timeout
            )
        except grpc.RpcError as error:
            print(f"{asked.address}: {error.code().name}: {error.details()}")
            return 1
    print(f"{asked.address}: {health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)}")
    return 0 if answer.status == health_pb2.HealthCheckResponse.SERVING else 1


if __name__ == "__main__":
    sys.exit(main())
