"""A server for configured providers: a sandbox of its own, on its own bill."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.support.e2e.inputs import chat
from tests.support.e2e.suite import ROOT, STOP_TIMEOUT, wait_for
from tests.support.stores.process import tied

CALLS = {
    "batch_seconds": 0,
    "call_seconds": 0,
    "calls_at_once": 0,
    "calls_per_second": 0,
    "call_retry_seconds": 1,
    "faults": [],
}

PROVIDERS = """
[local]
kind = "openai-direct"
base_url = "{url}/v1"
max_lines = 300

[paid]
kind = "openai-direct"
base_url = "{url}/v1"
api_key_env = "PAID_API_KEY"
max_lines = 300

[acme]
kind = "openai-compatible"
base_url = "{url}/v1"
api_key_env = "ACME_API_KEY"
endpoints = ["/v1/chat/completions"]

[groq]

[mistral]
base_url = "{url}/v1"
"""
"""`local` and `paid` have no batches, and only the second one has a key."""


@dataclass
class Server:
    """The server for single calls: a sandbox at a port, which can go away and come back."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        if self.process is None:
            self.process = subprocess.Popen(
                tied(
                    [
                        *(sys.executable, "-m", "services.sandbox"),
                        *("--listen", f"127.0.0.1:{self.port}", "--data-dir", str(self.folder)),
                    ]
                ),
                cwd=ROOT,
                stderr=subprocess.DEVNULL,
            )
            wait_for(self.up, "the server for single calls")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(STOP_TIMEOUT)
            self.process = None

    def post(self, path: str, content: Any) -> None:
        httpx2.post(self.url + path, json=content, timeout=10).raise_for_status()

    def reset(self, **options: Any) -> None:
        self.start()
        self.post("/sandbox/reset", {})
        self.set(**(CALLS | options))

    def set(self, **options: Any) -> None:
        self.post("/sandbox/config", options)

    @property
    def bill(self) -> dict[str, Any]:
        found: dict[str, Any] = httpx2.get(self.url + "/sandbox/bill", timeout=10).json()
        return found

    def wait_until_billed(self, lines: int) -> None:
        wait_for(lambda: self.bill["lines_billed"] >= lines, f"{lines} lines")

    def up(self) -> bool:
        try:
            return httpx2.get(self.url + "/healthz", timeout=1).is_success
        except httpx2.TransportError:
            return False


def ask(number: int, provider: str = "local", text: str | None = None) -> dict[str, Any]:
    """A chat request for the server."""
    line = chat(number, text)
    line["provider"] = provider
    line["body"]["model"] = f"{provider}/llama3.2:3b"
    return line
