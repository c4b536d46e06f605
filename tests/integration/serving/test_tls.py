"""Servers under TLS: who gets a connection, and what happens when certificates are renewed."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from core.serving import GrpcServer, TlsError, TlsFiles

NAME = "polybatch.test"


class Folder:
    """TLS files of a server, as an operator lays them down."""

    def __init__(self, path: Path) -> None:
        self.authority = trustme.CA()
        self.cert, self.key = path / "cert.pem", path / "key.pem"
        self.client_ca = path / "client-ca.pem"
        self.ca_pem = self.authority.cert_pem.bytes()
        self.renew()

    def renew(self) -> None:
        issued = self.issue()
        self.put(self.cert, b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        self.put(self.key, issued.private_key_pem.bytes())

    def issue(self) -> trustme.LeafCert:
        return self.authority.issue_cert(NAME)

    def put(self, path: Path, content: bytes) -> None:
        unfinished = path.with_suffix(".new")
        unfinished.write_bytes(content)
        os.replace(unfinished, path)

    def served_to(self, port: int) -> str:
        """The certificate that a new connection gets."""
        return ssl.get_server_certificate(("127.0.0.1", port)).strip()

    @property
    def files(self) -> TlsFiles:
        return TlsFiles(self.cert, self.key, self.client_ca if self.client_ca.exists() else None)


Start = Callable[[], Awaitable[int]]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
async def start(folder: Folder) -> Any:
    servers: list[GrpcServer] = []

    async def start() -> int:
        server = GrpcServer(
            "127.0.0.1:0",
            name="test",
            authenticate=None,
            register=lambda _: (),
            tls=folder.files,
        )
        await server.start()
        servers.append(server)
        await server.set_ready(True)
        return server.port

    yield start
    for server in servers:
        await server.stop(0)


async def ask(
    port: int, credentials: grpc.ChannelCredentials | None, name: str = NAME
) -> grpc.StatusCode:
    options = [("grpc.ssl_target_name_override", name), ("grpc.use_local_subchannel_pool", 1)]
    address = f"127.0.0.1:{port}"
    channel = (
        grpc.aio.insecure_channel(address)
        if credentials is None
        else grpc.aio.secure_channel(address, credentials, options=options)
    )
    async with channel:
        try:
            await health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=20
            )
        except grpc.aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK


async def test_tls_serves_who_trusts_it_and_nobody_in_the_clear(
    folder: Folder, start: Start
) -> None:
    port = await start()
    trusting = grpc.ssl_channel_credentials(folder.ca_pem)
    assert await ask(port, trusting) is grpc.StatusCode.OK
    assert await ask(port, None) is grpc.StatusCode.UNAVAILABLE
    stranger = grpc.ssl_channel_credentials(trustme.CA().cert_pem.bytes())
    assert await ask(port, stranger) is grpc.StatusCode.UNAVAILABLE
    assert await ask(port, trusting, "other.test") is grpc.StatusCode.UNAVAILABLE


async def test_mutual_tls_asks_for_a_certificate_of_its_authority(
    folder: Folder, start: Start
) -> None:
    clients = trustme.CA()
    folder.put(folder.client_ca, clients.cert_pem.bytes())
    port = await start()

    def credentials(issued: trustme.LeafCert) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(
            folder.ca_pem, issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes()
        )

    assert await ask(port, credentials(clients.issue_cert("me"))) is grpc.StatusCode.OK
    nobodys = grpc.ssl_channel_credentials(folder.ca_pem)
    assert await ask(port, nobodys) is grpc.StatusCode.UNAVAILABLE
    strangers = credentials(trustme.CA().issue_cert("me"))
    assert await ask(port, strangers) is grpc.StatusCode.UNAVAILABLE


async def test_renewed_files_serve_the_next_connection(folder: Folder, start: Start) -> None:
    port = await start()
    first = await asyncio.to_thread(folder.served_to, port)
    assert first == folder.cert.read_text().strip()
    # Half of a renewal: the old pair goes on, and it is said once.
    issued = folder.issue()
    with capture_logs() as logs:
        folder.put(folder.cert, issued.cert_chain_pems[0].bytes())
        for _ in range(2):
            assert await asyncio.to_thread(folder.served_to, port) == first
        waits = [entry for entry in logs if entry["event"] == "tls_renewal_waits"]
        assert len(waits) == 1
        assert "belongs to another certificate" in waits[0]["cause"]
        folder.put(folder.key, issued.private_key_pem.bytes())
        second = await asyncio.to_thread(folder.served_to, port)
    assert second == folder.cert.read_text().strip() != first
    assert [entry["event"] for entry in logs].count("tls_renewed") == 1
    folder.key.unlink()
    assert await asyncio.to_thread(folder.served_to, port) == second
    assert await ask(port, grpc.ssl_channel_credentials(folder.ca_pem)) is grpc.StatusCode.OK


async def test_an_open_call_outlives_a_renewal(folder: Folder, start: Start) -> None:
    port = await start()
    options = [("grpc.ssl_target_name_override", NAME)]
    credentials = grpc.ssl_channel_credentials(folder.ca_pem)
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        folder.renew()
        assert await ask(port, credentials) is grpc.StatusCode.OK
        assert not watch.done()
        watch.cancel()


def encrypted(key: bytes) -> bytes:
    return load_pem_private_key(key, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )


@pytest.mark.parametrize(
    ("trouble", "setting", "cause"),
    [
        ("no cert", "POLYBATCH_TLS_CERT", "No such file"),
        ("no key", "POLYBATCH_TLS_KEY", "No such file"),
        ("garbage cert", "POLYBATCH_TLS_CERT", "no certificate in PEM form"),
        ("garbage key", "POLYBATCH_TLS_KEY", "no private key in PEM form"),
        ("encrypted key", "POLYBATCH_TLS_KEY", "encrypted"),
        ("other key", "POLYBATCH_TLS_KEY", "another certificate"),
        ("garbage authority", "POLYBATCH_TLS_CLIENT_CA", "no certificate in PEM form"),
        ("ended", "POLYBATCH_TLS_CERT", "ended at"),
        ("folder", "POLYBATCH_TLS_CERT", "Is a directory"),
    ],
)
async def test_what_cannot_be_used_is_named(
    folder: Folder, start: Start, trouble: str, setting: str, cause: str
) -> None:
    match trouble:
        case "no cert":
            folder.cert.unlink()
        case "no key":
            folder.key.unlink()
        case "garbage cert":
            folder.cert.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n")
        case "garbage key":
            folder.key.write_text("secret")
        case "encrypted key":
            folder.key.write_bytes(encrypted(folder.key.read_bytes()))
        case "other key":
            folder.key.write_bytes(folder.issue().private_key_pem.bytes())
        case "garbage authority":
            folder.client_ca.write_text("")
        case "ended":
            issued = folder.authority.issue_cert(NAME, not_after=datetime(2021, 1, 1, tzinfo=UTC))
            folder.cert.write_bytes(issued.cert_chain_pems[0].bytes())
            folder.key.write_bytes(issued.private_key_pem.bytes())
        case "folder":
            folder.cert.unlink()
            folder.cert.mkdir()
    with pytest.raises(TlsError) as caught:
        await start()
    path = {"POLYBATCH_TLS_KEY": folder.key, "POLYBATCH_TLS_CLIENT_CA": folder.client_ca}
    assert setting in str(caught.value)
    assert str(path.get(setting, folder.cert)) in str(caught.value)
    assert cause in str(caught.value)
    assert "secret" not in str(caught.value)


def test_half_of_the_settings_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pem"
    assert TlsFiles.named(None, None) is None
    for missing, arguments in (
        ("POLYBATCH_TLS_KEY", (path, None, None)),
        ("POLYBATCH_TLS_CERT", (None, path, None)),
        ("POLYBATCH_TLS_CERT", (None, None, path)),
        ("POLYBATCH_TLS_KEY", (path, None, path)),
    ):
        with pytest.raises(TlsError, match=f"{missing} is not set"):
            TlsFiles.named(*arguments)


async def test_a_server_that_is_reached_from_elsewhere_warns_of_keys_in_the_clear() -> None:
    async def nobody(_: str) -> None:
        return None

    for listen, warned in (("0.0.0.0:0", True), ("127.0.0.1:0", False)):
        server = GrpcServer(listen, name="test", authenticate=nobody, register=lambda _: ())
        with capture_logs() as logs:
            await server.start()
        await server.stop(0)
        assert ("keys_in_the_clear" in [entry["event"] for entry in logs]) is warned
