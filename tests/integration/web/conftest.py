"""The HTTP API in this process, in front of a real gateway; plain HTTP as its client."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from polybatch.connection import Connection
from polybatch.v1 import files_pb2

from core.ledger import now
from core.settings import Settings
from services.web.app import create_app
from services.web.server import HttpServer
from services.web.upstream import Upstream
from tests.support.gateway.nats import Nats
from tests.support.gateway.running import SEGMENT, Gateway, running_gateway
from tests.support.stores.files import files_below
from tests.support.stores.process import free_port


class Web:
    """A running HTTP API, its gateway, and a client with the gateway's first key."""

    def __init__(self, gateway: Gateway, server: HttpServer, settings: Settings) -> None:
        self.gateway = gateway
        self.server = server
        self.settings = settings
        self.key = gateway.settings.api_key_file.read_text().strip()
        self.client = self.with_key(self.key)

    def with_key(self, key: str | None) -> httpx2.AsyncClient:
        headers = {"authorization": f"Bearer {key}"} if key is not None else {}
        url = f"http://127.0.0.1:{self.server.port}"
        # Each would read the system's certificates, for a server without TLS.
        return httpx2.AsyncClient(base_url=url, headers=headers, timeout=30, verify=False)

    async def left(self) -> list[str]:
        """What lies in the blobs, in the tables of files and of uploads."""
        blobs = self.settings.data_dir / "blobs/files"
        files = await self.gateway.files.ListFiles(
            files_pb2.ListFilesRequest(), metadata=self.gateway.metadata
        )
        uploads = await self.gateway.ledger.files.stale_uploads(now() + timedelta(days=1), 100)
        return [
            *map(str, files_below(blobs)),
            *(file.id for file in files.files),
            *(upload.upload_id for upload in uploads),
        ]


@asynccontextmanager
async def running_server(settings: Settings) -> AsyncIterator[HttpServer]:
    """A replica of the HTTP API in front of the gateway of these settings."""
    upstream = Upstream(
        Connection.resolve(
            gateway=settings.gateway_listen,
            collector=settings.gateway_listen,
            api_key="none",
            environ={},
        )
    )
    server = HttpServer(
        create_app(upstream, settings, lambda: False),
        settings.web_listen,
        tls=None,
        connections=100,
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop(0)
        await upstream.close()


StartWeb = Callable[..., Awaitable[Web]]


@pytest.fixture
async def start_web(tmp_path: Path, shared_nats: Nats) -> AsyncIterator[StartWeb]:
    """Starts one with changed settings."""
    async with AsyncExitStack() as stack:

        async def start(**changes: Any) -> Web:
            settings = Settings(
                **{
                    "data_dir": tmp_path / "data",
                    "nats_url": shared_nats.url,
                    "gateway_listen": f"127.0.0.1:{free_port()}",
                    "gateway_metrics_listen": "",
                    "segment_bytes": SEGMENT,
                    "shutdown_grace": 1.0,
                    "web_listen": "127.0.0.1:0",
                    **changes,
                }
            )
            gateway = await stack.enter_async_context(
                running_gateway(settings, ("openai", "anthropic"))
            )
            server = await stack.enter_async_context(running_server(settings))
            web = Web(gateway, server, settings)
            stack.push_async_callback(web.client.aclose)
            return web

        yield start


@pytest.fixture
async def web(start_web: StartWeb) -> Web:
    return await start_web()


class Browser:
    """A client that keeps cookies and follows nothing, as a browser without scripts."""

    def __init__(self, web: Web, client: httpx2.AsyncClient) -> None:
        self.web = web
        self.client = client

    async def sign_in(self, key: str, target: str = "") -> httpx2.Response:
        return await self.client.post("/sign-in", data={"key": key, "next": target})

    async def token(self) -> str:
        """That of the forms of this session."""
        page = await self.client.get("/new")
        found = re.search(r'name="csrf" value="([^"]+)"', page.text)
        assert found is not None
        return found[1]

    async def upload(self, name: str, content: bytes, token: str | None = None) -> httpx2.Response:
        token = await self.token() if token is None else token
        quoted = name.replace('"', "%22")
        body = (
            f'--B\r\nContent-Disposition: form-data; name="csrf"\r\n\r\n{token}\r\n'
            f'--B\r\nContent-Disposition: form-data; name="file"; filename="{quoted}"\r\n\r\n'
        ).encode()
        return await self.client.post(
            "/new",
            content=body + content + b"\r\n--B--\r\n",
            headers={"content-type": "multipart/form-data; boundary=B"},
        )


@pytest.fixture
async def browser(web: Web) -> AsyncIterator[Browser]:
    async with web.with_key(None) as client:
        yield Browser(web, client)


@pytest.fixture
async def signed_in(browser: Browser) -> Browser:
    answer = await browser.sign_in(browser.web.key)
    assert answer.status_code == 303
    return browser
