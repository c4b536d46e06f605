"""A sandbox as a real server, and clients for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import anthropic
import openai
import pytest
from google import genai

from services.sandbox.config import Options
from services.sandbox.server import SandboxServer
from tests.support.sandbox.driving import PATIENCE, Sandbox


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    ready = threading.Event()
    urls: list[str] = []

    def on_ready(url: str) -> None:
        urls.append(url)
        ready.set()

    folder: Path = tmp_path_factory.mktemp("sandbox")
    running = SandboxServer("127.0.0.1", 0, folder, Options(), on_ready)
    thread = threading.Thread(target=running.run)
    thread.start()
    assert ready.wait(PATIENCE)
    sandbox = Sandbox(urls[0])
    yield sandbox
    sandbox.http.close()
    running.should_exit = True
    thread.join(PATIENCE)
    assert not thread.is_alive()


@pytest.fixture
def sandbox(server: Sandbox) -> Sandbox:
    """The server, with nothing in it and everything instant."""
    server.http.post("/sandbox/reset").raise_for_status()
    return server


@pytest.fixture
def openai_client(sandbox: Sandbox) -> Iterator[openai.OpenAI]:
    with sandbox.openai() as client:
        yield client


@pytest.fixture
def anthropic_client(sandbox: Sandbox) -> Iterator[anthropic.Anthropic]:
    with sandbox.anthropic() as client:
        yield client


@pytest.fixture
def gemini_client(sandbox: Sandbox) -> Iterator[genai.Client]:
    client = sandbox.gemini()
    yield client
    client.close()
