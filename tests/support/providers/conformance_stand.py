"""The sandbox as the stand-in that the conformance cases ask for."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.providers import Provider, known_providers
from core.providers.conformance import (
    Answer,
    Call,
    Cut,
    Dropped,
    Fate,
    Garbage,
    LostAnswer,
    Stalled,
    Trouble,
    UnknownStatus,
)
from core.settings import ProviderAccess, Settings
from services.sandbox.config import Options
from services.sandbox.server import SandboxServer

KEY = "sk-conformance-0123456789"
PATIENCE = 20.0
_MARKERS = {
    Fate.SUCCEEDS: "",
    Fate.FAILS: " [[sandbox:error=invalid]]",
    Fate.FAILS_FOR_NOW: " [[sandbox:error=overloaded]]",
}


@dataclass(frozen=True)
class Vendor:
    """How one vendor's interface looks from outside."""

    name: str
    """As the sandbox has it."""
    slug: str
    model: str
    calls: Mapping[Call, tuple[str, str]]
    """Method and regular expression of the path."""
    key_header: str
    with_unknown_status: Callable[[dict[str, Any]], None]

    def error(self, status: int, message: str) -> dict[str, Any]:
        """An error in the vendor's envelope."""
        if self.name == "gemini":
            return {"error": {"code": status, "message": message, "status": "INTERNAL"}}
        kind = "server_error" if self.name == "openai" else "api_error"
        error = {"message": message, "type": kind if status >= 500 else "invalid_request_error"}
        return {"type": "error", "error": error} if self.name == "anthropic" else {"error": error}


_OPENAI_CALLS = {
    Call.UPLOAD: ("POST", "/v1/files$"),
    Call.CREATE: ("POST", "/v1/batches$"),
    Call.LIST: ("GET", "/v1/batches$"),
    Call.POLL: ("GET", "/v1/batches/[^/]+$"),
    Call.RESULTS: ("GET", "/v1/files/[^/]+/content$"),
    Call.CANCEL: ("POST", "/v1/batches/[^/]+/cancel$"),
    Call.DISCARD: ("DELETE", "/v1/files/[^/]+$"),
}
_ANTHROPIC_CALLS = {
    Call.CREATE: ("POST", "/v1/messages/batches$"),
    Call.LIST: ("GET", "/v1/messages/batches$"),
    Call.POLL: ("GET", "/v1/messages/batches/[^/]+$"),
    Call.RESULTS: ("GET", "/v1/messages/batches/[^/]+/results$"),
    Call.CANCEL: ("POST", "/v1/messages/batches/[^/]+/cancel$"),
}
_MISTRAL_CALLS = _OPENAI_CALLS | {
    Call.CREATE: ("POST", "/v1/batch/jobs$"),
    Call.LIST: ("GET", "/v1/batch/jobs$"),
    Call.POLL: ("GET", "/v1/batch/jobs/[^/]+$"),
    Call.CANCEL: ("POST", "/v1/batch/jobs/[^/]+/cancel$"),
}
_GEMINI_CALLS = {
    Call.UPLOAD: ("POST", "/upload/v1beta/files$"),
    Call.CREATE: ("POST", ":batchGenerateContent$"),
    Call.LIST: ("GET", "/v1beta/batches$"),
    Call.POLL: ("GET", "/v1beta/batches/[^/]+$"),
    Call.RESULTS: ("GET", "/download/v1beta/files/[^/]+:download$"),
    Call.CANCEL: ("POST", "/v1beta/batches/[^/]+:cancel$"),
    Call.DISCARD: ("DELETE", "/v1beta/files/[^/]+$"),
}


def _ponder_openai(batch: dict[str, Any]) -> None:
    batch["status"] = "pondering"


def _ponder_anthropic(batch: dict[str, Any]) -> None:
    batch["processing_status"] = "pondering"


def _ponder_gemini(batch: dict[str, Any]) -> None:
    batch["metadata"]["state"] = "BATCH_STATE_PONDERING"


OPENAI = Vendor(
    "openai", "openai", "openai/gpt-4.1", _OPENAI_CALLS, "authorization", _ponder_openai
)
COMPATIBLE = Vendor(
    "openai", "acme", "acme/gpt-4.1", _OPENAI_CALLS, "authorization", _ponder_openai
)
ANTHROPIC = Vendor(
    "anthropic",
    "anthropic",
    "anthropic/claude-4.5-sonnet",
    _ANTHROPIC_CALLS,
    "x-api-key",
    _ponder_anthropic,
)
GEMINI = Vendor(
    "gemini", "gemini", "gemini/gemini-3.8-flash", _GEMINI_CALLS, "x-goog-api-key", _ponder_gemini
)
MISTRAL = Vendor(
    "openai",
    "mistral",
    "mistral/mistral-small-latest",
    _MISTRAL_CALLS,
    "authorization",
    _ponder_openai,
)
VENDORS = (OPENAI, ANTHROPIC, COMPATIBLE, GEMINI, MISTRAL)


@dataclass
class _Planned:
    """What the sandbox itself cannot do, for the next calls of a kind."""

    method: str
    path: str
    trouble: Answer | UnknownStatus
    vendor: Vendor
    left: int


