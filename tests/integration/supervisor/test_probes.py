"""Probes against real servers: they wait while there is nobody, and while it is not ready."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import trustme

from core.bus import EmbeddedNats
from core.serving import GrpcServer, TlsFiles
from core.serving.tls_settings import ProbeTls
from services.supervisor import probes
from tests.support.stores.process import free_port


def started(probe: probes.Probe) -> asyncio.Task[None]:
    return asyncio.ensure_future(probe())  # type: ignore[arg-type]


async def still_waits(task: asyncio.Task[None]) -> bool:
    done, _ = await asyncio.wait({task}, timeout=0.3)
    return not done


async def test_grpc_waits_for_the_server_and_for_its_readiness() -> None:
    port = free_port()
    probing = started(probes.grpc_serving(f"127.0.0.1:{port}"))
    assert await still_waits(probing)
    server = GrpcServer(
        f"127.0.0.1:{port}", name="test", authenticate=None, register=lambda server: ()
    )
    await server.start()
    assert await still_waits(probing)
    await server.set_ready(True)
    await asyncio.wait_for(probing, 20)
    await server.stop(0)


async def test_grpc_outlives_a_server_that_goes_before_it_is_ready() -> None:
    port = free_port()
    probing = started(probes.grpc_serving(f"127.0.0.1:{port}"))
    for ready in (False, True):
        server = GrpcServer(
            f"127.0.0.1:{port}", name="test", authenticate=None, register=lambda server: ()
        )
        await server.start()
        await server.set_ready(ready)
        if ready:
            await asyncio.wait_for(probing, 20)
        else:
            assert await still_waits(probing)
        await server.stop(0)


class Unready(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        ok = self.path == "/healthz" and getattr(self.server, "healthy", False)
        self.send_response(200 if ok else 503)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), Unready)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


async def test_http_waits_for_200(web: HTTPServer) -> None:
    probing = started(probes.http_ok("127.0.0.1", web.server_port))
    assert await still_waits(probing)
    web.healthy = True  # type: ignore[attr-defined]
    await asyncio.wait_for(probing, 20)


async def test_http_waits_for_somebody_to_listen() -> None:
    probing = started(probes.http_ok("127.0.0.1", free_port()))
    assert await still_waits(probing)
    probing.cancel()
    await asyncio.gather(probing, return_exceptions=True)


async def test_nats_waits_for_the_greeting(tmp_path: object) -> None:
    port = free_port()
    probing = started(probes.nats_greets("127.0.0.1", port))
    assert await still_waits(probing)
    command = EmbeddedNats(tmp_path, port).command(log_to_file=True)  # type: ignore[arg-type]
    process = await asyncio.create_subprocess_exec(*command)
    await asyncio.wait_for(probing, 20)
    process.terminate()
    await process.wait()


@pytest.mark.parametrize("mutual", [False, True])
async def test_grpc_under_tls_trusts_the_servers_own_certificate(
    tmp_path: Path, mutual: bool
) -> None:
    # Of a private authority that the supervisor does not know, for a name elsewhere.
    authority, clients = trustme.CA(), trustme.CA()
    issued, mine = authority.issue_cert("*.polybatch.test"), clients.issue_cert("supervisor")
    paths = {name: tmp_path / f"{name}.pem" for name in ("cert", "key", "ca", "my-cert", "my-key")}
    issued.cert_chain_pems[0].write_to_path(paths["cert"])
    issued.private_key_pem.write_to_path(paths["key"])
    clients.cert_pem.write_to_path(paths["ca"])
    mine.cert_chain_pems[0].write_to_path(paths["my-cert"])
    mine.private_key_pem.write_to_path(paths["my-key"])
    files = TlsFiles(paths["cert"], paths["key"], paths["ca"] if mutual else None)
    tls = ProbeTls(files, paths["my-cert"], paths["my-key"]) if mutual else ProbeTls(files)
    server = GrpcServer(
        "127.0.0.1:0", name="test", authenticate=None, register=lambda server: (), tls=files
    )
    await server.start()
    probing = started(probes.grpc_serving(f"127.0.0.1:{server.port}", tls))
    assert await still_waits(probing)
    await server.set_ready(True)
    await asyncio.wait_for(probing, 20)
    await server.stop(0)
