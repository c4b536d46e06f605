"""What docs/webhooks.md and the command's help show runs as it stands."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import HTTPServer
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from polybatch import Client
from polybatch.cli import main

from core.ledger import now
from core.webhooks import Gate, Message, Sender, new_secret
from tests.support.gateway.running import Gateway

PAGE = (Path(__file__).parents[3] / "docs/webhooks.md").read_text()
BY_OPENAI, BY_STANDARD, BY_CLIENT = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
EVENT = Message("evt_1", "batch.completed", now(), "batch_1")


def run(program: str) -> dict[str, Any]:
    """What a program defines."""
    names: dict[str, Any] = {"__name__": "receiver"}
    exec(compile(program, "docs/webhooks.md", "exec"), names)
    return names


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    """An ASGI application under uvicorn; its url."""
    bound = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/webhooks"
    finally:
        server.should_exit = True
        await serving


@contextmanager
def served_by_http_server(handler: Any) -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/webhooks"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def statuses(url: str, *secrets: str) -> list[int]:
    """What the receiver answers to the same event signed with each of these."""
    sender = Sender(Gate(allow_private=True), timeout=20)
    return [
        (await sender.post(url, EVENT.headers([secret], now()), EVENT.body())).status
        for secret in secrets
    ]


async def test_the_receiver_by_openai(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = new_secret()
    monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", secret)
    async with served(run(BY_OPENAI)["app"]) as url:
        assert await statuses(url, secret, secret, new_secret()) == [204, 204, 401]
    assert capsys.readouterr().out == "batch.completed batch_1\n", "once"


async def test_the_receiver_of_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    await asyncio.to_thread(main, ["webhooks", "--help"])
    shown = capsys.readouterr().out
    lines = shown[shown.index("  from openai") :].partition("\n\n")[0].splitlines()
    secret = new_secret()
    program = "\n".join(line[2:] for line in lines).replace("whsec_...", secret)
    async with served(run(program)["app"]) as url:
        assert await statuses(url, secret) == [204]
    assert capsys.readouterr().out == "batch.completed batch_1\n"


async def test_the_receiver_by_standardwebhooks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = new_secret()
    monkeypatch.setenv("WEBHOOK_SECRET", secret)
    receiver = run(BY_STANDARD)["Receiver"]
    monkeypatch.setattr(receiver, "log_message", lambda *_: None)
    with served_by_http_server(receiver) as url:
        assert await statuses(url, secret, new_secret()) == [204, 401]
    assert capsys.readouterr().out == "batch.completed batch_1\n"


async def test_the_client(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POLYBATCH_GATEWAY", gateway.settings.gateway_listen)
    monkeypatch.setenv("POLYBATCH_COLLECTOR", gateway.settings.gateway_listen)
    monkeypatch.setenv("POLYBATCH_API_KEY", gateway.settings.api_key_file.read_text().strip())
    await asyncio.to_thread(run, BY_CLIENT)
    assert "whsec_" in capsys.readouterr().out
    with Client() as client:
        (endpoint,) = await asyncio.to_thread(client.webhooks.list)
    assert endpoint.event_types == ("batch.completed", "batch.failed")
