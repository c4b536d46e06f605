"""A real server whose handlers a test writes itself, and real clients of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import grpc
import pytest
from polybatch.v1 import files_pb2_grpc

from core.serving import Authenticate, GrpcServer, Principal

KEY = "pb_test_key"
ALICE = Principal(account_id="acct_alice", key_id="key_1")


async def authenticate(key: str) -> Principal | None:
    return ALICE if key == KEY else None


class Files(files_pb2_grpc.FileServiceServicer):
    """FileService with three handlers, one of each kind, given by the test."""

    def __init__(self, *, get: Any = None, download: Any = None, upload: Any = None) -> None:
        if get is not None:
            self.GetFile = get
        if download is not None:
            self.DownloadFile = download
        if upload is not None:
            self.UploadFile = upload

    def register(self, server: grpc.aio.Server) -> Sequence[str]:
        files_pb2_grpc.add_FileServiceServicer_to_server(self, server)
        return ["polybatch.v1.FileService"]


class Running:
    """A started server and a channel to it."""

    def __init__(self, server: GrpcServer, channel: grpc.aio.Channel) -> None:
        self.server = server
        self.channel = channel
        self.files = files_pb2_grpc.FileServiceStub(channel)

    @property
    def auth(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {KEY}"),)


Serve = Callable[..., Awaitable[Running]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    started: list[Running] = []

    async def start(
        *,
        authenticate: Authenticate | None = authenticate,
        options: Mapping[str, Any] = MappingProxyType({}),
        **handlers: Any,
    ) -> Running:
        server = GrpcServer(
            "127.0.0.1:0",
            name="test",
            authenticate=authenticate,
            register=Files(**handlers).register,
            **options,
        )
        await server.start()
        await server.set_ready(True)
        running = Running(server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}"))
        started.append(running)
        return running

    yield start
    for running in started:
        await running.channel.close()
        await running.server.stop(0)
