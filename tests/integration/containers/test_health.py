"""The command of the containers' health checks, against real servers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import trustme

from core.serving import GrpcServer, TlsFiles
from tests.support.forked.python import python

ROOT = Path(__file__).parents[3]
IMPORTED = ("grpc_health.v1.health_pb2_grpc",)


async def ask(address: str, *options: str, **environment: str) -> tuple[int | None, str]:
    """Exit code and what was printed."""
    process = await asyncio.create_subprocess_exec(
        *python("-m", "services.health", address, *options, imported=IMPORTED),
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    return process.returncode, printed.decode()


async def served(tls: TlsFiles | None = None) -> GrpcServer:
    server = GrpcServer(
        "127.0.0.1:0", name="test", authenticate=None, register=lambda server: (), tls=tls
    )
    await server.start()
    return server


async def test_only_a_server_that_serves_is_healthy() -> None:
    server = await served()
    address = f"127.0.0.1:{server.port}"
    assert await ask(address) == (1, f"{address}: NOT_SERVING\n")
    await server.set_ready(True)
    assert await ask(address) == (0, f"{address}: SERVING\n")
    await server.stop(0)
    code, printed = await ask(address, "--timeout", "0.2")
    assert code == 1
    assert printed.startswith(f"{address}: DEADLINE_EXCEEDED"), printed


@pytest.mark.parametrize("mutual", [pytest.param(False, marks=pytest.mark.long), True])
async def test_a_server_under_tls_is_asked_under_tls(tmp_path: Path, mutual: bool) -> None:
    authority = trustme.CA()
    files = {name: tmp_path / f"{name}.pem" for name in ("cert", "key", "ca", "mine", "my_key")}
    issued, client = authority.issue_cert("batch.example.com"), authority.issue_cert("health")
    files["cert"].write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    files["key"].write_bytes(issued.private_key_pem.bytes())
    files["ca"].write_bytes(authority.cert_pem.bytes())
    files["mine"].write_bytes(b"".join(pem.bytes() for pem in client.cert_chain_pems))
    files["my_key"].write_bytes(client.private_key_pem.bytes())
    settings = {
        "POLYBATCH_TLS_CERT": str(files["cert"]),
        "POLYBATCH_TLS_KEY": str(files["key"]),
    }
    if mutual:
        settings |= {
            "POLYBATCH_TLS_CLIENT_CA": str(files["ca"]),
            "POLYBATCH_TLS_CLIENT_CERT": str(files["mine"]),
            "POLYBATCH_TLS_CLIENT_KEY": str(files["my_key"]),
        }
    server = await served(TlsFiles(files["cert"], files["key"], files["ca"] if mutual else None))
    await server.set_ready(True)
    address = f"127.0.0.1:{server.port}"
    assert await ask(address, **settings) == (0, f"{address}: SERVING\n")
    del settings["POLYBATCH_TLS_KEY"]
    code, printed = await ask(address, **settings)
    assert code == 1
    assert "POLYBATCH_TLS_KEY is not set" in printed
    assert "Traceback" not in printed
    await server.stop(0)