@dataclass
class Prompter:
    """Stands before the sandbox and says what it is told to say."""

    app: ASGIApp
    planned: list[_Planned] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = next((each for each in self.planned if _matches(each, scope)), None)
        if found is None:
            await self.app(scope, receive, send)
            return
        found.left -= 1
        match found.trouble:
            case Answer() as answer:
                await _error(answer, found.vendor, scope)(scope, receive, send)
            case UnknownStatus():
                await self._rewrite(found.vendor, scope, receive, send)

    async def _rewrite(self, vendor: Vendor, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""

        async def keep(message: Message) -> None:
            nonlocal body
            body += message.get("body", b"")

        await self.app(scope, receive, keep)
        batch = json.loads(body)
        vendor.with_unknown_status(batch)
        await JSONResponse(batch)(scope, receive, send)


def _matches(planned: _Planned, scope: Scope) -> bool:
    return (
        planned.left > 0
        and scope["type"] == "http"
        and scope["method"] == planned.method
        and re.search(planned.path, scope["path"]) is not None
    )


def _error(answer: Answer, vendor: Vendor, scope: Scope) -> JSONResponse:
    headers = dict(scope["headers"])
    sent = headers[vendor.key_header.encode()].decode()
    told = f"What is this: {sent}?" if answer.tells_key else "No."
    error = vendor.error(answer.status, told + "x" * answer.padding)
    own = {"x-request-id": sent, "request-id": sent} if answer.tells_key else {}
    if answer.retry_after is not None:
        own["retry-after"] = f"{answer.retry_after:g}"
    return JSONResponse(error, answer.status, own)


class SandboxStand:
    """One vendor of a running sandbox."""

    key = KEY

    def __init__(self, vendor: Vendor, url: str, prompter: Prompter, folder: Path) -> None:
        self.model = vendor.model
        self.calls: Set[Call] = vendor.calls.keys()
        self._vendor = vendor
        self._url = url
        self._prompter = prompter
        self._faults: list[dict[str, Any]] = []
        self._client = httpx2.AsyncClient(base_url=url, timeout=PATIENCE, verify=False)
        self._file = folder / "providers.toml"
        self._file.write_text(
            f'[acme]\nkind = "openai-compatible"\nbase_url = "{url}/v1"\n'
            'api_key_env = "ACME_API_KEY"\nendpoints = ["/v1/chat/completions"]\n'
            f'[mistral]\nbase_url = "{url}/v1"\n'
        )

    def open(self, *, timeout: float, settle: float) -> Provider:
        keys = {f"{name}_api_key": None for name in ("openai", "anthropic", "gemini")}
        access = ProviderAccess.model_validate(
            {
                **keys,
                # Those of acme and Mistral come from the environment.
                f"{self._vendor.slug}_api_key": KEY,
                "openai_base_url": f"{self._url}/v1",
                "anthropic_base_url": self._url,
                "gemini_base_url": self._url,
            }
        )
        settings = Settings(
            providers_file=self._file, provider_timeout=timeout, reconcile_settle=settle
        )
        (provider,) = known_providers(access, settings).open().values()
        return provider

    def text(self, words: str, fate: Fate) -> str:
        return words + _MARKERS[fate]

    async def trouble(self, call: Call, trouble: Trouble, *, times: int) -> None:
        method, path = self._vendor.calls[call]
        if not times:
            self._faults.clear()
            self._prompter.planned.clear()
            await self._set(faults=[])
            return
        where = {"method": method, "path": path, "count": times}
        match trouble:
            case Answer() | UnknownStatus():
                self._prompter.planned.append(_Planned(method, path, trouble, self._vendor, times))
                return
            case LostAnswer():
                fault = {"kind": "reset_after"}
            case Dropped():
                fault = {"kind": "reset_before"}
            case Garbage():
                fault = {"kind": "garbage"}
            case Cut(after):
                fault = {"kind": "cut", "after_bytes": after}  # type: ignore[dict-item]
            case Stalled(seconds):
                fault = {"kind": "slow", "delay": seconds}  # type: ignore[dict-item]
        await self._set(faults=[{**fault, **where}])

    async def pace(self, *, batch_seconds: float) -> None:
        await self._set(batch_seconds=batch_seconds)

    async def hide(self) -> None:
        await self._set(list_lag_seconds=3600)

    async def run_some(self) -> None:
        # From its creation on, a batch runs as many lines as the time that has passed allows.
        await self._set(batch_seconds=2)
        async with asyncio.timeout(PATIENCE):
            while not (await self._bill())["lines_running"]:
                pass
        await self._set(batch_seconds=3600)

    async def expire(self) -> None:
        await self._set(window_seconds=0)

    async def created(self) -> int:
        created: int = (await self._bill())["batches_created"]
        return created

    async def uploads(self) -> int:
        kept: int = (await self._bill())["uploads_kept"]
        return kept

    async def reset(self) -> None:
        """Back to the start."""
        self._prompter.planned.clear()
        (await self._client.post("/sandbox/reset")).raise_for_status()

    async def close(self) -> None:
        await self._client.aclose()

    async def _set(self, **options: Any) -> None:
        (await self._client.post("/sandbox/config", json=options)).raise_for_status()

    async def _bill(self) -> dict[str, Any]:
        bill: dict[str, Any] = (await self._client.get("/sandbox/bill")).json()
        return bill


@contextmanager
def running_sandbox(folder: Path) -> Iterator[tuple[str, Prompter]]:
    """A sandbox behind a prompter, and its base URL."""
    ready = threading.Event()
    urls: list[str] = []

    def on_ready(url: str) -> None:
        urls.append(url)
        ready.set()

    server = SandboxServer("127.0.0.1", 0, folder, Options(), on_ready)
    prompter = Prompter(server.config.app)  # type: ignore[arg-type]
    server.config.app = prompter
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert ready.wait(PATIENCE)
        yield urls[0], prompter
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        assert not thread.is_alive()
