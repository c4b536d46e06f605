"""`python -m services.health HOST:PORT`: asks a service's grpc.health.v1 once.

`HOST:PORT/healthz`: the same of the HTTP API.

For the health checks of containers, which run every few seconds: little is imported.
"""

from __future__ import annotations

import argparse
import http.client
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from core.serving.tls_settings import ProbeTls


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the answer; returns the exit code: 0 only for SERVING."""
    parser = argparse.ArgumentParser(
        prog="python -m services.health",
        description="Asks a service of this machine whether it serves: exit code 0 if so, 1 if "
        "not. Under TLS it takes the certificate of POLYBATCH_TLS_CERT for proof.",
    )
    parser.add_argument("address", metavar="HOST:PORT[/PATH]")
    parser.add_argument("--timeout", type=float, default=5.0, metavar="SECONDS", help="%(default)s")
    asked = parser.parse_args(arguments)
    if "/" in asked.address:
        return _ask_http(asked.address, asked.timeout)
    with _channel(asked.address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=asked.timeout, wait_for_ready=True
            )
        except grpc.RpcError as error:
            print(f"{asked.address}: {error.code().name}: {error.details()}")
            return 1
    print(f"{asked.address}: {health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)}")
    return 0 if answer.status == health_pb2.HealthCheckResponse.SERVING else 1


def _ask_http(address: str, timeout: float) -> int:
    host, _, path = address.partition("/")
    tls = _tls()
    try:
        connection = (
            http.client.HTTPConnection(host, timeout=timeout)
            if tls is None
            else http.client.HTTPSConnection(host, timeout=timeout, context=tls.context())
        )
        connection.request("GET", f"/{path}")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        print(f"{host}: {type(error).__name__}: {error}")
        return 1
    print(f"{host}: {status}")
    return 0 if status == http.HTTPStatus.OK else 1


def _channel(address: str) -> grpc.Channel:
    tls = _tls()
    if tls is None:
        return grpc.insecure_channel(address)
    from core.serving.process import StartupError

    try:
        credentials, options = tls.credentials()
    except (StartupError, OSError) as error:
        sys.exit(str(error))
    return grpc.secure_channel(address, credentials, options=options)


def _tls() -> ProbeTls | None:
    # Looked at here, since reading all settings takes longer than asking.
    if not os.environ.get("POLYBATCH_TLS_CERT"):
        return None
    from core.serving.process import StartupError
    from core.serving.tls_settings import probe_tls
    from core.settings import Settings

    try:
        return probe_tls(Settings())
    except StartupError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    sys.exit(main())
